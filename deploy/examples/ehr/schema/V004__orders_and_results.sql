-- What is ordered: medicines, laboratory work, vaccines.

CREATE TYPE drug_form AS ENUM ('tablet', 'capsule', 'oral_solution', 'injection', 'infusion', 'inhalation', 'cream', 'ointment', 'topical_solution', 'eye_drops', 'nasal_spray');
CREATE TYPE prescription_status AS ENUM ('draft', 'active', 'completed', 'stopped');
CREATE TYPE dose_status AS ENUM ('due', 'given', 'refused', 'withheld', 'missed');
CREATE TYPE specimen_kind AS ENUM ('blood', 'serum', 'plasma', 'arterial_blood', 'urine', 'stool', 'sputum', 'csf', 'swab', 'tissue');
CREATE TYPE lab_order_status AS ENUM ('ordered', 'collected', 'reported', 'cancelled');
CREATE TYPE result_flag AS ENUM ('normal', 'low', 'high', 'critical_low', 'critical_high');
CREATE TYPE order_priority AS ENUM ('routine', 'urgent', 'stat');

CREATE TABLE unit (
    code text PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE route (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z]{2,4}$'),
    name text NOT NULL UNIQUE
);

CREATE TABLE drug (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generic_name  text NOT NULL,
    atc           text NOT NULL CHECK (atc ~ '^[ABCDGHJLMNPRSV][0-9]{2}[A-Z]{2}[0-9]{2}$'),
    atc_group     text GENERATED ALWAYS AS (substr(atc, 1, 1)) STORED,
    form          drug_form NOT NULL,
    strength      numeric NOT NULL CHECK (strength > 0),
    unit_code     text NOT NULL REFERENCES unit (code),
    route_code    text NOT NULL REFERENCES route (code),
    is_controlled boolean NOT NULL DEFAULT false,
    is_high_alert boolean NOT NULL DEFAULT false,
    UNIQUE (atc, form, strength, unit_code)
);
CREATE INDEX drug_by_name ON drug (lower(generic_name) text_pattern_ops);

CREATE TABLE drug_allergen (
    drug_id       bigint NOT NULL REFERENCES drug (id) ON DELETE CASCADE,
    allergen_code text NOT NULL REFERENCES allergen (code),
    PRIMARY KEY (drug_id, allergen_code)
);
CREATE INDEX drug_allergen_by_allergen ON drug_allergen (allergen_code);

CREATE TABLE prescription (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id  bigint NOT NULL REFERENCES encounter (id),
    patient_id    bigint NOT NULL REFERENCES patient (id),
    prescriber_id bigint REFERENCES practitioner (id),
    status        prescription_status NOT NULL DEFAULT 'draft',
    note          text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX prescription_by_encounter ON prescription (encounter_id);
CREATE INDEX prescription_by_patient ON prescription (patient_id) WHERE status = 'active';
CREATE TRIGGER prescription_touch BEFORE UPDATE ON prescription FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER prescription_patient BEFORE INSERT OR UPDATE OF encounter_id, patient_id ON prescription
    FOR EACH ROW EXECUTE FUNCTION same_patient_as_encounter();

CREATE TABLE prescription_line (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prescription_id bigint NOT NULL REFERENCES prescription (id) ON DELETE CASCADE,
    drug_id         bigint NOT NULL REFERENCES drug (id),
    route_code      text NOT NULL REFERENCES route (code),
    dose            numeric NOT NULL CHECK (dose > 0),
    unit_code       text NOT NULL REFERENCES unit (code),
    times_a_day     smallint NOT NULL CHECK (times_a_day BETWEEN 1 AND 24),
    days            smallint NOT NULL CHECK (days BETWEEN 1 AND 365),
    doses_total     integer GENERATED ALWAYS AS (times_a_day::integer * days) STORED,
    override_reason text,
    UNIQUE (prescription_id, drug_id, route_code)
);
CREATE INDEX prescription_line_by_drug ON prescription_line (drug_id);

-- A drug that the patient is known not to bear needs a written reason.
CREATE FUNCTION check_drug_allergy() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    culprit text;
BEGIN
    SELECT a.allergen_code INTO culprit
    FROM prescription p
    JOIN patient_allergy a ON a.patient_id = p.patient_id AND a.refuted_at IS NULL
    JOIN drug_allergen d ON d.allergen_code = a.allergen_code AND d.drug_id = NEW.drug_id
    WHERE p.id = NEW.prescription_id
    LIMIT 1;
    IF culprit IS NOT NULL AND NEW.override_reason IS NULL THEN
        RAISE EXCEPTION 'patient is allergic to %: give an override_reason or choose another drug', culprit
            USING ERRCODE = 'check_violation', TABLE = 'prescription_line', COLUMN = 'drug_id';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER prescription_line_allergy BEFORE INSERT OR UPDATE OF drug_id, override_reason ON prescription_line
    FOR EACH ROW EXECUTE FUNCTION check_drug_allergy();

CREATE TABLE medication_dose (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prescription_line_id bigint NOT NULL REFERENCES prescription_line (id),
    due_at               timestamptz NOT NULL,
    status               dose_status NOT NULL DEFAULT 'due',
    given_at             timestamptz,
    given_by             bigint REFERENCES practitioner (id),
    witness_id           bigint REFERENCES practitioner (id),
    UNIQUE (prescription_line_id, due_at),
    CHECK ((status = 'given') = (given_at IS NOT NULL)),
    CHECK (witness_id IS NULL OR witness_id <> given_by)
);
CREATE INDEX medication_dose_due ON medication_dose (due_at) WHERE status = 'due';

CREATE TABLE lab_test (
    loinc         text PRIMARY KEY CHECK (loinc ~ '^[0-9]{1,7}-[0-9]$'),
    name          text NOT NULL,
    specimen      specimen_kind NOT NULL,
    unit_code     text REFERENCES unit (code),
    normal_low    numeric,
    normal_high   numeric,
    critical_low  numeric,
    critical_high numeric,
    CHECK (normal_low <= normal_high),
    CHECK (critical_low <= normal_low),
    CHECK (critical_high >= normal_high)
);

CREATE TABLE lab_order (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    ordered_by   bigint REFERENCES practitioner (id),
    priority     order_priority NOT NULL DEFAULT 'routine',
    status       lab_order_status NOT NULL DEFAULT 'ordered',
    ordered_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX lab_order_by_encounter ON lab_order (encounter_id);
CREATE INDEX lab_order_waiting ON lab_order (priority DESC, ordered_at) WHERE status IN ('ordered', 'collected');
CREATE TRIGGER lab_order_touch BEFORE UPDATE ON lab_order FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE specimen (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lab_order_id bigint NOT NULL REFERENCES lab_order (id),
    barcode      text NOT NULL UNIQUE CHECK (barcode ~ '^[A-Z0-9]{6,20}$'),
    kind         specimen_kind NOT NULL,
    collected_at timestamptz NOT NULL DEFAULT now(),
    rejected     text
);
CREATE INDEX specimen_by_order ON specimen (lab_order_id);

CREATE TABLE lab_result (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lab_order_id bigint NOT NULL REFERENCES lab_order (id),
    loinc        text NOT NULL REFERENCES lab_test (loinc),
    value        numeric NOT NULL,
    flag         result_flag NOT NULL DEFAULT 'normal',
    verified_by  bigint REFERENCES practitioner (id),
    reported_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (lab_order_id, loinc)
);
CREATE INDEX lab_result_by_test ON lab_result (loinc, reported_at DESC);
CREATE INDEX lab_result_critical ON lab_result (reported_at) WHERE flag IN ('critical_low', 'critical_high');

-- The flag is computed from the test's own limits, so that no analyser decides what is critical.
CREATE FUNCTION flag_lab_result() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    SELECT CASE
        WHEN NEW.value < t.critical_low THEN 'critical_low'
        WHEN NEW.value > t.critical_high THEN 'critical_high'
        WHEN NEW.value < t.normal_low THEN 'low'
        WHEN NEW.value > t.normal_high THEN 'high'
        ELSE 'normal'
    END::result_flag INTO NEW.flag
    FROM lab_test t WHERE t.loinc = NEW.loinc;
    -- An unknown test leaves no row: the foreign key refuses it with its own words.
    NEW.flag := coalesce(NEW.flag, 'normal');
    RETURN NEW;
END $$;
CREATE TRIGGER lab_result_flag BEFORE INSERT OR UPDATE OF value, loinc ON lab_result FOR EACH ROW EXECUTE FUNCTION flag_lab_result();

CREATE TABLE vaccine (
    cvx  smallint PRIMARY KEY CHECK (cvx > 0),
    name text NOT NULL UNIQUE,
    against text NOT NULL
);

CREATE TABLE immunization (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id   bigint NOT NULL REFERENCES patient (id),
    encounter_id bigint REFERENCES encounter (id),
    cvx          smallint NOT NULL REFERENCES vaccine (cvx),
    dose_number  smallint NOT NULL DEFAULT 1 CHECK (dose_number BETWEEN 1 AND 10),
    lot          text,
    given_on     date NOT NULL DEFAULT current_date,
    UNIQUE (patient_id, cvx, dose_number)
);
