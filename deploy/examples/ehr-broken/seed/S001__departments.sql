-- Never reached: the third version fails before any seed.

INSERT INTO department (code, name) VALUES
    ('EMR', 'Emergency'),
    ('IM', 'Internal medicine')
ON CONFLICT (code) DO NOTHING;
