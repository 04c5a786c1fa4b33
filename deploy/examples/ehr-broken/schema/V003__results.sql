-- Broken on purpose: the first table is made, the second refers to one that no version ever makes.

CREATE TABLE lab_order (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    ordered_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE lab_result (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lab_order_id bigint NOT NULL REFERENCES lab_order (id),
    loinc        text NOT NULL REFERENCES lab_test (loinc),
    value        numeric NOT NULL
);

CREATE INDEX lab_result_by_order ON lab_result (lab_order_id);
