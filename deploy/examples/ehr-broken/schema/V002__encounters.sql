-- Each time they come.

CREATE TABLE department (
    code text PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE encounter (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id      bigint NOT NULL REFERENCES patient (id),
    department_code text REFERENCES department (code),
    reason          text NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX encounter_by_patient ON encounter (patient_id, started_at);
