-- What the leading relay does to keep the log's partitions, as their owner. No statement here waits for a lock longer
-- than the connection's lock_timeout, so none makes a writer wait; what could not be done is tried again later.

-- name: ensure_log_partitions
-- Make the days of the log from today to $1 days ahead; gives how many were made.
select ensure_log_partitions($1::integer) as made

-- name: ensure_activity_partitions
-- Make the months of activity events that will be needed; gives how many were made.
select ensure_activity_partitions() as made

-- name: prune_commits
-- Forget a few of the commits before day $1; gives how many, 0 when there are no more.
select prune_commits($1::date) as pruned

-- name: prune_mutations
-- Forget a few answers to mutations of more than $1 days ago. What somebody has locked is left for the next pass.
with old as (
    select ctid from mutations where answered_at < now() - make_interval(days => $1::integer)
     limit 5000 for update skip locked
), gone as (
    delete from mutations m using old where m.ctid = old.ctid returning 1
)
select count(*)::integer as pruned from gone

-- name: prune_overwritten
-- Forget a few overwritten values that nobody has looked at for $1 days.
with old as (
    select ctid from overwritten_values where overwritten_at < now() - make_interval(days => $1::integer)
     limit 5000 for update skip locked
), gone as (
    delete from overwritten_values o using old where o.ctid = old.ctid returning 1
)
select count(*)::integer as pruned from gone

-- name: fetch_past_partitions
-- Days of the log before $1, oldest first: attached ones, ones whose detaching was broken off (pending), and ones that are on their way to the history (neither).
select c.relname as name, to_date(right(c.relname, 10), 'YYYY_MM_DD') as day,
       coalesce(i.inhparent = 'public.changes'::regclass, false) as attached, coalesce(i.inhdetachpending, false) as pending
  from pg_class c
  left join pg_inherits i on i.inhrelid = c.oid
 where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname ~ '^changes_\d{4}_\d\d_\d\d$'
   and to_date(right(c.relname, 10), 'YYYY_MM_DD') < $1::date
   and (i.inhparent is null or i.inhparent = 'public.changes'::regclass)
 order by day

-- name: write_detach
-- The statement that takes the day $1 out of the log while readers and writers go on; or goes on with it, if $2, where that was broken off.
select format('alter table public.changes detach partition public.%I %s', $1::text,
              case when $2::boolean then 'finalize' else 'concurrently' end)

-- name: write_forget
-- The statement that deletes from the detached day $1 what is of no collection whose versions are kept.
select format('delete from public.%I where not (collection = any (%L))', $1::text, (
    select coalesce(array_agg(collection), '{}') from tracked_tables
     where comment_tag(obj_description(table_oid, 'pg_class'), 'history') is not null))

-- name: write_attach
-- The statement that makes the detached table $1, the day $2, part of the history.
select format('alter table public.history attach partition public.%I for values from (%L) to (%L)',
              $1::text, $2::date, $2::date + 1)
