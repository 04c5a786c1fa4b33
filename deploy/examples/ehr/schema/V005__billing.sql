-- What it costs, and who pays.

CREATE TYPE payer_kind AS ENUM ('statutory', 'private', 'employer', 'self');
CREATE TYPE invoice_status AS ENUM ('open', 'issued', 'paid', 'void');
CREATE TYPE payment_method AS ENUM ('cash', 'card', 'transfer', 'insurance');

CREATE TABLE payer (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z0-9]{2,12}$'),
    name text NOT NULL UNIQUE,
    kind payer_kind NOT NULL
);

CREATE TABLE coverage (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id  bigint NOT NULL REFERENCES patient (id),
    payer_code  text NOT NULL REFERENCES payer (code),
    card_number text NOT NULL,
    valid       daterange NOT NULL CHECK (NOT isempty(valid)),
    percent     smallint NOT NULL DEFAULT 80 CHECK (percent BETWEEN 0 AND 100),
    UNIQUE (payer_code, card_number)
);
CREATE INDEX coverage_by_patient ON coverage (patient_id);
CREATE INDEX coverage_by_time ON coverage USING gist (valid);

CREATE TABLE charge_item (
    code       text PRIMARY KEY CHECK (code ~ '^[A-Z0-9-]{2,20}$'),
    name       text NOT NULL UNIQUE,
    unit_price numeric(14, 2) NOT NULL CHECK (unit_price >= 0),
    currency   text NOT NULL DEFAULT 'VND' CHECK (currency ~ '^[A-Z]{3}$')
);

CREATE TABLE invoice (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id bigint NOT NULL UNIQUE REFERENCES encounter (id),
    coverage_id  bigint REFERENCES coverage (id),
    status       invoice_status NOT NULL DEFAULT 'open',
    total        numeric(16, 2) NOT NULL DEFAULT 0 CHECK (total >= 0),
    paid         numeric(16, 2) NOT NULL DEFAULT 0 CHECK (paid >= 0),
    balance      numeric(16, 2) GENERATED ALWAYS AS (total - paid) STORED,
    issued_at    timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (status IN ('open', 'void') OR issued_at IS NOT NULL)
);
CREATE INDEX invoice_unpaid ON invoice (issued_at) WHERE status = 'issued';
CREATE TRIGGER invoice_touch BEFORE UPDATE ON invoice FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE invoice_line (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id  bigint NOT NULL REFERENCES invoice (id) ON DELETE CASCADE,
    charge_code text NOT NULL REFERENCES charge_item (code),
    quantity    numeric(10, 2) NOT NULL DEFAULT 1 CHECK (quantity > 0),
    unit_price  numeric(14, 2) NOT NULL CHECK (unit_price >= 0),
    amount      numeric(16, 2) GENERATED ALWAYS AS (round(quantity * unit_price, 2)) STORED
);
CREATE INDEX invoice_line_by_invoice ON invoice_line (invoice_id);

CREATE TABLE payment (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id bigint NOT NULL REFERENCES invoice (id),
    method     payment_method NOT NULL,
    amount     numeric(16, 2) NOT NULL CHECK (amount > 0),
    paid_at    timestamptz NOT NULL DEFAULT now(),
    reference  text
);
CREATE INDEX payment_by_invoice ON payment (invoice_id);

-- The invoice's sums follow its lines and payments; an issued invoice has no new lines.
CREATE FUNCTION sum_invoice() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    changed bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.invoice_id ELSE NEW.invoice_id END;
BEGIN
    IF TG_TABLE_NAME = 'invoice_line' AND EXISTS (SELECT 1 FROM invoice i WHERE i.id = changed AND i.status <> 'open') THEN
        RAISE EXCEPTION 'invoice % is no longer open', changed USING ERRCODE = 'check_violation', TABLE = 'invoice_line';
    END IF;
    UPDATE invoice i SET
        total = (SELECT coalesce(sum(l.amount), 0) FROM invoice_line l WHERE l.invoice_id = i.id),
        paid = (SELECT coalesce(sum(p.amount), 0) FROM payment p WHERE p.invoice_id = i.id)
    WHERE i.id = changed;
    RETURN NULL;
END $$;
CREATE TRIGGER invoice_line_sum AFTER INSERT OR UPDATE OR DELETE ON invoice_line FOR EACH ROW EXECUTE FUNCTION sum_invoice();
CREATE TRIGGER payment_sum AFTER INSERT OR UPDATE OR DELETE ON payment FOR EACH ROW EXECUTE FUNCTION sum_invoice();
