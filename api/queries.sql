-- name: fetch_user
-- Who signs in with an e-mail address.
SELECT id, name, password_hash, last_organization_id, disabled_at IS NOT NULL AS disabled FROM users WHERE email = $1;

-- name: fetch_memberships
-- The organisations that a person may sign in to, by name; their own memberships have to be open to the transaction.
SELECT o.id, o.slug, o.name FROM organization_members m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 AND m.disabled_at IS NULL AND o.closed_at IS NULL ORDER BY o.name, o.id;

-- name: fetch_disabled_memberships
-- The organisations where a person is disabled, or the one of this slug or id ($2); their own memberships have to be open.
SELECT o.id::text FROM organization_members m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 AND m.disabled_at IS NOT NULL AND ($2::text IS NULL OR lower(trim($2)) IN (o.slug, o.id::text));

-- name: start_session
-- A new login, which becomes the person's default organisation, and its end: when it was not used for $7 seconds, and after
-- $8 seconds at the latest (0: no such end). Those that ended a month ago are forgotten.
WITH session AS (
  INSERT INTO sessions (id, user_id, organization_id, refresh_token_hash, user_agent, address, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, now() + least($7::bigint, nullif($8::bigint, 0)) * interval '1 second') RETURNING expires_at),
forgotten AS (DELETE FROM sessions WHERE user_id = $2 AND coalesce(revoked_at, expires_at) < now() - interval '30 days')
UPDATE users SET last_organization_id = $3 WHERE id = $2 RETURNING (SELECT expires_at FROM session);

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
RETURNING user_id, organization_id, expires_at;

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

-- name: enter_own_memberships
-- Opens a person's own memberships to the running transaction.
SELECT set_config('branchline.user_id', $1, true);

-- name: find_home
-- The organisation that a person would sign in to: the one they used last, if they are still a member, else the first.
SELECT o.id::text FROM organization_members m JOIN organizations o ON o.id = m.organization_id JOIN users u ON u.id = m.user_id
WHERE m.user_id = $1 AND m.disabled_at IS NULL AND o.closed_at IS NULL
ORDER BY o.id = u.last_organization_id DESC NULLS LAST, o.name, o.id LIMIT 1;

-- name: act_as
-- Has the history name a person for what the running transaction writes.
SELECT set_config('branchline.actor', $1, true);

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
  m.branch_ids[1] AS actor_branch, x.mutation_id
FROM (
  SELECT version, operation, clock, changed, record, actor_id, mutation_id FROM changes
  WHERE organization_id = $1 AND collection = $2 AND record_id = $3 AND ($4::bigint IS NULL OR version < $4)
  UNION ALL
  SELECT version, operation, clock, changed, record, actor_id, mutation_id FROM history
  WHERE organization_id = $1 AND collection = $2 AND record_id = $3 AND ($4::bigint IS NULL OR version < $4)) x
LEFT JOIN users u ON u.id = x.actor_id
LEFT JOIN organization_members m ON m.organization_id = $1 AND m.user_id = x.actor_id AND cardinality(m.branch_ids) = 1
WHERE $5::uuid[] IS NULL OR x.record ->> 'branch_id' IS NULL OR (x.record ->> 'branch_id')::uuid = ANY ($5)
ORDER BY x.version DESC LIMIT $6;

-- name: is_answered
-- Whether a person ($2) has sent this mutation ($3) before, and it was written.
SELECT EXISTS (SELECT FROM mutations WHERE organization_id = $1 AND user_id = $2 AND mutation_id = $3);

-- name: ping
-- Whether the database answers.
SELECT 1;

-- name: fetch_password
-- A person's password hash.
SELECT password_hash FROM users WHERE id = $1;

-- name: set_password
-- Gives a person another password; ways back to the old one are closed.
WITH closed AS (DELETE FROM password_resets WHERE user_id = $1)
UPDATE users SET password_hash = $2 WHERE id = $1;

-- name: keep_reset
-- Opens a way back for somebody who has forgotten their password; one that was open is closed. No row if that was opened less
-- than $4 seconds ago: nobody fills another's mailbox.
INSERT INTO password_resets AS r (token_hash, user_id, expires_at) VALUES ($1, $2, now() + $3::bigint * interval '1 second')
ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at
  WHERE r.expires_at <= now() + ($3::bigint - $4::bigint) * interval '1 second'
RETURNING user_id;

-- name: take_reset
-- Goes through a way back, once; the person, if it was open and they are in force.
DELETE FROM password_resets r USING users u WHERE r.token_hash = $1 AND r.expires_at > now() AND u.id = r.user_id
  AND u.disabled_at IS NULL
RETURNING u.id::text;

-- name: invite
-- Writes an invitation down: its end, and the organisation's name; no row if $10 to other addresses are open.
INSERT INTO invitations (organization_id, id, email, role, reads, branch_ids, token_hash, invited_by, expires_at)
SELECT $1::uuid, $2::uuid, $3::text, $4::text::member_role, $5::text::member_reads, $6::uuid[], $7::bytea, $8::uuid,
  now() + $9 * interval '1 second'
WHERE (SELECT count(*) FROM invitations WHERE organization_id = $1 AND email <> $3 AND ended_at IS NULL AND expires_at > now()) < $10::integer
RETURNING expires_at, (SELECT name FROM organizations WHERE id = $1) AS organization_name;

-- name: fetch_invitations
-- Invitations that are open, the newest first.
SELECT i.id, i.email, i.role::text AS role, i.reads::text AS reads, i.branch_ids, i.invited_by, u.name AS invited_by_name, i.created_at, i.expires_at
FROM invitations i LEFT JOIN users u ON u.id = i.invited_by
WHERE i.organization_id = $1 AND i.ended_at IS NULL AND i.expires_at > now() ORDER BY i.id DESC LIMIT 500;

-- name: end_invitation
-- Takes an invitation back; its address, if it was open.
UPDATE invitations SET ended_at = now() WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL AND expires_at > now()
RETURNING email;

-- name: end_older_invitations
-- Ends the open invitations to an address ($2) that are older than one ($3).
UPDATE invitations SET ended_at = now() WHERE organization_id = $1 AND email = $2 AND id < $3 AND ended_at IS NULL AND expires_at > now();

-- name: find_invitation
-- The open invitation of a token, what it offers, and the person of its address, if there is one.
SELECT i.id, i.organization_id::text AS organization_id, o.name AS organization_name, i.email, i.role::text AS role,
  i.reads::text AS reads, i.branch_ids, i.invited_by, u.id AS user_id, u.name, u.password_hash, u.disabled_at IS NOT NULL AS disabled
FROM invitations i JOIN organizations o ON o.id = i.organization_id AND o.closed_at IS NULL LEFT JOIN users u ON u.email = i.email
WHERE i.organization_id = $1 AND i.token_hash = $2 AND i.ended_at IS NULL AND i.expires_at > now();

-- name: accept_invitation
-- Uses an invitation up and makes the person ($3) a member as it says; no row if somebody was faster, or it would make an
-- owner less. One who is disabled comes back as something else if an owner invites them ($4).
WITH used AS (
  UPDATE invitations SET ended_at = now() WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL AND expires_at > now()
  RETURNING organization_id, role, reads, branch_ids)
INSERT INTO organization_members AS m (organization_id, user_id, role, reads, branch_ids)
SELECT organization_id, $3, role, reads, branch_ids FROM used
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role, reads = excluded.reads,
  branch_ids = excluded.branch_ids, disabled_at = NULL
  WHERE m.role <> 'owner' OR excluded.role = 'owner' OR m.disabled_at IS NOT NULL AND $4
RETURNING m.id;

-- name: create_user
-- A new person; no row if the address is somebody's already.
INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4) ON CONFLICT (email) DO NOTHING RETURNING id;

-- name: fetch_people
-- An organisation's members, by id, after a person ($2) where one is given: those of branches ($3) and of all; null: everybody.
SELECT u.id::text AS id, u.name, u.email, m.role::text AS role, m.branch_ids::text[] AS branch_ids,
  m.disabled_at IS NOT NULL OR u.disabled_at IS NOT NULL AS disabled
FROM organization_members m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = $1 AND ($2::uuid IS NULL OR m.user_id > $2)
  AND ($3::uuid[] IS NULL OR m.branch_ids IS NULL OR m.branch_ids && $3)
ORDER BY m.user_id LIMIT $4;

-- name: count_branches
-- How many of these branches ($2) the organisation has.
SELECT count(*) FROM branches WHERE organization_id = $1 AND id = ANY ($2::uuid[]);

-- name: fetch_preferences
-- What a person has set for themselves, on every device.
SELECT preferences::text FROM users WHERE id = $1;

-- name: set_preferences
-- Replaces a person's preferences.
UPDATE users SET preferences = $2::jsonb WHERE id = $1 RETURNING preferences::text;

-- name: merge_preferences
-- Changes some of a person's preferences, by name; null takes one away. Refused where they would be larger than $3 bytes.
WITH merged AS (
  SELECT u.id, (u.preferences || $2::jsonb) - ARRAY(SELECT key FROM jsonb_each($2::jsonb) WHERE value = 'null') AS preferences
  FROM users u WHERE u.id = $1 FOR NO KEY UPDATE)
UPDATE users u SET preferences = m.preferences FROM merged m
WHERE u.id = m.id AND octet_length(m.preferences::text) <= $3 RETURNING u.preferences::text;

-- name: fetch_sealed
-- What is sealed of a client ($2), or, where that is null, of an outside system by the name $3.
SELECT key_id, sealed, updated_at, updated_by FROM sealed_values
WHERE organization_id = $1 AND client_id IS NOT DISTINCT FROM $2::uuid AND name = $3;

-- name: list_sealed
-- For which outside systems the organisation has a token, without the tokens.
SELECT name, updated_at, updated_by FROM sealed_values WHERE organization_id = $1 AND client_id IS NULL ORDER BY name LIMIT 500;

-- name: put_sealed
-- Seals a value in its place, over what was there.
INSERT INTO sealed_values (organization_id, client_id, name, key_id, sealed, updated_by) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organization_id, client_id, name) DO UPDATE
  SET key_id = excluded.key_id, sealed = excluded.sealed, updated_at = now(), updated_by = excluded.updated_by;

-- name: remove_sealed
-- Removes a sealed value; a row if there was one.
DELETE FROM sealed_values WHERE organization_id = $1 AND client_id IS NOT DISTINCT FROM $2::uuid AND name = $3 RETURNING name;

-- name: find_branch_of_client
-- A client's branch, if the client is of branches ($3) that may be seen; null: all.
SELECT branch_id FROM clients WHERE organization_id = $1 AND id = $2
  AND ($3::uuid[] IS NULL OR branch_id IS NULL OR branch_id = ANY ($3));

-- name: find_branch_of_contact
-- A contact's branch, if the contact is of branches ($3) that may be seen; null: all.
SELECT branch_id FROM contacts WHERE organization_id = $1 AND id = $2
  AND ($3::uuid[] IS NULL OR branch_id IS NULL OR branch_id = ANY ($3));

-- name: give_portal_access
-- Writes a contact's token down.
INSERT INTO client_portal_access (organization_id, id, contact_id, token_hash, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 second') RETURNING expires_at;

-- name: end_oldest_portal_access
-- Ends a contact's tokens but for the $3 that were made last.
UPDATE client_portal_access SET revoked_at = now() WHERE organization_id = $1 AND id IN (
  SELECT id FROM client_portal_access
  WHERE organization_id = $1 AND contact_id = $2 AND revoked_at IS NULL AND expires_at > now() ORDER BY id DESC OFFSET $3);

-- name: end_portal_access
-- Ends all of a contact's tokens; a row for each.
UPDATE client_portal_access SET revoked_at = now()
WHERE organization_id = $1 AND contact_id = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING id;

-- name: use_portal_access
-- The contact whose token this is, and who made it, if it is in force.
UPDATE client_portal_access a SET last_used_at = now()
WHERE a.organization_id = $1 AND a.id = $2 AND a.token_hash = $3 AND a.revoked_at IS NULL AND a.expires_at > now()
  AND EXISTS (SELECT FROM organizations o WHERE o.id = a.organization_id AND o.closed_at IS NULL)
RETURNING a.contact_id, a.created_by;

-- name: fetch_portal
-- What a contact sees: who they are, their company, and its open and past deals, without what colleagues wrote about them.
-- Only of branches ($3) that whoever gave them access reads; null: all.
SELECT json_build_object(
  'organization', (SELECT o.name FROM organizations o WHERE o.id = $1),
  'contact', json_build_object('id', c.id, 'first_name', c.first_name, 'last_name', c.last_name, 'email', c.email,
    'phone', c.phone, 'title', c.title),
  'client', (SELECT json_build_object('id', k.id, 'name', k.name, 'address', k.address, 'city', k.city, 'country', k.country)
    FROM clients k WHERE k.organization_id = $1 AND k.id = c.client_id
      AND ($3::uuid[] IS NULL OR k.branch_id IS NULL OR k.branch_id = ANY ($3))),
  'deals', coalesce((SELECT json_agg(json_build_object('id', d.id, 'name', d.name, 'stage', d.stage,
      'expected_close_on', d.expected_close_on) ORDER BY d.id DESC)
    FROM (SELECT * FROM deals WHERE organization_id = $1 AND contact_id = c.id
      AND ($3::uuid[] IS NULL OR branch_id IS NULL OR branch_id = ANY ($3)) ORDER BY id DESC LIMIT 200) d), '[]'))::text
FROM contacts c WHERE c.organization_id = $1 AND c.id = $2;
