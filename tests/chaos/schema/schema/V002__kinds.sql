CREATE TABLE kind (
    name text PRIMARY KEY
);
ALTER TABLE note ADD COLUMN kind text REFERENCES kind (name);
