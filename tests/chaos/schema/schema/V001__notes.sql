-- Small on purpose: what is tested is everything around it.

CREATE TABLE note (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hospital text NOT NULL,
    text     text NOT NULL
);
