-- The relay's statements. Each is one statement outside a transaction block, so that a relay which is stopped in the
-- middle of its work (SIGSTOP, a pulled cable) holds no lock and no open transaction. Times are the database's clock.


-- Leadership

-- name: take_lease
-- Take the lease of shard $1 for holder $2, or go on with it, for $3 seconds; gives who holds it now, the term and the seconds left.
with taken as (
    update relay_leases
       set term = case when holder = $2 then term
                       else greatest(term + 1, extract(epoch from clock_timestamp())::bigint) end,
           holder = $2,
           expires_at = clock_timestamp() + make_interval(secs => $3)
     where shard = $1 and (holder = $2 or expires_at <= clock_timestamp())
    returning holder, term, expires_at
), created as (
    insert into relay_leases (shard, holder, term, expires_at)
    select $1, $2, extract(epoch from clock_timestamp())::bigint, clock_timestamp() + make_interval(secs => $3)
     where not exists (select from relay_leases where shard = $1)
        on conflict (shard) do nothing
    returning holder, term, expires_at
), others as (
    select holder, term, expires_at from relay_leases
     where shard = $1 and not exists (select from taken)
)
select holder, term, extract(epoch from expires_at - clock_timestamp())::float8 as seconds_left
  from (select * from taken union all select * from created union all select * from others) as lease
 limit 1

-- name: release_lease
-- Give the lease of shard $1 back before it expires, if holder $2 still has it.
update relay_leases set expires_at = clock_timestamp() where shard = $1 and holder = $2


-- The log

-- name: fetch_standing
-- Where every organisation stands: its head, the commit that made it, what shard $1 has published of it; the first row holds this statement's snapshot, the epoch and the time.
select pg_current_snapshot() as snapshot, epoch() as epoch, clock_timestamp() as at, null::uuid as organization_id,
       null::bigint as head, null::bigint as head_transaction, null::timestamptz as head_at,
       null::bigint as published, null::text as published_epoch
union all
select null, null, null, o.id, head.head, head.head_transaction, head.numbered_at, p.published_offset, p.epoch
  from organizations o
  left join lateral (
      select c.first_offset + c.size - 1 as head, c.transaction_id::text::bigint as head_transaction, c.numbered_at
        from commits c
       where c.organization_id = o.id and c.first_offset is not null
       order by c.first_offset desc limit 1
  ) head on true
  left join relay_positions p on p.shard = $1 and p.organization_id = o.id
 where o.closed_at is null and (head.head is not null or p.published_offset is not null)

-- name: fetch_news
-- Commits that have become visible since a snapshot with the upper bound $1 and the transactions $2 in progress, however old, the first of them with the JSON texts of their changes, $3 of these at most; the first row holds this statement's snapshot, the epoch and the time.
with news as (
    select *, sum(size) over (rows unbounded preceding) as changes_so_far
      from (
          select * from commits where transaction_id >= $1::xid8 and first_offset is not null
          union all
          select * from commits where transaction_id = any($2::xid8[]) and first_offset is not null
      ) as seen
)
select pg_current_snapshot() as snapshot, epoch() as epoch, clock_timestamp() as at, null::uuid as organization_id,
       null::bigint as transaction_id, null::bigint as first_offset, null::integer as size, null::date as logged_on,
       null::timestamptz as numbered_at, null::text[] as changes
union all
select null, null, null, n.organization_id, n.transaction_id::text::bigint, n.first_offset, n.size, n.logged_on, n.numbered_at,
       read.changes
  from news n
 cross join lateral (
      select array_agg(publication_text(c, n.first_offset, n.size, n.numbered_at, u.name, b.branch_ids[1]) order by c.ordinal) as changes
        from changes c
        left join users u on u.id = c.actor_id
        left join organization_members b
          on b.organization_id = c.organization_id and b.user_id = c.actor_id and cardinality(b.branch_ids) = 1
       where n.changes_so_far <= $3
         and c.organization_id = n.organization_id and c.transaction_id = n.transaction_id and c.logged_on = n.logged_on
         -- What has just been committed was logged today, as a rule: so the other days are not even opened.
         and c.logged_on between (now() at time zone 'UTC')::date - 1 and (now() at time zone 'UTC')::date
  ) as read

-- name: fetch_commits
-- The next $3 commits of each of the organisations $1 after its offset in $2.
select l.organization_id, c.transaction_id, c.first_offset, c.size, c.logged_on, c.numbered_at
  from unnest($1::uuid[], $2::bigint[]) as l (organization_id, published)
 cross join lateral (
      select transaction_id::text::bigint as transaction_id, first_offset, size, logged_on, numbered_at
        from commits c
       where c.organization_id = l.organization_id and c.first_offset > l.published
       order by c.first_offset limit $3
 ) c
 order by l.organization_id, c.first_offset

-- name: fetch_parts
-- The changes of parts of commits (organisations $1, transactions $2, days $3, ordinals above $4 up to $5), each as the
-- JSON text that a publication has of it, in order, up to about $6 bytes in all.
select part, (change).ordinal, publication_text(change, first_offset, size, numbered_at, actor_name, actor_branch) as change
  from (
      select p.part, m.first_offset, m.size, m.numbered_at, c.change, u.name as actor_name, b.branch_ids[1] as actor_branch,
             c.bytes, sum(c.bytes) over (order by p.part, c.ordinal) as bytes_so_far
        from unnest($1::uuid[], $2::xid8[], $3::date[], $4::integer[], $5::integer[])
             with ordinality as p (organization_id, transaction_id, logged_on, after_ordinal, last_ordinal, part)
        join commits m on m.transaction_id = p.transaction_id and m.organization_id = p.organization_id
       cross join lateral (
            select c as change, c.ordinal, c.actor_id, pg_column_size(c.record) + pg_column_size(c.previous) as bytes
              from changes c
             where c.organization_id = p.organization_id and c.transaction_id = p.transaction_id
               and c.logged_on = p.logged_on and c.ordinal > p.after_ordinal and c.ordinal <= p.last_ordinal
             order by c.ordinal
       ) c
        left join users u on u.id = c.actor_id
        left join organization_members b
          on b.organization_id = p.organization_id and b.user_id = c.actor_id and cardinality(b.branch_ids) = 1
  ) as measured
 where bytes_so_far <= $6 or bytes_so_far = bytes
 order by part, (change).ordinal


-- What has been published

-- name: move_positions
-- Move shard $1's published offsets (organisations $5, offsets $6, epoch $4) forward, if holder $2 still leads under term $3; leading is 0 if it does not. A repeat does no harm, so nobody waits until this is on disk.
with lease as (
    select term from relay_leases where shard = $1 and holder = $2 and term = $3
), moved as (
    insert into relay_positions as p (shard, organization_id, epoch, published_offset, term)
    select $1, x.organization_id, $4, x.published_offset, lease.term
      from unnest($5::uuid[], $6::bigint[]) as x (organization_id, published_offset)
      join organizations o on o.id = x.organization_id
     cross join lease
     order by x.organization_id
        on conflict (shard, organization_id) do update
       set epoch = excluded.epoch, published_offset = excluded.published_offset, term = excluded.term, updated_at = now()
     where p.term <= excluded.term and (p.epoch <> excluded.epoch or p.published_offset < excluded.published_offset)
    returning 1
)
select (select count(*) from lease) as leading, (select count(*) from moved) as moved,
       set_config('synchronous_commit', 'off', true)

-- name: renew_epoch
-- Begin another life of the log, because of $1; gives the new epoch.
select renew_epoch($1) as epoch
