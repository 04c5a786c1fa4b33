-- Who is treated.

CREATE TABLE patient (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mrn         text NOT NULL UNIQUE,
    family_name text NOT NULL,
    given_name  text NOT NULL,
    birth_date  date NOT NULL
);
