-- name: add_organization
-- An organisation for a benchmark.
INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $3);

-- name: add_branch
-- One of its branches.
INSERT INTO branches (organization_id, id, slug, name) VALUES ($1, $2, $3, $3);

-- name: fetch_records
-- All leads of an organisation, as the database encodes them.
SELECT l.id, encode_record(l)::text AS record FROM leads l WHERE l.organization_id = $1;

-- name: fetch_offsets
-- The offsets of all changes of leads of an organisation, in order.
SELECT c.first_offset + x.ordinal - 1 AS log_offset
FROM commits c
JOIN changes x ON x.organization_id = c.organization_id AND x.transaction_id = c.transaction_id AND x.logged_on = c.logged_on
WHERE c.organization_id = $1 AND x.collection = 'leads'
ORDER BY 1;

-- name: fetch_log_bounds
-- How many offsets an organisation's log has, and the lowest and the highest of them: 1 to n without a gap (I1).
SELECT count(*) AS changes, coalesce(min(c.first_offset + x.ordinal - 1), 0) AS lowest, coalesce(max(c.first_offset + x.ordinal - 1), 0) AS highest
FROM commits c
JOIN changes x ON x.organization_id = c.organization_id AND x.transaction_id = c.transaction_id AND x.logged_on = c.logged_on
WHERE c.organization_id = $1;

-- name: fetch_durability
-- What decides whether a commit outlives a power cut, and how it is written.
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'commit_delay', 'server_version', 'shared_buffers')
ORDER BY name;

-- name: count_commits
-- How many commits of any organisation the log has.
SELECT count(DISTINCT transaction_id) FROM commits;

-- name: fetch_record_ids
-- The ids of all leads of an organisation.
SELECT l.id FROM leads l WHERE l.organization_id = $1;

-- name: count_leads
-- How many leads some organisations have.
SELECT count(*) FROM leads l WHERE l.organization_id = ANY ($1::uuid[]);

-- name: fetch_logged_mutations
-- How often each mutation of an organisation is in the log.
SELECT x.mutation_id, count(*) AS times FROM changes x
WHERE x.organization_id = $1 AND x.mutation_id IS NOT NULL GROUP BY x.mutation_id;

-- name: count_remembered
-- How many mutations of an organisation have an answer that a repeat would get.
SELECT count(*) FROM mutations m WHERE m.organization_id = $1;

-- name: add_leads
-- So many new leads of a branch, in a statement of the owner's.
INSERT INTO leads (organization_id, branch_id, name, notes) SELECT $1, $2, 'Lead ' || n, repeat('x', 100) FROM generate_series(1, $3::integer) n;

-- name: add_contacts
-- $4 contacts of a branch, numbered from $3 on, with names that many share, as people's are.
INSERT INTO contacts (organization_id, branch_id, first_name, last_name, email)
SELECT $1, $2, 'First ' || n % 997, 'Last ' || md5((n % 50021)::text), 'c' || n || '@bench.test'
FROM generate_series($3::integer, $3::integer + $4::integer - 1) n;

-- name: touch_leads
-- Give so many leads of an organisation other notes, in a statement of the owner's.
UPDATE leads SET notes = $2 WHERE organization_id = $1
AND id IN (SELECT l.id FROM leads l WHERE l.organization_id = $1 LIMIT $3::integer);

-- name: enter_for_good
-- Make an organisation the one that a person used last; their e-mail address.
UPDATE users SET last_organization_id = $2 WHERE id = $1 RETURNING email;
