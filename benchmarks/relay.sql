-- name: create_organization
-- An organisation ($1) without people, named $2.
INSERT INTO organizations (id, slug, name) VALUES ($1, $2::text, $2::text)

-- name: create_leads
-- $3 leads of an organisation ($1), each with notes ($2).
INSERT INTO leads (organization_id, name, notes) SELECT $1, 'lead ' || n, $2 FROM generate_series(1, $3::integer) n

-- name: update_leads
-- Give the first $2 leads of an organisation ($1) other notes ($3), in one statement.
UPDATE leads SET notes = $3 WHERE organization_id = $1
   AND id IN (SELECT id FROM leads WHERE organization_id = $1 ORDER BY id LIMIT $2)

-- name: fetch_heads
-- The newest offset of each of the organisations $1.
SELECT organization_id, max(first_offset + size - 1) AS head FROM commits
 WHERE organization_id = ANY ($1) GROUP BY organization_id

-- name: fetch_head
-- The newest offset of an organisation ($1).
SELECT max(first_offset + size - 1) FROM commits WHERE organization_id = $1
