"""The log's partitions are made ahead and become history, and no writer waits for it."""

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway.relay.maintenance import DAYS_AHEAD, RETENTION_DAYS, Maintenance
from tests.integration.conftest import Connect
from tests.servers import Database
from tests.tenants import Connection, Tenant

TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=RETENTION_DAYS + 3)
LEAD = "INSERT INTO leads (organization_id, name) VALUES ($1, $2)"


def partition(day: date) -> str:
    return f"changes_{day:%Y_%m_%d}"


@pytest.fixture
def maintenance(database: Database) -> Maintenance:
    """Maintenance of the test's database, which may prune."""

    async def connect() -> Any:
        return await asyncpg.connect(database.owner_url)

    return Maintenance(connect, may_prune=lambda: True)


@pytest.fixture
async def old_day(owner: Connection, tenant: Tenant) -> str:
    """A day of the log beyond retention, with changes of a collection that has a history and of one that has none."""
    name = partition(OLD)
    await owner.execute("CREATE TABLE scratch (organization_id uuid NOT NULL, id uuid NOT NULL, body text)")
    await owner.execute("SELECT track('scratch')")
    await owner.execute(f"CREATE TABLE {name} (LIKE changes INCLUDING ALL)")
    await owner.execute(
        f"ALTER TABLE changes ATTACH PARTITION {name} FOR VALUES FROM ('{OLD}') TO ('{OLD + timedelta(days=1)}')"
    )
    for number in range(3):
        await owner.execute(LEAD, tenant.id, f"old {number}")
    await owner.execute("INSERT INTO scratch VALUES ($1, uuidv7(), 'old')", tenant.id)
    await owner.execute("UPDATE changes SET logged_on = $1", OLD)
    await owner.execute("UPDATE commits SET logged_on = $1", OLD)
    return name


async def parent_of(owner: Connection, name: str) -> str | None:
    parent: str | None = await owner.fetchval(
        "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = to_regclass($1)", name
    )
    return parent


async def test_days_ahead_are_made_before_they_are_needed(
    owner: Connection, maintenance: Maintenance
) -> None:
    ahead = partition(TODAY + timedelta(days=DAYS_AHEAD))
    await owner.execute(f"DROP TABLE {ahead}")
    await maintenance.make_pass()
    assert await parent_of(owner, ahead) == "changes"
    await maintenance.make_pass()


async def test_a_day_past_retention_becomes_history(
    owner: Connection, maintenance: Maintenance, old_day: str, tenant: Tenant
) -> None:
    """Only collections whose table says @history keep their versions; every organisation keeps its newest commit."""
    head = await owner.fetchval("SELECT max(first_offset + size - 1) FROM commits")
    await maintenance.make_pass()
    assert await parent_of(owner, old_day) == "history"
    kept = {row["collection"] for row in await owner.fetch("SELECT DISTINCT collection FROM history")}
    assert "leads" in kept
    assert "scratch" not in kept
    assert await owner.fetchval("SELECT count(*) FROM changes") == 0
    assert await owner.fetchval("SELECT count(*) FROM commits") == 1
    await owner.execute(LEAD, tenant.id, "new")
    assert await owner.fetchval("SELECT max(first_offset) FROM commits") == head + 1


async def test_nothing_is_pruned_that_is_not_published(
    database: Database, owner: Connection, old_day: str
) -> None:
    async def connect() -> Any:
        return await asyncpg.connect(database.owner_url)

    commits = await owner.fetchval("SELECT count(*) FROM commits")
    await Maintenance(connect, may_prune=lambda: False).make_pass()
    assert await parent_of(owner, old_day) == "changes"
    assert await owner.fetchval("SELECT count(*) FROM commits") == commits


async def test_a_reader_of_the_log_makes_maintenance_wait_and_nobody_else(
    owner: Connection, connect: Connect, maintenance: Maintenance, old_day: str, tenant: Tenant
) -> None:
    """What could not be done in time is broken off; writers never notice; the next pass goes on from there."""
    reader = await connect()
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT count(*) FROM changes")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await maintenance.make_pass()
    before = time.monotonic()
    await owner.execute(LEAD, tenant.id, "beside")
    assert time.monotonic() - before < 5
    await transaction.rollback()
    await maintenance.make_pass()
    assert await parent_of(owner, old_day) == "history"


async def test_a_day_that_was_left_on_its_way_arrives(
    owner: Connection, maintenance: Maintenance, old_day: str
) -> None:
    """As after a relay that was killed between detaching and attaching."""
    await owner.execute(f"ALTER TABLE changes DETACH PARTITION {old_day}")
    await maintenance.make_pass()
    assert await parent_of(owner, old_day) == "history"


INSERT_ANSWERS = (
    "INSERT INTO mutations (organization_id, user_id, mutation_id, collection, record_id, fingerprint, answer,"
    " answered_at) SELECT $1, $2, uuidv7(), 'leads', uuidv7(), 'f', '{}', now() - make_interval(days => $3)"
    " FROM generate_series(1, $4)"
)
INSERT_VALUES = (
    "INSERT INTO overwritten_values (organization_id, user_id, collection, record_id, field, value, written_at_ms,"
    " overwritten_at, version)"
    " SELECT $1, $2, 'leads', uuidv7(), 'phone', '1', 0, now() - make_interval(days => $3), 2"
    " FROM generate_series(1, $4)"
)
STORES = [("mutations", INSERT_ANSWERS), ("overwritten_values", INSERT_VALUES)]


@pytest.mark.parametrize(("table", "insert"), STORES)
async def test_what_is_kept_for_90_days_is_forgotten_after_them(
    owner: Connection, maintenance: Maintenance, tenant: Tenant, table: str, insert: str
) -> None:
    """However much there is: each statement takes a few."""
    for days, count in ((1, 1), (89, 1), (91, 5_001), (400, 1)):
        await owner.execute(insert, tenant.id, tenant.people["ana"], days, count)
    await maintenance.make_pass()
    assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 2


@pytest.mark.parametrize(("table", "insert"), STORES)
async def test_forgetting_waits_for_nobody_and_nobody_waits_for_it(
    owner: Connection,
    connect: Connect,
    maintenance: Maintenance,
    tenant: Tenant,
    table: str,
    insert: str,
) -> None:
    """What an open transaction has locked stays until a next pass; what it adds is no matter."""
    await owner.execute(insert, tenant.id, tenant.people["ana"], 91, 10)
    writer = await connect()
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute(f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})")
    await writer.execute(insert, tenant.id, tenant.people["ana"], 0, 1)
    await maintenance.make_pass()
    assert maintenance.error is None
    assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 1
    await transaction.rollback()
    await maintenance.make_pass()
    assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_pass_holds_its_locks_for_one_statement_only(
    owner: Connection, connect: Connect, database: Database, tenant: Tenant
) -> None:
    """Between two batches a writer of a pruned row's key goes on: no transaction spans them."""
    await owner.execute(INSERT_ANSWERS, tenant.id, tenant.people["ana"], 91, 5_001)
    looks: list[int] = []
    watcher = await connect()

    class Watched:
        """The pass's connection, which looks at the others' view after each batch."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def fetchval(self, statement: str, *arguments: Any, **options: Any) -> Any:
            result = await self._inner.fetchval(statement, *arguments, **options)
            if "delete from mutations" in statement:
                looks.append(await watcher.fetchval("SELECT count(*) FROM mutations"))
            return result

    async def connect_watched() -> Any:
        return Watched(await asyncpg.connect(database.owner_url))

    await Maintenance(connect_watched, may_prune=lambda: True).make_pass()
    assert looks == [1, 0, 0]
