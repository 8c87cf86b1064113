-- name: fetch_principal
-- Who somebody is in an organisation today, if their session, membership, person and organisation are in force.
SELECT name, role, reads, branch_ids FROM principal_of($1, $2, $3);

-- name: fetch_principal_and_head
-- The same with what `fetch_head` of log.sql gives, in one round trip, also without a transaction around it.
SELECT name, role, reads, branch_ids, epoch, head FROM read_principal_and_head($1, $2, $3);

-- name: fetch_principals
-- Who somebody is, for many: organisations $1, people $2, sessions $3. Numbered from 1; who is nobody is left out.
SELECT place, name, role, reads, branch_ids FROM read_principals($1, $2, $3);

-- name: fetch_member
-- Who somebody is in an organisation today, whatever became of their sessions.
SELECT u.name, m.role::text AS role, m.reads::text AS reads, m.branch_ids
FROM organization_members m JOIN users u ON u.id = m.user_id JOIN organizations o ON o.id = m.organization_id
WHERE m.organization_id = $1 AND m.user_id = $2 AND m.disabled_at IS NULL AND u.disabled_at IS NULL AND o.closed_at IS NULL;
