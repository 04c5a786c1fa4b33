-- Where people lie and wait, and each time they come.

CREATE TYPE ward_kind AS ENUM ('general', 'surgical', 'intensive', 'maternity', 'neonatal', 'paediatric', 'psychiatric', 'emergency', 'day');
CREATE TYPE bed_status AS ENUM ('free', 'occupied', 'cleaning', 'blocked');
CREATE TYPE appointment_status AS ENUM ('booked', 'checked_in', 'fulfilled', 'cancelled', 'no_show');
CREATE TYPE encounter_class AS ENUM ('outpatient', 'inpatient', 'emergency', 'day_case', 'home', 'virtual');
CREATE TYPE encounter_status AS ENUM ('planned', 'arrived', 'in_progress', 'finished', 'cancelled');
CREATE TYPE encounter_role AS ENUM ('attending', 'admitting', 'consultant', 'nurse', 'referrer');

CREATE TABLE department (
    code      text PRIMARY KEY CHECK (code ~ '^[A-Z]{2,6}$'),
    name      text NOT NULL UNIQUE,
    phone_ext text CHECK (phone_ext ~ '^[0-9]{3,5}$')
);

CREATE TABLE ward (
    code            text PRIMARY KEY CHECK (code ~ '^[A-Z0-9-]{2,10}$'),
    department_code text NOT NULL REFERENCES department (code),
    name            text NOT NULL,
    kind            ward_kind NOT NULL,
    floor           smallint NOT NULL CHECK (floor BETWEEN -3 AND 40)
);
CREATE INDEX ward_by_department ON ward (department_code);

CREATE TABLE room (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ward_code text NOT NULL REFERENCES ward (code),
    number    text NOT NULL,
    is_isolation boolean NOT NULL DEFAULT false,
    UNIQUE (ward_code, number)
);

CREATE TABLE bed (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id bigint NOT NULL REFERENCES room (id),
    label   text NOT NULL,
    status  bed_status NOT NULL DEFAULT 'free',
    UNIQUE (room_id, label)
);
CREATE INDEX bed_free ON bed (room_id) WHERE status = 'free';

CREATE TABLE appointment (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id      bigint NOT NULL REFERENCES patient (id),
    practitioner_id bigint REFERENCES practitioner (id),
    department_code text NOT NULL REFERENCES department (code),
    starts_at       timestamptz NOT NULL,
    minutes         smallint NOT NULL DEFAULT 15 CHECK (minutes BETWEEN 5 AND 480),
    status          appointment_status NOT NULL DEFAULT 'booked',
    reason          text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX appointment_by_patient ON appointment (patient_id, starts_at);
CREATE INDEX appointment_by_day ON appointment (department_code, starts_at) WHERE status IN ('booked', 'checked_in');
CREATE UNIQUE INDEX appointment_one_per_slot ON appointment (practitioner_id, starts_at) WHERE status IN ('booked', 'checked_in');
CREATE TRIGGER appointment_touch BEFORE UPDATE ON appointment FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE encounter (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id      bigint NOT NULL REFERENCES patient (id),
    appointment_id  bigint UNIQUE REFERENCES appointment (id),
    department_code text REFERENCES department (code),
    class           encounter_class NOT NULL DEFAULT 'outpatient',
    status          encounter_status NOT NULL DEFAULT 'arrived',
    reason          text NOT NULL CHECK (reason <> ''),
    triage          smallint CHECK (triage BETWEEN 1 AND 5),
    started_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    minutes         integer GENERATED ALWAYS AS ((extract(epoch FROM ended_at - started_at) / 60)::integer) STORED,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (ended_at IS NULL OR ended_at >= started_at),
    CHECK (status <> 'finished' OR ended_at IS NOT NULL)
);
CREATE INDEX encounter_by_patient ON encounter (patient_id, started_at DESC);
CREATE INDEX encounter_open ON encounter (department_code, started_at) WHERE status IN ('arrived', 'in_progress');
CREATE TRIGGER encounter_touch BEFORE UPDATE ON encounter FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- A visit moves forward only: what is finished or cancelled stays so, and nobody leaves before arriving.
CREATE FUNCTION guard_encounter_status() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF NOT (CASE OLD.status
        WHEN 'planned' THEN NEW.status IN ('arrived', 'cancelled')
        WHEN 'arrived' THEN NEW.status IN ('in_progress', 'finished', 'cancelled')
        WHEN 'in_progress' THEN NEW.status = 'finished'
        ELSE false
    END) THEN
        RAISE EXCEPTION 'encounter % cannot go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', TABLE = 'encounter', COLUMN = 'status';
    END IF;
    IF NEW.status = 'finished' AND NEW.ended_at IS NULL THEN
        NEW.ended_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER encounter_guard BEFORE UPDATE OF status ON encounter FOR EACH ROW EXECUTE FUNCTION guard_encounter_status();

CREATE TABLE encounter_participant (
    encounter_id    bigint NOT NULL REFERENCES encounter (id) ON DELETE CASCADE,
    practitioner_id bigint NOT NULL REFERENCES practitioner (id),
    role            encounter_role NOT NULL,
    since           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (encounter_id, practitioner_id, role)
);
CREATE INDEX encounter_participant_by_practitioner ON encounter_participant (practitioner_id);

CREATE TABLE bed_stay (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    bed_id       bigint NOT NULL REFERENCES bed (id),
    from_at      timestamptz NOT NULL DEFAULT now(),
    until_at     timestamptz,
    CHECK (until_at IS NULL OR until_at > from_at)
);
CREATE UNIQUE INDEX bed_stay_one_per_bed ON bed_stay (bed_id) WHERE until_at IS NULL;
CREATE UNIQUE INDEX bed_stay_one_per_encounter ON bed_stay (encounter_id) WHERE until_at IS NULL;
CREATE INDEX bed_stay_by_encounter ON bed_stay (encounter_id, from_at);

-- A bed follows its stay: taken when one opens, to be cleaned when it closes.
CREATE FUNCTION follow_bed_stay() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF NEW.until_at IS NULL THEN
        UPDATE bed SET status = 'occupied' WHERE id = NEW.bed_id AND status IN ('free', 'occupied');
        IF NOT FOUND THEN
            RAISE EXCEPTION 'bed % is not ready for a patient', NEW.bed_id USING ERRCODE = 'check_violation', TABLE = 'bed_stay';
        END IF;
    ELSE
        UPDATE bed SET status = 'cleaning' WHERE id = NEW.bed_id AND status = 'occupied';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER bed_stay_follow AFTER INSERT OR UPDATE OF until_at ON bed_stay FOR EACH ROW EXECUTE FUNCTION follow_bed_stay();
