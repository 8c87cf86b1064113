-- name: fetch_overwritten
-- Values of a person ($2) that others have overwritten, oldest first, after one of them ($3, null for the first), at most $4.
SELECT o.id, o.collection, o.record_id, o.field, o.value::text AS value, o.written_at_ms, o.overwritten_by, u.name,
  o.overwritten_at, o.version, t.record_id IS NOT NULL AS is_deleted, t.record ->> 'branch_id' AS deleted_branch
FROM overwritten_values o
LEFT JOIN users u ON u.id = o.overwritten_by
LEFT JOIN tombstones t ON t.organization_id = o.organization_id AND t.collection = o.collection AND t.record_id = o.record_id
WHERE o.organization_id = $1 AND o.user_id = $2 AND ($3::uuid IS NULL OR o.id > $3)
ORDER BY o.id
LIMIT $4;

-- name: mark_seen
-- Forgets overwritten values ($3) of a person ($2); how many there were.
WITH gone AS (
  DELETE FROM overwritten_values WHERE organization_id = $1 AND user_id = $2 AND id = ANY ($3::uuid[]) RETURNING 1)
SELECT count(*) FROM gone;
