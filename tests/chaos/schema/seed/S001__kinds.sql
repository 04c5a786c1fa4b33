INSERT INTO kind (name) VALUES ('plain'), ('urgent') ON CONFLICT DO NOTHING;
