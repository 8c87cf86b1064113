-- What doctor asks. As the owner where nothing else is said.

-- name: fetch_durability
-- The settings on which an acknowledged write depends, with their values.
select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes') order by name;

-- name: fetch_login
-- As the application's login: who it is, what it must not be, and how its transactions are isolated.
select session_user::text as login, r.rolsuper, r.rolbypassrls,
       (select count(*) from pg_class c where c.relowner = r.oid) as owned,
       current_setting('default_transaction_isolation') as isolation
  from pg_roles r
 where r.rolname = session_user;

-- name: fetch_roles
-- As the application's login: which of the roles $1 are missing, too powerful, or closed to the login.
select want.name,
       r.oid is not null as present,
       coalesce(r.rolsuper or r.rolbypassrls, false) as too_powerful,
       coalesce(pg_has_role(session_user, r.oid, 'set'), false) as open
  from unnest($1::text[]) as want (name)
  left join pg_roles r on r.rolname = want.name
 order by want.name;

-- name: fetch_missing_grants
-- Tracked tables that the API may not write or that API or gateway may not read.
select t.collection, want.role, want.privilege
  from tracked_tables t
 cross join (values ('branchline_api', 'select'), ('branchline_api', 'insert'), ('branchline_api', 'update'),
                    ('branchline_api', 'delete'), ('branchline_gateway', 'select')) as want (role, privilege)
 where not has_table_privilege(want.role, t.table_oid, want.privilege)
 order by t.collection, want.role;

-- name: fetch_disabled_triggers
-- Triggers of tracked tables, their partitions and the log's commits that are switched off.
select g.tgrelid::regclass::text as table_name, g.tgname as trigger_name
  from pg_trigger g
 where g.tgenabled in ('D', 'R') and not g.tgisinternal
   and g.tgrelid in (select p.relid from tracked_tables t, pg_partition_tree(t.table_oid) p
                     union select t.table_oid from tracked_tables t
                     union select 'commits'::regclass)
 order by 1, 2;

-- name: fetch_missing_triggers
-- Tracked tables and partitions that lack one of the triggers by which their changes are captured.
select p.relid::regclass::text as table_name, want.name as trigger_name
  from (select t.table_oid as relid from tracked_tables t
        union select p.relid::oid from tracked_tables t, pg_partition_tree(t.table_oid) p) as p
 cross join (values ('branchline_capture_insert'), ('branchline_capture_update'), ('branchline_capture_delete'),
                    ('branchline_refuse_truncate')) as want (name)
 where not exists (select from pg_trigger g where g.tgrelid = p.relid and g.tgname = want.name)
 order by 1, 2;

-- name: fetch_stale_collections
-- Tracked tables whose columns have changed since their code was generated.
select t.collection
  from tracked_tables t
 where not exists (
    select from pg_proc f
     where f.proname = 'encode_record' and f.pronamespace = 'public'::regnamespace
       and f.proargtypes[0] = (select c.reltype from pg_class c where c.oid = t.table_oid)
       and f.prosrc = 'SELECT ' || encoding_of(t.table_oid, 'r'))
 order by t.collection;

-- name: fetch_open_tables
-- Tracked tables without row-level security.
select t.collection from tracked_tables t join pg_class c on c.oid = t.table_oid
 where not c.relrowsecurity order by t.collection;

-- name: fetch_partitions
-- How many of the coming days and months have their partition.
select (select count(*) from generate_series(0, 2) as d
         where to_regclass('public.changes_' || to_char((now() at time zone 'UTC')::date + d::integer, 'YYYY_MM_DD'))
               is not null) as days,
       (select count(*) from generate_series(0, 1) as m
         where to_regclass('public.activity_events_'
                           || to_char(date_trunc('month', now() at time zone 'UTC') + make_interval(months => m::integer),
                                      'YYYY_MM')) is not null) as months;

-- name: fetch_torn_commits
-- Of the newest thousand transactions, those whose changes are not as many as their offsets. Pruned ones have none.
select c.organization_id::text as organization_id, c.first_offset
  from (select * from commits where first_offset is not null order by transaction_id desc limit 1000) as c
 cross join lateral (select count(*) as number from changes x
                      where x.organization_id = c.organization_id and x.transaction_id = c.transaction_id
                        and x.logged_on = c.logged_on) as logged
 where logged.number not in (0, c.size);

-- name: fetch_old_transactions
-- Open transactions older than ten minutes: they delay nobody, and keep dead rows from being removed.
select pid, usename::text as user_name, (extract(epoch from now() - xact_start) / 60)::integer as minutes
  from pg_stat_activity
 where xact_start < now() - interval '10 minutes' and backend_type = 'client backend' and pid <> pg_backend_pid();

-- name: fetch_clock
-- The database's clock, in Unix milliseconds.
select (extract(epoch from clock_timestamp()) * 1000)::float8;
