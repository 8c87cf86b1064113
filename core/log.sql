-- name: fetch_head
-- The epoch, and the newest offset of an organisation; 0 for an empty log.
SELECT epoch() AS epoch, coalesce((
  SELECT first_offset + size - 1 FROM commits
  WHERE organization_id = $1 AND first_offset IS NOT NULL ORDER BY first_offset DESC LIMIT 1), 0) AS head;

-- name: fetch_changes
-- The changes of an organisation ($1) after an offset ($2), in order, at most $3 of them. Bounded by offset in every table,
-- so that a page costs the same in a transaction of a million changes, and in a log that nobody has analysed.
SELECT c.first_offset + x.ordinal - 1 AS log_offset, c.first_offset + c.size - 1 AS last_of_commit, c.numbered_at,
  x.collection, x.record_id, x.operation::text AS operation, x.version, x.record::text AS record, x.changed,
  x.previous::text AS previous, x.clock, x.actor_id, u.name AS actor_name, m.branch_ids AS actor_branches, x.mutation_id,
  x.unit, x.overwrote::text AS overwrote
FROM (
  SELECT * FROM commits
  WHERE organization_id = $1
    AND first_offset >= coalesce((SELECT max(first_offset) FROM commits WHERE organization_id = $1 AND first_offset <= $2::bigint + 1), 1)
    AND first_offset <= $2::bigint + $3::integer
  ORDER BY first_offset) c
CROSS JOIN LATERAL (
  SELECT * FROM changes
  WHERE organization_id = c.organization_id AND transaction_id = c.transaction_id AND logged_on = c.logged_on
    AND ordinal > $2::bigint - c.first_offset + 1 AND ordinal <= $2::bigint + $3::integer - c.first_offset + 1
  ORDER BY ordinal LIMIT $3::integer) x
LEFT JOIN users u ON u.id = x.actor_id
LEFT JOIN organization_members m ON m.organization_id = c.organization_id AND m.user_id = x.actor_id
ORDER BY c.first_offset, x.ordinal
LIMIT $3::integer;
