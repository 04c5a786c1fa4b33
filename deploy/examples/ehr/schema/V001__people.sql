-- Who is treated, and who treats.

CREATE TYPE sex AS ENUM ('female', 'male', 'other', 'unknown');
CREATE TYPE blood_group AS ENUM ('A+', 'A-', 'B+', 'B-', 'AB+', 'AB-', 'O+', 'O-', 'unknown');
CREATE TYPE identifier_kind AS ENUM ('national_id', 'passport', 'social_insurance', 'driving_licence', 'previous_mrn');
CREATE TYPE contact_kind AS ENUM ('next_of_kin', 'guardian', 'emergency', 'carer');
CREATE TYPE practitioner_kind AS ENUM ('physician', 'nurse', 'midwife', 'pharmacist', 'technician', 'therapist', 'clerk');

-- Keeps updated_at true without the application's help.
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

CREATE TABLE patient (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mrn           text NOT NULL UNIQUE CHECK (mrn ~ '^[A-Z0-9][A-Z0-9-]{2,31}$'),
    family_name   text NOT NULL CHECK (length(family_name) BETWEEN 1 AND 120),
    given_name    text NOT NULL CHECK (length(given_name) BETWEEN 1 AND 120),
    sort_name     text GENERATED ALWAYS AS (lower(family_name || ' ' || given_name)) STORED,
    birth_date    date NOT NULL CHECK (birth_date >= DATE '1875-01-01'),
    sex           sex NOT NULL DEFAULT 'unknown',
    blood_group   blood_group NOT NULL DEFAULT 'unknown',
    phone         text CHECK (phone ~ '^\+?[0-9 ()-]{5,24}$'),
    email         text CHECK (email LIKE '%_@_%'),
    language      text NOT NULL DEFAULT 'vi' CHECK (language ~ '^[a-z]{2,3}(-[A-Z]{2})?$'),
    deceased_on   date,
    merged_into   bigint REFERENCES patient (id),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (merged_into IS NULL OR merged_into <> id),
    CHECK (deceased_on IS NULL OR deceased_on >= birth_date)
);
CREATE INDEX patient_by_name ON patient (sort_name text_pattern_ops);
CREATE INDEX patient_by_birth_date ON patient (birth_date);
CREATE INDEX patient_by_phone ON patient (phone) WHERE phone IS NOT NULL;
CREATE INDEX patient_by_survivor ON patient (merged_into) WHERE merged_into IS NOT NULL;
CREATE TRIGGER patient_touch BEFORE UPDATE ON patient FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE patient_identifier (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id  bigint NOT NULL REFERENCES patient (id) ON DELETE CASCADE,
    kind        identifier_kind NOT NULL,
    issuer      text NOT NULL,
    value       text NOT NULL CHECK (value <> ''),
    valid_until date,
    UNIQUE (kind, issuer, value)
);
CREATE INDEX patient_identifier_by_patient ON patient_identifier (patient_id);

CREATE TABLE patient_address (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id  bigint NOT NULL REFERENCES patient (id) ON DELETE CASCADE,
    street      text NOT NULL,
    district    text,
    city        text NOT NULL,
    postal_code text,
    country     text NOT NULL DEFAULT 'VN' CHECK (country ~ '^[A-Z]{2}$'),
    is_current  boolean NOT NULL DEFAULT true
);
CREATE UNIQUE INDEX patient_address_one_current ON patient_address (patient_id) WHERE is_current;
CREATE INDEX patient_address_by_patient ON patient_address (patient_id);

CREATE TABLE patient_contact (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id   bigint NOT NULL REFERENCES patient (id) ON DELETE CASCADE,
    kind         contact_kind NOT NULL,
    name         text NOT NULL,
    relationship text NOT NULL,
    phone        text NOT NULL CHECK (phone ~ '^\+?[0-9 ()-]{5,24}$'),
    may_be_told  boolean NOT NULL DEFAULT false
);
CREATE INDEX patient_contact_by_patient ON patient_contact (patient_id);

CREATE TABLE specialty (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z]{2,6}$'),
    name text NOT NULL UNIQUE
);

CREATE TABLE practitioner (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    staff_number   text NOT NULL UNIQUE CHECK (staff_number ~ '^[A-Z0-9-]{3,20}$'),
    kind           practitioner_kind NOT NULL,
    family_name    text NOT NULL,
    given_name     text NOT NULL,
    specialty_code text REFERENCES specialty (code),
    is_active      boolean NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX practitioner_by_specialty ON practitioner (specialty_code) WHERE is_active;
CREATE TRIGGER practitioner_touch BEFORE UPDATE ON practitioner FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE practitioner_licence (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    practitioner_id bigint NOT NULL REFERENCES practitioner (id) ON DELETE CASCADE,
    authority       text NOT NULL,
    number          text NOT NULL,
    valid           daterange NOT NULL CHECK (NOT isempty(valid)),
    UNIQUE (authority, number)
);
CREATE INDEX practitioner_licence_by_practitioner ON practitioner_licence (practitioner_id);
