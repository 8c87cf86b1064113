-- name: fetch_user
-- Who signs in with an e-mail address.
SELECT id, name, password_hash, last_organization_id, disabled_at IS NOT NULL AS disabled FROM users WHERE email = $1;

-- name: fetch_memberships
-- The organisations that a person may sign in to, by name; their own memberships have to be open to the transaction.
SELECT o.id, o.slug, o.name FROM organization_members m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 AND m.disabled_at IS NULL AND o.closed_at IS NULL ORDER BY o.name, o.id;

-- name: start_session
-- A new login, which becomes the person's default organisation.
WITH session AS (
  INSERT INTO sessions (id, user_id, organization_id, refresh_token_hash, user_agent, expires_at)
  VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 second'))
UPDATE users SET last_organization_id = $3 WHERE id = $2;

-- name: rotate_session
-- Takes the current refresh token of a session that is in force for the next one; no row if it is not the current one.
UPDATE sessions SET previous_refresh_token_hash = refresh_token_hash, refresh_token_hash = $3, last_used_at = now(),
  expires_at = now() + $4 * interval '1 second'
WHERE id = $1 AND refresh_token_hash = $2 AND revoked_at IS NULL AND expires_at > now()
RETURNING user_id, organization_id;

-- name: enter_organization
-- Scopes the running transaction to an organisation that it has only just learnt.
SELECT set_config('branchline.organization_id', $1, true);

-- name: revoke_session
-- Ends one login; a row if it was in force until now.
UPDATE sessions SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING user_id;

-- name: revoke_sessions
-- Ends every login of a person, in all their organisations.
UPDATE sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL;

-- name: fetch_history
-- A record's versions, newest first, below a version ($4) where it is given, of branches ($5) that may be read; null: all.
SELECT x.version, x.operation::text AS operation, x.clock, x.changed, x.record::text AS record, x.actor_id, u.name AS actor_name,
  x.mutation_id
FROM (
  SELECT version, operation, clock, changed, record, actor_id, mutation_id FROM changes
  WHERE organization_id = $1 AND collection = $2 AND record_id = $3 AND ($4::bigint IS NULL OR version < $4)
  UNION ALL
  SELECT version, operation, clock, changed, record, actor_id, mutation_id FROM history
  WHERE organization_id = $1 AND collection = $2 AND record_id = $3 AND ($4::bigint IS NULL OR version < $4)) x
LEFT JOIN users u ON u.id = x.actor_id
WHERE $5::uuid[] IS NULL OR x.record ->> 'branch_id' IS NULL OR (x.record ->> 'branch_id')::uuid = ANY ($5)
ORDER BY x.version DESC LIMIT $6;

-- name: is_answered
-- Whether a person ($2) has sent this mutation ($3) before, and it was written.
SELECT EXISTS (SELECT FROM mutations WHERE organization_id = $1 AND user_id = $2 AND mutation_id = $3);

-- name: ping
-- Whether the database answers.
SELECT 1;
