-- Who may know, who has looked, and what the desks see.

CREATE TYPE consent_scope AS ENUM ('treatment', 'data_sharing', 'research', 'photography', 'telemedicine');
CREATE TYPE referral_status AS ENUM ('sent', 'accepted', 'declined', 'completed');

CREATE TABLE consent (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patient (id),
    scope      consent_scope NOT NULL,
    granted    boolean NOT NULL,
    signed_by  text NOT NULL,
    signed_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz CHECK (revoked_at >= signed_at)
);
CREATE UNIQUE INDEX consent_one_in_force ON consent (patient_id, scope) WHERE revoked_at IS NULL;

CREATE TABLE referral (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL REFERENCES encounter (id),
    to_specialty text NOT NULL REFERENCES specialty (code),
    status       referral_status NOT NULL DEFAULT 'sent',
    reason       text NOT NULL,
    sent_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX referral_by_encounter ON referral (encounter_id);
CREATE INDEX referral_waiting ON referral (to_specialty, sent_at) WHERE status = 'sent';

CREATE TABLE document (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id   bigint NOT NULL REFERENCES patient (id),
    encounter_id bigint REFERENCES encounter (id),
    title        text NOT NULL,
    media_type   text NOT NULL CHECK (media_type ~ '^[a-z]+/[a-z0-9.+-]+$'),
    sha256       bytea NOT NULL CHECK (octet_length(sha256) = 32),
    bytes        bigint NOT NULL CHECK (bytes >= 0),
    stored_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (patient_id, sha256)
);
CREATE INDEX document_by_encounter ON document (encounter_id) WHERE encounter_id IS NOT NULL;

CREATE TABLE record_access (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id      bigint NOT NULL REFERENCES patient (id),
    practitioner_id bigint REFERENCES practitioner (id),
    purpose         text NOT NULL,
    break_glass     boolean NOT NULL DEFAULT false,
    at              timestamptz NOT NULL DEFAULT now(),
    CHECK (NOT break_glass OR length(purpose) >= 10)
);
CREATE INDEX record_access_by_patient ON record_access (patient_id, at DESC);
CREATE INDEX record_access_break_glass ON record_access (at) WHERE break_glass;

-- The trail names the columns that changed, never their values: it must not become a second patient record.
CREATE TABLE audit_row (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    db_role    text NOT NULL DEFAULT current_user,
    person     text DEFAULT nullif(current_setting('app.person', true), ''),
    table_name text NOT NULL,
    row_id     bigint NOT NULL,
    action     text NOT NULL CHECK (action IN ('INSERT', 'UPDATE', 'DELETE')),
    columns    text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_row_by_row ON audit_row (table_name, row_id);

CREATE FUNCTION write_audit_row() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    touched text[] := '{}';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT coalesce(array_agg(n.key ORDER BY n.key), '{}') INTO touched
        FROM jsonb_each(to_jsonb(NEW)) n
        WHERE n.value IS DISTINCT FROM to_jsonb(OLD) -> n.key AND n.key <> 'updated_at';
    END IF;
    INSERT INTO audit_row (table_name, row_id, action, columns)
    VALUES (TG_TABLE_NAME, CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END, TG_OP, touched);
    RETURN NULL;
END $$;

CREATE TRIGGER patient_audit AFTER INSERT OR UPDATE OR DELETE ON patient FOR EACH ROW EXECUTE FUNCTION write_audit_row();
CREATE TRIGGER encounter_audit AFTER INSERT OR UPDATE OR DELETE ON encounter FOR EACH ROW EXECUTE FUNCTION write_audit_row();
CREATE TRIGGER diagnosis_audit AFTER INSERT OR UPDATE OR DELETE ON diagnosis FOR EACH ROW EXECUTE FUNCTION write_audit_row();
CREATE TRIGGER patient_allergy_audit AFTER INSERT OR UPDATE OR DELETE ON patient_allergy FOR EACH ROW EXECUTE FUNCTION write_audit_row();
CREATE TRIGGER prescription_audit AFTER INSERT OR UPDATE OR DELETE ON prescription FOR EACH ROW EXECUTE FUNCTION write_audit_row();
CREATE TRIGGER lab_result_audit AFTER INSERT OR UPDATE OR DELETE ON lab_result FOR EACH ROW EXECUTE FUNCTION write_audit_row();
CREATE TRIGGER consent_audit AFTER INSERT OR UPDATE OR DELETE ON consent FOR EACH ROW EXECUTE FUNCTION write_audit_row();

CREATE FUNCTION keep_audit_row() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail only grows' USING ERRCODE = 'insufficient_privilege', TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_row_keep BEFORE UPDATE OR DELETE ON audit_row FOR EACH ROW EXECUTE FUNCTION keep_audit_row();
CREATE TRIGGER record_access_keep BEFORE UPDATE OR DELETE ON record_access FOR EACH ROW EXECUTE FUNCTION keep_audit_row();

-- Views run with their reader's rights.
CREATE VIEW current_inpatient WITH (security_invoker = true) AS
SELECT e.id AS encounter_id, p.id AS patient_id, p.mrn, p.family_name, p.given_name, w.code AS ward, r.number AS room, b.label AS bed, s.from_at
FROM bed_stay s
JOIN encounter e ON e.id = s.encounter_id
JOIN patient p ON p.id = e.patient_id
JOIN bed b ON b.id = s.bed_id
JOIN room r ON r.id = b.room_id
JOIN ward w ON w.code = r.ward_code
WHERE s.until_at IS NULL;

CREATE VIEW ward_occupancy WITH (security_invoker = true) AS
SELECT w.code AS ward, w.name, w.kind, count(b.id) AS beds, count(b.id) FILTER (WHERE b.status = 'occupied') AS occupied,
       round(100.0 * count(b.id) FILTER (WHERE b.status = 'occupied') / nullif(count(b.id), 0), 1) AS percent
FROM ward w
LEFT JOIN room r ON r.ward_code = w.code
LEFT JOIN bed b ON b.room_id = r.id
GROUP BY w.code, w.name, w.kind;

CREATE VIEW active_problem WITH (security_invoker = true) AS
SELECT DISTINCT ON (d.patient_id, d.icd10) d.patient_id, d.icd10, c.title, c.chapter, d.certainty, d.onset, d.recorded_at
FROM diagnosis d
JOIN icd10_code c ON c.code = d.icd10
WHERE d.status = 'active' AND d.certainty <> 'refuted'
ORDER BY d.patient_id, d.icd10, d.recorded_at DESC;

CREATE VIEW active_medication WITH (security_invoker = true) AS
SELECT p.patient_id, g.generic_name, g.atc, l.dose, l.unit_code, l.route_code, l.times_a_day, l.days, p.created_at AS since
FROM prescription p
JOIN prescription_line l ON l.prescription_id = p.id
JOIN drug g ON g.id = l.drug_id
WHERE p.status = 'active';

CREATE VIEW critical_result WITH (security_invoker = true) AS
SELECT e.patient_id, o.encounter_id, t.name, r.value, t.unit_code, r.flag, r.reported_at
FROM lab_result r
JOIN lab_order o ON o.id = r.lab_order_id
JOIN encounter e ON e.id = o.encounter_id
JOIN lab_test t ON t.loinc = r.loinc
WHERE r.flag IN ('critical_low', 'critical_high');

CREATE VIEW patient_balance WITH (security_invoker = true) AS
SELECT e.patient_id, count(*) AS invoices, sum(i.total) AS total, sum(i.balance) AS balance
FROM invoice i
JOIN encounter e ON e.id = i.encounter_id
WHERE i.status <> 'void'
GROUP BY e.patient_id;

CREATE VIEW encounter_summary WITH (security_invoker = true) AS
SELECT e.id, e.patient_id, p.mrn, e.class, e.status, e.reason, e.started_at, e.minutes, d.icd10 AS primary_icd10, c.title AS primary_title,
       (SELECT count(*) FROM lab_order o WHERE o.encounter_id = e.id) AS lab_orders,
       (SELECT count(*) FROM prescription x WHERE x.encounter_id = e.id) AS prescriptions
FROM encounter e
JOIN patient p ON p.id = e.patient_id
LEFT JOIN diagnosis d ON d.encounter_id = e.id AND d.is_primary AND d.certainty <> 'refuted'
LEFT JOIN icd10_code c ON c.code = d.icd10;

CREATE VIEW todays_appointment WITH (security_invoker = true) AS
SELECT a.department_code, a.starts_at, a.minutes, p.mrn, p.family_name, p.given_name, a.status, a.reason
FROM appointment a
JOIN patient p ON p.id = a.patient_id
WHERE a.starts_at >= current_date AND a.starts_at < current_date + 1
ORDER BY a.department_code, a.starts_at;
