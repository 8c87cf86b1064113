-- name: fetch_offset
-- The newest offset of an organisation ($1) that this server has; 0 for none. Works on a standby, where epoch() does not.
SELECT coalesce((
  SELECT first_offset + size - 1 FROM commits
  WHERE organization_id = $1 AND first_offset IS NOT NULL ORDER BY first_offset DESC LIMIT 1), 0);
