-- A general hospital: specialties, departments, wards, their rooms and beds.

INSERT INTO specialty (code, name) VALUES
    ('GP', 'General practice'),
    ('IM', 'Internal medicine'),
    ('CARD', 'Cardiology'),
    ('PULM', 'Pulmonology'),
    ('GAST', 'Gastroenterology'),
    ('NEPH', 'Nephrology'),
    ('ENDO', 'Endocrinology'),
    ('NEUR', 'Neurology'),
    ('INFD', 'Infectious diseases'),
    ('ONCO', 'Medical oncology'),
    ('GERI', 'Geriatric medicine'),
    ('GSUR', 'General surgery'),
    ('ORTH', 'Orthopaedic surgery'),
    ('NSUR', 'Neurosurgery'),
    ('UROL', 'Urology'),
    ('OBGY', 'Obstetrics and gynaecology'),
    ('PEDI', 'Paediatrics'),
    ('NEON', 'Neonatology'),
    ('ANES', 'Anaesthesiology'),
    ('ICM', 'Intensive care medicine'),
    ('EMER', 'Emergency medicine'),
    ('PSYC', 'Psychiatry'),
    ('OPHT', 'Ophthalmology'),
    ('ENT', 'Otorhinolaryngology'),
    ('DERM', 'Dermatology'),
    ('RADI', 'Radiology'),
    ('PATH', 'Pathology'),
    ('REHA', 'Rehabilitation medicine')
ON CONFLICT (code) DO NOTHING;

INSERT INTO department (code, name, phone_ext) VALUES
    ('EMR', 'Emergency', '1111'),
    ('OPD', 'Outpatient clinic', '1200'),
    ('IM', 'Internal medicine', '2100'),
    ('CAR', 'Cardiology', '2110'),
    ('PUL', 'Pulmonology', '2120'),
    ('GAS', 'Gastroenterology', '2130'),
    ('NEP', 'Nephrology and dialysis', '2140'),
    ('END', 'Endocrinology', '2150'),
    ('NEU', 'Neurology', '2160'),
    ('INF', 'Infectious diseases', '2170'),
    ('ONC', 'Oncology', '2180'),
    ('GER', 'Geriatrics', '2190'),
    ('SUR', 'General surgery', '3100'),
    ('ORT', 'Orthopaedics and trauma', '3110'),
    ('NSU', 'Neurosurgery', '3120'),
    ('URO', 'Urology', '3130'),
    ('OBG', 'Obstetrics and gynaecology', '4100'),
    ('PED', 'Paediatrics', '4200'),
    ('NEO', 'Neonatology', '4210'),
    ('ICU', 'Intensive care', '5100'),
    ('ANE', 'Anaesthesia and theatres', '5200'),
    ('PSY', 'Psychiatry', '6100'),
    ('OPH', 'Ophthalmology', '6200'),
    ('ENT', 'Ear, nose and throat', '6300'),
    ('DER', 'Dermatology', '6400'),
    ('DEN', 'Dentistry', '6500'),
    ('REH', 'Rehabilitation', '6600'),
    ('RAD', 'Radiology', '7100'),
    ('LAB', 'Clinical laboratory', '7200'),
    ('PHA', 'Pharmacy', '7300')
ON CONFLICT (code) DO NOTHING;

INSERT INTO ward (code, department_code, name, kind, floor) VALUES
    ('EMR-1', 'EMR', 'Resuscitation and observation', 'emergency', 0),
    ('IM-1', 'IM', 'Internal medicine A', 'general', 2),
    ('IM-2', 'IM', 'Internal medicine B', 'general', 2),
    ('CAR-1', 'CAR', 'Cardiology', 'general', 3),
    ('CCU', 'CAR', 'Coronary care', 'intensive', 3),
    ('PUL-1', 'PUL', 'Pulmonology', 'general', 3),
    ('GAS-1', 'GAS', 'Gastroenterology', 'general', 4),
    ('NEP-1', 'NEP', 'Dialysis', 'day', 1),
    ('NEU-1', 'NEU', 'Stroke unit', 'general', 4),
    ('INF-1', 'INF', 'Isolation', 'general', 5),
    ('ONC-1', 'ONC', 'Oncology', 'general', 5),
    ('ONC-D', 'ONC', 'Chemotherapy day unit', 'day', 1),
    ('GER-1', 'GER', 'Geriatrics', 'general', 5),
    ('SUR-1', 'SUR', 'General surgery A', 'surgical', 6),
    ('SUR-2', 'SUR', 'General surgery B', 'surgical', 6),
    ('ORT-1', 'ORT', 'Orthopaedics', 'surgical', 7),
    ('NSU-1', 'NSU', 'Neurosurgery', 'surgical', 7),
    ('URO-1', 'URO', 'Urology', 'surgical', 7),
    ('OBG-1', 'OBG', 'Maternity', 'maternity', 8),
    ('OBG-D', 'OBG', 'Delivery suite', 'maternity', 8),
    ('PED-1', 'PED', 'Paediatrics', 'paediatric', 9),
    ('NICU', 'NEO', 'Neonatal intensive care', 'neonatal', 9),
    ('ICU-1', 'ICU', 'Intensive care', 'intensive', 1),
    ('PSY-1', 'PSY', 'Psychiatry', 'psychiatric', 10),
    ('REH-1', 'REH', 'Rehabilitation', 'general', 10)
ON CONFLICT (code) DO NOTHING;

-- Rooms are numbered by floor; a room's beds are A, B, C, D.
INSERT INTO room (ward_code, number, is_isolation)
SELECT w.code, lpad((greatest(w.floor, 0) * 100 + n)::text, 3, '0'), w.code = 'INF-1' OR (w.kind = 'intensive' AND n <= 2)
FROM (VALUES
    ('EMR-1', 4),
    ('IM-1', 8),
    ('IM-2', 8),
    ('CAR-1', 6),
    ('CCU', 6),
    ('PUL-1', 6),
    ('GAS-1', 6),
    ('NEP-1', 4),
    ('NEU-1', 6),
    ('INF-1', 10),
    ('ONC-1', 6),
    ('ONC-D', 3),
    ('GER-1', 6),
    ('SUR-1', 8),
    ('SUR-2', 8),
    ('ORT-1', 8),
    ('NSU-1', 5),
    ('URO-1', 5),
    ('OBG-1', 8),
    ('OBG-D', 6),
    ('PED-1', 8),
    ('NICU', 4),
    ('ICU-1', 12),
    ('PSY-1', 6),
    ('REH-1', 6)
) AS plan (ward_code, rooms)
JOIN ward w ON w.code = plan.ward_code
CROSS JOIN LATERAL generate_series(1, plan.rooms) AS n
ON CONFLICT (ward_code, number) DO NOTHING;

INSERT INTO bed (room_id, label)
SELECT r.id, chr(64 + n)
FROM (VALUES
    ('EMR-1', 3),
    ('IM-1', 2),
    ('IM-2', 2),
    ('CAR-1', 2),
    ('CCU', 1),
    ('PUL-1', 2),
    ('GAS-1', 2),
    ('NEP-1', 4),
    ('NEU-1', 2),
    ('INF-1', 1),
    ('ONC-1', 2),
    ('ONC-D', 4),
    ('GER-1', 2),
    ('SUR-1', 2),
    ('SUR-2', 2),
    ('ORT-1', 2),
    ('NSU-1', 2),
    ('URO-1', 2),
    ('OBG-1', 2),
    ('OBG-D', 1),
    ('PED-1', 2),
    ('NICU', 3),
    ('ICU-1', 1),
    ('PSY-1', 2),
    ('REH-1', 2)
) AS plan (ward_code, beds_per_room)
JOIN room r ON r.ward_code = plan.ward_code
CROSS JOIN LATERAL generate_series(1, plan.beds_per_room) AS n
ON CONFLICT (room_id, label) DO NOTHING;
