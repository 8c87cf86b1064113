-- name: create_leads
-- $2 leads of an organisation ($1) of about a kilobyte each, in one statement.
INSERT INTO leads (organization_id, name, company, email, phone, notes)
SELECT $1, 'Lead ' || n, 'Company ' || n % 500, 'lead' || n || '@example.test', '+49 30 ' || n, repeat('n', 256)
FROM generate_series(1, $2::integer) n

-- name: update_lead
-- Give a lead ($2) of an organisation ($1) other notes ($3).
UPDATE leads SET notes = $3 WHERE organization_id = $1 AND id = $2

-- name: fetch_records
-- All leads of an organisation ($1), as the database encodes them.
SELECT id::text, encode_record(l)::text AS record FROM leads l WHERE organization_id = $1
