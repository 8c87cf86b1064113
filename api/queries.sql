-- name: fetch_user
-- Who signs in with an e-mail address.
SELECT id, name, password_hash, last_organization_id, disabled_at IS NOT NULL AS disabled FROM users WHERE email = $1;

-- name: fetch_memberships
-- The organisations that a person may sign in to, by name; their own memberships have to be open to the transaction.
SELECT o.id, o.slug, o.name FROM organization_members m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 AND m.disabled_at IS NULL AND o.closed_at IS NULL ORDER BY o.name, o.id;

-- name: start_session
-- A new login, which becomes the person's default organisation; those that ended a month ago are forgotten.
WITH session AS (
  INSERT INTO sessions (id, user_id, organization_id, refresh_token_hash, user_agent, address, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 second')),
forgotten AS (DELETE FROM sessions WHERE user_id = $2 AND coalesce(revoked_at, expires_at) < now() - interval '30 days')
UPDATE users SET last_organization_id = $3 WHERE id = $2;

-- name: end_oldest_sessions
-- Ends a person's logins in an organisation but for the $3 that were used last.
UPDATE sessions SET revoked_at = now() WHERE id IN (
  SELECT id FROM sessions WHERE user_id = $1 AND organization_id = $2 AND revoked_at IS NULL AND expires_at > now()
  ORDER BY last_used_at DESC, id DESC OFFSET $3);

-- name: rotate_session
-- Takes the current refresh token of a session that is in force for the next one; no row if it is not the current one.
-- It ends when it was not used for $4 seconds, and $5 seconds after the login at the latest (0: no such end).
UPDATE sessions SET previous_refresh_token_hash = refresh_token_hash, refresh_token_hash = $3, last_used_at = now(),
  address = coalesce($6, address), expires_at = least(now() + $4 * interval '1 second',
    CASE WHEN $5::bigint = 0 THEN 'infinity' ELSE created_at + $5::bigint * interval '1 second' END)
WHERE id = $1 AND refresh_token_hash = $2 AND revoked_at IS NULL AND expires_at > now()
RETURNING user_id, organization_id;

-- name: fetch_sessions
-- A person's logins that are in force, in all their organisations, the one used last first.
SELECT s.id, s.organization_id, o.name AS organization_name, s.user_agent, s.address, s.created_at, s.last_used_at, s.expires_at
FROM sessions s JOIN organizations o ON o.id = s.organization_id
WHERE s.user_id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() ORDER BY s.last_used_at DESC, s.id DESC;

-- name: enter_organization
-- Scopes the running transaction to an organisation that it has only just learnt.
SELECT set_config('branchline.organization_id', $1, true);

-- name: revoke_session
-- Ends one login; a row if it was in force until now.
UPDATE sessions SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()
RETURNING user_id, organization_id;

-- name: revoke_own_session
-- Ends one login of a person; a row if it is theirs and was in force until now.
UPDATE sessions SET revoked_at = now() WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now()
RETURNING user_id, organization_id;

-- name: revoke_sessions
-- Ends every login of a person but $2 (null: that one too), in all their organisations, one person's at a time.
UPDATE sessions SET revoked_at = now()
WHERE user_id = (SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE) AND revoked_at IS NULL AND id IS DISTINCT FROM $2;

-- name: note_security_event
-- Appends to an organisation's audit log, if there is the organisation: what, by whom, about whom, from which address.
INSERT INTO security_events (organization_id, kind, actor_id, user_id, address, details)
SELECT $1, $2, $3, $4, $5, $6 WHERE EXISTS (SELECT FROM organizations WHERE id = $1);

-- name: fetch_security_events
-- An organisation's audit log, newest first, before an event ($2) where it is given.
SELECT e.id, e.at, e.kind, e.actor_id, a.name AS actor_name, e.user_id, u.name AS user_name, e.address, e.details::text AS details
FROM security_events e LEFT JOIN users a ON a.id = e.actor_id LEFT JOIN users u ON u.id = e.user_id
WHERE e.organization_id = $1 AND ($2::uuid IS NULL OR e.id < $2) ORDER BY e.id DESC LIMIT $3;

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
