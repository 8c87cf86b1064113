-- name: fetch_principal
-- Who somebody is in an organisation today, if their session, membership, person and organisation are in force.
SELECT u.name, m.role::text AS role, m.reads::text AS reads, m.branch_ids
FROM organization_members m
JOIN users u ON u.id = m.user_id
JOIN organizations o ON o.id = m.organization_id
JOIN sessions s ON s.id = $3 AND s.user_id = m.user_id AND s.organization_id = m.organization_id
WHERE m.organization_id = $1 AND m.user_id = $2 AND m.disabled_at IS NULL AND u.disabled_at IS NULL
  AND o.closed_at IS NULL AND s.revoked_at IS NULL AND s.expires_at > now();

-- name: is_member
-- Whether somebody may sign in to an organisation today, whatever became of their sessions.
SELECT EXISTS (
  SELECT FROM organization_members m JOIN users u ON u.id = m.user_id JOIN organizations o ON o.id = m.organization_id
  WHERE m.organization_id = $1 AND m.user_id = $2 AND m.disabled_at IS NULL AND u.disabled_at IS NULL AND o.closed_at IS NULL);
