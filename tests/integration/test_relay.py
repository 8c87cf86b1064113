"""What is committed is published: all of it, in order, once, whoever wrote it and whatever goes on beside it."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.relay import leading
from gateway.relay.outbox import Outbox
from tests.integration.conftest import Connect
from tests.relays import Reader, Relay, eventually, reading, relaying
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, create_tenant, new_id, write

LEAD = "INSERT INTO leads (organization_id, name) VALUES ($1, $2) RETURNING id::text"


@pytest.fixture
async def reader(servers: Servers) -> AsyncIterator[Reader]:
    """A reader of everything that is published."""
    async with reading(servers.redis_url) as subscribed:
        yield subscribed


@pytest.fixture
async def relay(database: Database, servers: Servers, reader: Reader) -> AsyncIterator[Relay]:
    """A relay of the test's database, which leads."""
    async with relaying(database, servers.redis_url) as running:
        yield running


async def published(reader: Reader, tenant: Tenant, offset: int) -> None:
    await eventually(lambda: reader.position(tenant.id) >= offset, what=f"offset {offset}")


async def test_a_write_in_psql_is_published(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    lead = await owner.fetchval(LEAD, tenant.id, "Grete")
    await reader.check(owner)
    change = reader.changes[tenant.id][-1]
    assert (change.collection, change.id, change.operation) == ("leads", lead, "insert")
    assert change.record["name"] == "Grete"


async def test_a_write_of_the_api_is_published_with_its_author(
    relay: Relay, reader: Reader, owner: Connection, api: Connection, tenant: Tenant
) -> None:
    mutation = tenant.mutation("ben", "insert", "leads", new_id(), fields={"name": 'Björn "Bo" \\ 😀\u2028'})
    await write(api, mutation)
    await reader.check(owner)
    change = reader.changes[tenant.id][-1]
    assert change.actor == {
        "user_id": tenant.people["ben"],
        "name": "Ben",
        "branch_id": tenant.branches["north"],
    }
    assert change.mutation_id == mutation["mutation_id"]


async def test_updates_and_deletes_are_published_as_the_log_has_them(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    await owner.execute(
        "INSERT INTO clients (organization_id, name) SELECT $1, 'C' || n FROM generate_series(1, 30) n",
        tenant.id,
    )
    await owner.execute(
        "UPDATE clients SET name = name || '!', notes = E'a\\tb\\n\"c\"' WHERE organization_id = $1",
        tenant.id,
    )
    await owner.execute("DELETE FROM clients WHERE organization_id = $1", tenant.id)
    await reader.check(owner)
    assert [change.operation for change in reader.changes[tenant.id][-30:]] == ["delete"] * 30


async def test_what_is_rolled_back_is_not_published(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute(LEAD, tenant.id, "never")
    await transaction.rollback()
    await owner.execute(LEAD, tenant.id, "ever")
    await reader.check(owner)
    assert "never" not in str(reader.publications)


async def test_an_open_transaction_holds_nobody_up_and_comes_when_it_commits(
    relay: Relay, reader: Reader, connect: Connect, tenant: Tenant
) -> None:
    """The commits of others are published beside it; then it is, as the newest."""
    owner, sleeper = await connect(), await connect()
    transaction = sleeper.transaction()
    await transaction.start()
    await sleeper.execute(LEAD, tenant.id, "slow")
    for number in range(20):
        await owner.execute(LEAD, tenant.id, f"quick {number}")
    head = await reader.check(owner)
    assert "slow" not in str(reader.publications)
    await transaction.commit()
    await reader.check(owner)
    change = reader.changes[tenant.id][-1]
    assert (change.record["name"], change.offset) == ("slow", head + 1)
    assert await relay.metric("branchline_relay_missed_total", found_by="gap") == 0


async def test_a_change_is_published_though_nobody_notified(
    relay: Relay, reader: Reader, owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """I3: the API's writes send no notification of their own here, so only the poll can find them."""
    head = await reader.check(owner)
    notified = await relay.metric("branchline_relay_wakes_total", cause="notify")
    for number in range(5):
        before = time.monotonic()
        await write(api, tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": f"n{number}"}))
        await published(reader, tenant, head + 1 + number)
        assert time.monotonic() - before < 1.0
    assert await relay.metric("branchline_relay_wakes_total", cause="notify") == notified


async def test_a_new_organisation_is_published_from_its_first_change(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    other = await create_tenant(owner, "other")
    await reader.check(owner)
    assert reader.changes[other.id][0].offset == 1


async def test_a_large_transaction_comes_in_pages_while_others_are_served(
    relay: Relay, reader: Reader, owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    other = await create_tenant(owner, "other")
    await reader.check(owner)
    beside = await connect()
    large = asyncio.ensure_future(
        owner.execute(
            "INSERT INTO leads (organization_id, name, notes)"
            " SELECT $1, 'L' || n, repeat('x', 1000) FROM generate_series(1, 6000) n",
            tenant.id,
        )
    )
    while not large.done():
        await beside.execute(LEAD, other.id, "beside")
    await large
    for _ in range(10):
        await beside.execute(LEAD, other.id, "beside")
    await reader.check(owner)
    pages = [each for each in reader.publications if each.to_offset - each.from_offset == 6000]
    # A relay that lost its lease in the middle begins again with the first page.
    pages = pages[max(number for number, page in enumerate(pages) if page.page == 0) :]
    assert len(pages) > 10
    assert [page.page for page in pages] == list(range(len(pages)))
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    last = reader.publications.index(pages[-1])
    between = reader.publications[reader.publications.index(pages[0]) : last]
    assert any(each.organization_id == other.id for each in between)


async def test_many_organisations_and_writers_at_once(
    relay: Relay, reader: Reader, owner: Connection, connect: Connect
) -> None:
    tenants = [await create_tenant(owner, f"org-{number}") for number in range(6)]

    async def write_some(connection: Connection, turn: int) -> None:
        for number in range(25):
            transaction = connection.transaction()
            await transaction.start()
            # In one order: the rows of two organisations are no business of this test.
            for tenant in sorted({tenants[(turn + number) % 6].id, tenants[number % 6].id}):
                await connection.execute(LEAD, tenant, f"{turn}.{number}")
            if number % 10 == 9:
                await transaction.rollback()
            else:
                await transaction.commit()

    await asyncio.gather(*[write_some(await connect(), turn) for turn in range(8)])
    assert await reader.check(owner) > 300
    assert reader.repeats == 0
    for found_by in ("gap", "sweep"):
        assert await relay.metric("branchline_relay_missed_total", found_by=found_by) == 0


async def test_the_next_relay_goes_on_from_what_was_published(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    async with relaying(database, servers.redis_url):
        await reader.check(owner)
    before = len(reader.publications)
    for number in range(50):
        await owner.execute(LEAD, tenant.id, f"while nobody relays {number}")
    async with relaying(database, servers.redis_url):
        await reader.check(owner)
    assert reader.publications[before].from_offset == await owner.fetchval(
        "SELECT max(first_offset + size - 1) - 50 FROM commits"
    )
    assert reader.repeats == 0
    # Given back at the end, so that the second did not wait for it to expire.
    terms = {publication.term for publication in reader.publications}
    assert len(terms) == 2


async def test_heartbeats_carry_the_heads_of_active_organisations(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    head = await reader.check(owner)
    sleeping = await create_tenant(owner, "sleeping")
    await owner.execute(
        "UPDATE commits SET numbered_at = now() - interval '1 hour' WHERE organization_id = $1", sleeping.id
    )
    came = len(reader.heartbeats)
    await eventually(lambda: len(reader.heartbeats) >= came + 3, what="heartbeats")
    at, heartbeat = reader.heartbeats[-1]
    assert heartbeat.heads[tenant.id] == head
    assert heartbeat.epoch == await owner.fetchval("SELECT epoch()")
    assert heartbeat.term == reader.publications[-1].term
    assert abs(heartbeat.at_ms / 1000 - datetime.now(UTC).timestamp()) < 2
    assert at - reader.heartbeats[-2][0] < 1.5


async def test_a_change_that_no_reader_takes_becomes_a_marker_and_holds_up_nobody(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    """PostgreSQL's json takes an escaped half of a surrogate pair; JSON readers do not."""
    other = await create_tenant(owner, "other")
    await owner.execute("CREATE TABLE notes (organization_id uuid NOT NULL, id uuid NOT NULL, body json)")
    await owner.execute("SELECT track('notes')")
    await reader.check(owner)
    unreadable = await relay.metric("branchline_relay_unreadable_total")
    head = reader.position(tenant.id)
    await owner.execute(LEAD, tenant.id, "before")
    await owner.execute("INSERT INTO notes VALUES ($1, uuidv7(), $2)", tenant.id, r'"\ud800"')
    await owner.execute(LEAD, tenant.id, "after")
    await owner.execute(LEAD, other.id, "beside")
    await eventually(lambda: reader.unreadable, what="a marker")
    (marker,) = reader.unreadable
    assert (marker.from_offset, marker.to_offset, marker.changes) == (head + 1, head + 2, ())
    await eventually(lambda: reader.publications[-1].to_offset == head + 3, what="what came after")
    assert [change.record["name"] for change in reader.publications[-1].changes] == ["after"]
    assert reader.changes[other.id][-1].record["name"] == "beside"
    assert await relay.metric("branchline_relay_unreadable_total") == unreadable + 1
    await eventually(
        lambda: owner.fetchval(
            "SELECT published_offset = $2 FROM relay_positions WHERE organization_id = $1",
            tenant.id,
            head + 3,
        ),
        what="the position after the marker",
    )


async def test_changes_that_were_pruned_before_they_were_published_become_a_marker(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    for number in range(5):
        await owner.execute(LEAD, tenant.id, f"{number}")
    head = await owner.fetchval("SELECT max(first_offset + size - 1) FROM commits")
    await owner.execute("DELETE FROM commits WHERE first_offset + size - 1 <= $1", head - 2)
    async with relaying(database, servers.redis_url):
        await eventually(lambda: len(reader.publications) == 2, what="a marker and what is left")
    marker, rest = reader.publications
    assert (marker.unreadable, marker.from_offset, marker.to_offset) == (True, 0, head - 2)
    assert (rest.from_offset, rest.to_offset) == (head - 2, head)


async def test_the_sweep_finds_what_a_look_has_missed(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The safety net is broken on purpose to see that it holds, and that it says so."""
    await reader.check(owner)
    found = await relay.metric("branchline_relay_missed_total", found_by="sweep")
    look = Outbox.fetch_news

    async def overlook(outbox: Outbox, since: object, changes: int = 0) -> object:
        reading, _ = await look(outbox, since)  # type: ignore[arg-type]
        return reading, []

    monkeypatch.setattr(Outbox, "fetch_news", overlook)
    monkeypatch.setattr(leading, "SWEEP_SECONDS", 0.1)
    # The next sweep was planned with the old pause: a new epoch makes the relay begin again.
    epoch = await owner.fetchval("SELECT renew_epoch('test')")
    await eventually(lambda: reader.heartbeats[-1][1].epoch == epoch, what="a heartbeat of the new epoch")
    await owner.execute(LEAD, tenant.id, "overlooked")
    await reader.check(owner)
    assert await relay.metric("branchline_relay_missed_total", found_by="sweep") > found


async def test_a_gap_is_noticed_and_filled(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reader.check(owner)
    look, overlooked = Outbox.fetch_news, 0

    async def overlook(outbox: Outbox, since: object, changes: int = 0) -> object:
        nonlocal overlooked
        reading, commits = await look(outbox, since)  # type: ignore[arg-type]
        if commits and not overlooked:
            overlooked += 1
            return reading, []
        return reading, commits

    gaps = await relay.metric("branchline_relay_missed_total", found_by="gap")
    monkeypatch.setattr(Outbox, "fetch_news", overlook)
    await owner.execute(LEAD, tenant.id, "overlooked")
    await eventually(lambda: overlooked, what="a look that overlooks")
    await owner.execute(LEAD, tenant.id, "seen")
    await reader.check(owner)
    assert await relay.metric("branchline_relay_missed_total", found_by="gap") == gaps + 1


async def test_a_new_epoch_is_followed(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    await reader.check(owner)
    epoch = await owner.fetchval("SELECT renew_epoch('test')")
    await owner.execute(LEAD, tenant.id, "in the new epoch")
    await reader.check(owner)
    assert reader.publications[-1].epoch == epoch
    await eventually(lambda: reader.heartbeats[-1][1].epoch == epoch, what="a heartbeat of the new epoch")


async def test_a_log_that_ends_before_what_was_published_begins_a_new_epoch(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    """As it is with a copy of the database from before."""
    await owner.execute(LEAD, tenant.id, "kept")
    async with relaying(database, servers.redis_url):
        head = await reader.check(owner)
        await eventually(
            lambda: owner.fetchval("SELECT published_offset = $1 FROM relay_positions", head),
            what="the position",
        )
    before = await owner.fetchval("SELECT epoch()")
    await owner.execute("DELETE FROM commits WHERE first_offset + size - 1 = $1", head)
    async with relaying(database, servers.redis_url):
        await eventually(lambda: reader.heartbeats[-1][1].epoch != before, what="a new epoch")
        epoch = await owner.fetchval("SELECT epoch()")
        assert epoch != before
        assert "ends at" in await owner.fetchval("SELECT reason FROM epochs ORDER BY ordinal DESC LIMIT 1")
        await owner.execute(LEAD, tenant.id, "another")
        await eventually(lambda: reader.publications[-1].epoch == epoch, what="a publication")
        assert reader.publications[-1].from_offset == head - 1


async def test_a_database_that_was_set_back_with_its_positions_begins_a_new_epoch(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    """As by a copy of the machine's disk, while no relay ran: only Redis knows that more was published."""
    async with relaying(database, servers.redis_url):
        head = await reader.check(owner)
        epoch = await owner.fetchval("SELECT epoch()")
        redis = Redis.from_url(servers.redis_url, decode_responses=True)
        await eventually(
            lambda: remembered(redis, epoch, tenant, head), what="Redis to remember what was published"
        )
        await redis.aclose()
    await owner.execute("DELETE FROM commits WHERE first_offset + size - 1 = $1", head)
    await owner.execute("UPDATE relay_positions SET published_offset = published_offset - 1")
    async with relaying(database, servers.redis_url):
        await eventually(lambda: reader.heartbeats[-1][1].epoch != epoch, what="a new epoch")


async def remembered(redis: Redis, epoch: str, tenant: Tenant, head: int) -> bool:
    return bool(await redis.hget(f"branchline:published:0:{epoch}", tenant.id) == str(head))


async def test_a_running_relay_notices_that_the_log_was_set_back(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    """Its positions were set back with the log, as by a restore of the whole database; its memory was not."""
    head = await reader.check(owner)
    before = await owner.fetchval("SELECT epoch()")
    await owner.execute("DELETE FROM relay_positions")
    await owner.execute("DELETE FROM commits WHERE first_offset + size - 1 = $1", head)
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'branchline relay'"
        " AND datname = current_database()"
    )
    await eventually(lambda: reader.heartbeats[-1][1].epoch != before, what="a new epoch")


async def test_nobody_but_the_holder_of_the_term_moves_positions(
    relay: Relay, reader: Reader, owner: Connection, tenant: Tenant
) -> None:
    """A leader whose lease was taken keeps nothing more, and leads again only under a new term."""
    await reader.check(owner)
    term = reader.publications[-1].term
    await owner.execute(
        "UPDATE relay_leases SET holder = uuidv7(), term = term + 1, expires_at = now() + interval '1 second'"
    )
    await owner.execute(LEAD, tenant.id, "between two leaders")
    await eventually(lambda: reader.heartbeats[-1][1].term > term + 1, what="another term")
    await reader.check(owner)
    await eventually(
        lambda: owner.fetchval("SELECT max(term) > $1 FROM relay_positions", term + 1), what="the position"
    )


async def test_redis_away_costs_time_and_nothing_else(
    database: Database, servers: Servers, owner: Connection, tenant: Tenant, reader: Reader
) -> None:
    """The relay says which dependency is missing and how far behind it is, and goes on where it was."""
    async with relaying(database, servers.redis_url) as relay:
        await reader.check(owner)
        redis = Redis.from_url(servers.redis_url)
        await redis.client_pause(6000, all=False)
        try:
            for number in range(20):
                await owner.execute(LEAD, tenant.id, f"{number}")

            async def says_so() -> bool:
                readiness = await relay.readiness()
                missing = not readiness["ready"] and not readiness["dependencies"]["redis"]["ready"]
                return missing and readiness.get("behind_changes") == 20

            await eventually(says_so, what="unready")
        finally:
            await redis.client_unpause()
            await redis.aclose()
        await reader.check(owner)
        await eventually(lambda: _ready(relay), what="ready")


async def _ready(relay: Relay) -> bool:
    return bool((await relay.readiness())["ready"])


async def test_every_statement_fits_the_schema(connect: Connect) -> None:
    from core.queries import load

    relay = await connect("branchline_relay")
    for statement in vars(load("gateway.relay")).values():
        await relay.prepare(statement)
    owner = await connect()
    for statement in vars(load("gateway.relay", "maintenance.sql")).values():
        await owner.prepare(statement)


async def test_the_relay_may_not_read_records(connect: Connect, tenant: Tenant) -> None:
    relay = await connect("branchline_relay")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await relay.fetch("SELECT * FROM leads")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await relay.fetch("SELECT password_hash FROM users")
