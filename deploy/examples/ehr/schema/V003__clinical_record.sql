-- What was found, said and done.

CREATE TYPE diagnosis_certainty AS ENUM ('suspected', 'provisional', 'confirmed', 'refuted');
CREATE TYPE problem_status AS ENUM ('active', 'remission', 'resolved');
CREATE TYPE allergen_kind AS ENUM ('drug', 'food', 'environment', 'biologic', 'contrast');
CREATE TYPE severity AS ENUM ('mild', 'moderate', 'severe', 'life_threatening');
CREATE TYPE note_kind AS ENUM ('admission', 'progress', 'nursing', 'operation', 'discharge', 'consultation');

CREATE TABLE icd10_chapter (
    number     smallint PRIMARY KEY CHECK (number BETWEEN 1 AND 22),
    numeral    text NOT NULL UNIQUE,
    first_code text NOT NULL,
    last_code  text NOT NULL,
    title      text NOT NULL,
    CHECK (first_code < last_code)
);

CREATE TABLE icd10_code (
    code     text PRIMARY KEY CHECK (code ~ '^[A-Z][0-9]{2}(\.[0-9])?$'),
    chapter  smallint NOT NULL REFERENCES icd10_chapter (number),
    category text GENERATED ALWAYS AS (substr(code, 1, 3)) STORED,
    title    text NOT NULL
);
CREATE INDEX icd10_code_by_category ON icd10_code (category);
CREATE INDEX icd10_code_by_title ON icd10_code USING gin (to_tsvector('simple', title));

CREATE TABLE diagnosis (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    patient_id   bigint NOT NULL REFERENCES patient (id),
    icd10        text NOT NULL REFERENCES icd10_code (code),
    certainty    diagnosis_certainty NOT NULL DEFAULT 'provisional',
    status       problem_status NOT NULL DEFAULT 'active',
    is_primary   boolean NOT NULL DEFAULT false,
    onset        date,
    resolved_on  date,
    recorded_by  bigint REFERENCES practitioner (id),
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (resolved_on IS NULL OR onset IS NULL OR resolved_on >= onset),
    CHECK ((status = 'resolved') = (resolved_on IS NOT NULL))
);
CREATE UNIQUE INDEX diagnosis_one_primary ON diagnosis (encounter_id) WHERE is_primary AND certainty <> 'refuted';
CREATE INDEX diagnosis_by_patient ON diagnosis (patient_id, icd10);
CREATE INDEX diagnosis_by_code ON diagnosis (icd10) WHERE status = 'active';

-- A diagnosis belongs to the patient of its visit, whatever the caller says.
CREATE FUNCTION same_patient_as_encounter() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM 1 FROM encounter e WHERE e.id = NEW.encounter_id AND e.patient_id = NEW.patient_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'encounter % is not of patient %', NEW.encounter_id, NEW.patient_id
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, COLUMN = 'patient_id';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER diagnosis_patient BEFORE INSERT OR UPDATE OF encounter_id, patient_id ON diagnosis
    FOR EACH ROW EXECUTE FUNCTION same_patient_as_encounter();

CREATE TABLE allergen (
    code text PRIMARY KEY CHECK (code ~ '^[a-z0-9_]{2,40}$'),
    kind allergen_kind NOT NULL,
    name text NOT NULL UNIQUE
);

CREATE TABLE patient_allergy (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id    bigint NOT NULL REFERENCES patient (id),
    allergen_code text NOT NULL REFERENCES allergen (code),
    severity      severity NOT NULL,
    reaction      text,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    refuted_at    timestamptz CHECK (refuted_at >= recorded_at)
);
CREATE UNIQUE INDEX patient_allergy_once ON patient_allergy (patient_id, allergen_code) WHERE refuted_at IS NULL;

CREATE TABLE vital_sign (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    taken_at     timestamptz NOT NULL DEFAULT now(),
    systolic     smallint CHECK (systolic BETWEEN 20 AND 320),
    diastolic    smallint CHECK (diastolic BETWEEN 10 AND 220),
    mean_arterial smallint GENERATED ALWAYS AS ((2 * diastolic + systolic) / 3) STORED,
    pulse        smallint CHECK (pulse BETWEEN 0 AND 350),
    breaths      smallint CHECK (breaths BETWEEN 0 AND 120),
    celsius      numeric(4, 1) CHECK (celsius BETWEEN 20 AND 46),
    spo2         smallint CHECK (spo2 BETWEEN 0 AND 100),
    weight_kg    numeric(5, 1) CHECK (weight_kg > 0),
    height_cm    numeric(4, 1) CHECK (height_cm > 0),
    bmi          numeric(5, 1) GENERATED ALWAYS AS (round(weight_kg / ((height_cm / 100) * (height_cm / 100)), 1)) STORED,
    pain         smallint CHECK (pain BETWEEN 0 AND 10),
    CHECK (systolic IS NULL OR diastolic IS NULL OR systolic >= diastolic)
);
CREATE INDEX vital_sign_by_encounter ON vital_sign (encounter_id, taken_at DESC);

CREATE TABLE clinical_note (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    author_id    bigint REFERENCES practitioner (id),
    kind         note_kind NOT NULL DEFAULT 'progress',
    body         text NOT NULL CHECK (body <> ''),
    words        tsvector GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED,
    written_at   timestamptz NOT NULL DEFAULT now(),
    signed_at    timestamptz,
    amends       bigint REFERENCES clinical_note (id),
    CHECK (signed_at IS NULL OR signed_at >= written_at)
);
CREATE INDEX clinical_note_by_encounter ON clinical_note (encounter_id, written_at);
CREATE INDEX clinical_note_by_word ON clinical_note USING gin (words);

-- What was signed is amended by another note, never rewritten.
CREATE FUNCTION keep_signed_note() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    RAISE EXCEPTION 'note % was signed at %: amend it with another note', OLD.id, OLD.signed_at
        USING ERRCODE = 'check_violation', TABLE = 'clinical_note';
END $$;
CREATE TRIGGER clinical_note_signed BEFORE UPDATE OR DELETE ON clinical_note
    FOR EACH ROW WHEN (OLD.signed_at IS NOT NULL) EXECUTE FUNCTION keep_signed_note();

CREATE TABLE procedure_kind (
    code         text PRIMARY KEY CHECK (code ~ '^[A-Z]{2}[0-9]{3}$'),
    name         text NOT NULL UNIQUE,
    needs_theatre boolean NOT NULL DEFAULT false
);

CREATE TABLE procedure_done (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id   bigint NOT NULL REFERENCES encounter (id),
    procedure_code text NOT NULL REFERENCES procedure_kind (code),
    performed_by   bigint REFERENCES practitioner (id),
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz CHECK (ended_at > started_at),
    outcome        text
);
CREATE INDEX procedure_done_by_encounter ON procedure_done (encounter_id);
