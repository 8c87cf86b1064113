-- name: write_mutations
-- Writes a batch in the implicit transaction of this one statement, which commits when it is done, and wakes the relay if $2.
SELECT ordinal, status, version, clock, record::text AS record, lost::text AS lost, code, detail, first::text AS first
FROM write_mutations($1::jsonb, $2::boolean);

-- name: wake
-- Tells the relay that there is something to read. No payload that matters: losing it costs latency, never a change (I3).
NOTIFY branchline_log;
