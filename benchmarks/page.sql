-- name: fill_leads
-- Leads for the demo's organisation until it has so many ($1).
INSERT INTO leads (organization_id, name, company, estimated_value)
SELECT o.id, 'Lead ' || n, 'Company ' || n % 500, n
FROM organizations o, generate_series(1, $1::integer - (SELECT count(*)::integer FROM leads l JOIN organizations d ON d.id = l.organization_id AND d.slug = 'demo')) n
WHERE o.slug = 'demo'

-- name: fetch_commits
-- When the changes of some records ($1) to a value of at least $2 were committed, in Unix milliseconds.
SELECT (c.record->>'estimated_value')::numeric::bigint AS value, extract(epoch FROM m.numbered_at)::float8 * 1000 AS committed_at_ms
FROM changes c JOIN commits m USING (organization_id, transaction_id)
WHERE c.record_id = ANY ($1::uuid[]) AND (c.record->>'estimated_value')::numeric >= $2::numeric AND 'estimated_value' = ANY (c.changed)
