-- Statements of the command line. Those about migrations run as the owner, doctor's as the role that they ask about.


-- Migrations

-- name: lock_migrations_nowait
-- Take the lock that only one `migrate` of a database has; false if another one has it.
select pg_try_advisory_lock(hashtextextended('branchline migrations', 0));

-- name: lock_migrations
-- Wait for that lock; lock_timeout ends the wait.
select pg_advisory_lock(hashtextextended('branchline migrations', 0));

-- name: create_migrations_table
-- Make the table of what has been applied; it is no part of the schema that migrations make.
create table if not exists public.migrations (
    number integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default now()
);

-- name: has_migrations_table
-- Whether that table is there.
select to_regclass('public.migrations') is not null;

-- name: fetch_migrations
-- What has been applied, oldest first.
select number, name, sha256 from public.migrations order by number;

-- name: record_migration
-- Note that migration $1, named $2, whose file has the hash $3, was applied.
insert into public.migrations (number, name, sha256) values ($1, $2, $3);

-- name: count_foreign_tables
-- How many tables are there that no migration has made; a schema without `migrations` has to be empty.
select count(*) from pg_class
 where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname <> 'migrations';

-- name: make_partitions
-- Make the partitions of the coming days and months; gives how many were made.
select ensure_log_partitions() + ensure_activity_partitions();

-- name: write_password_statement
-- Write the statement that gives the application's login role the password $1; utility statements take no parameters.
select format('alter role branchline_app password %L', $1::text);

-- name: has_demo
-- Whether both organisations of the demo are there.
select count(*) = 2 from organizations where slug in ('demo', 'other');

-- name: create_database
-- Make the database in a cluster of our own.
create database branchline;


-- Reset

-- name: drop_generated
-- Remove the functions that were generated for tracked tables.
drop schema if exists generated cascade;

-- name: drop_public
-- Remove every table, those that other people have put into the schema public among them.
drop schema if exists public cascade;

-- name: create_public
-- Make an empty schema public, as a new database has it.
create schema public;

-- name: grant_public
-- Let everybody see into it, as in a new database.
grant usage on schema public to public;

-- name: end_application_sessions
-- End the application's connections to this database: what they remember of it is no longer so.
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where datname = current_database() and usename = 'branchline_app' and pid <> pg_backend_pid();


-- Tokens

-- name: create_session
-- A session of ten hours for the person with the e-mail address $1 in the organisation that they were in last, or the first one by name.
insert into sessions (user_id, organization_id, user_agent, expires_at)
select u.id, m.organization_id, 'branchline token', now() + interval '10 hours'
  from users u
  join organization_members m on m.user_id = u.id and m.disabled_at is null
  join organizations o on o.id = m.organization_id and o.closed_at is null
 where u.email = lower($1) and u.disabled_at is null
 order by (m.organization_id = u.last_organization_id) desc nulls last, o.name
 limit 1
returning id, user_id, organization_id;

-- name: fetch_emails
-- Some people's e-mail addresses, to suggest.
select email from users where disabled_at is null order by email limit 12;


-- Keys

-- name: fetch_sealed_with_other_keys
-- At most $2 values that are not sealed with the key $1, kept from others for the transaction.
select organization_id, client_id, name, key_id, sealed from sealed_values where key_id <> $1
 order by organization_id, client_id, name limit $2 for update;

-- name: seal_again
-- Replace a value's sealing.
update sealed_values set key_id = $4, sealed = $5
 where organization_id = $1 and client_id is not distinct from $2 and name = $3;
