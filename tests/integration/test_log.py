"""I1 and I2: the log has every committed change, numbered 1, 2, 3 … in the order in which it can be seen."""

import asyncio
import random
import time

import asyncpg
import pytest

from tests.integration.conftest import Connect
from tests.tenants import Connection, Tenant, create_tenant, log_of, new_id, write


async def offsets(connection: Connection, tenant: Tenant) -> list[int]:
    return [row["log_offset"] for row in await log_of(connection, tenant)]


async def insert_lead(connection: Connection, tenant: Tenant, name: str = "Lead") -> str:
    record = new_id()
    await connection.execute(
        "INSERT INTO leads (organization_id, id, name) VALUES ($1, $2, $3)", tenant.id, record, name
    )
    return record


async def test_transactions_that_commit_in_the_other_order_than_they_began_have_offsets_in_commit_order(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    first, second = await connect(), await connect()
    await first.execute("BEGIN")
    early = await insert_lead(first, tenant)
    await second.execute("BEGIN")
    late = await insert_lead(second, tenant)
    await second.execute("COMMIT")
    await first.execute("COMMIT")
    log = await log_of(owner, tenant)
    assert [row["log_offset"] for row in log] == list(range(1, len(log) + 1))
    assert [str(row["record_id"]) for row in log[-2:]] == [late, early]


async def test_a_reader_never_sees_an_offset_before_those_below_it(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    """Writers of the API and of psql race, with pauses, rollbacks and killed sessions; a reader tails all the while."""
    chance = random.Random(4711)
    start = len(await offsets(owner, tenant))
    done = asyncio.Event()

    async def through_psql(writer: Connection) -> None:
        for _ in range(40):
            await writer.execute("BEGIN")
            await insert_lead(writer, tenant)
            if chance.random() < 0.3:
                await writer.execute(f"SELECT pg_sleep({chance.random() / 50})")
            await writer.execute("ROLLBACK" if chance.random() < 0.1 else "COMMIT")

    async def through_the_api(writer: Connection) -> None:
        for _ in range(40):
            count = chance.randrange(1, 4)
            results = await write(
                writer,
                *(
                    tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "x"})
                    for _ in range(count)
                ),
            )
            assert {r["status"] for r in results} == {"applied"}

    async def killed(writer: Connection) -> None:
        await writer.execute("BEGIN")
        await insert_lead(writer, tenant)
        await owner.execute("SELECT pg_terminate_backend($1)", writer.get_server_pid())

    async def tail(reader: Connection) -> int:
        seen = start
        while True:
            finished = done.is_set()
            rows = await reader.fetch(
                "SELECT first_offset, size FROM commits WHERE organization_id = $1 AND first_offset > $2 ORDER BY 1",
                tenant.id,
                seen,
            )
            for row in rows:
                assert row["first_offset"] == seen + 1, "an offset was visible before one below it"
                seen += row["size"]
            if finished:
                return seen

    reading = asyncio.create_task(tail(await connect()))
    await asyncio.gather(
        *[through_psql(await connect()) for _ in range(5)],
        *[through_the_api(await connect("branchline_api")) for _ in range(5)],
        killed(await connect()),
    )
    done.set()
    assert await reading == len(await offsets(owner, tenant))
    assert await offsets(owner, tenant) == list(range(1, await reading + 1))


async def test_an_open_transaction_that_has_written_delays_no_other_writer(
    connect: Connect, owner: Connection, tenant: Tenant
) -> None:
    somebody = await connect()
    await somebody.execute("BEGIN")
    await insert_lead(somebody, tenant)
    await owner.execute("SET lock_timeout = '1s'")
    await insert_lead(owner, tenant)
    await somebody.execute("ROLLBACK")


async def _rates(owner: Connection, tenant: Tenant, seconds: float) -> tuple[float, float]:
    """Writes a second in the first and in the last fifth of a while."""
    begun = time.monotonic()
    moments: list[float] = []
    while (now := time.monotonic() - begun) < seconds:
        await insert_lead(owner, tenant)
        moments.append(now)
    fifth = seconds / 5
    return sum(m < fifth for m in moments) / fifth, sum(m > seconds - fifth for m in moments) / fifth


@pytest.mark.parametrize(
    "seconds", [pytest.param(5, id="short"), pytest.param(40, id="full", marks=pytest.mark.long)]
)
async def test_a_writer_beside_an_open_transaction_does_not_slow_down(
    connect: Connect, owner: Connection, tenant: Tenant, seconds: float
) -> None:
    somebody = await connect()
    await somebody.execute("BEGIN")
    await insert_lead(somebody, tenant)
    first, last = await _rates(owner, tenant, seconds)
    await somebody.execute("ROLLBACK")
    print(f"{first:.0f} writes/s at first, {last:.0f} after {seconds} s beside an open transaction")
    assert last > first * (0.8 if seconds > 30 else 0.5)


async def test_two_transactions_over_two_organisations_in_opposite_order_do_not_deadlock(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    other = await create_tenant(owner, "other")
    a, b = await connect(), await connect()
    for _ in range(20):
        await asyncio.gather(a.execute("BEGIN"), b.execute("BEGIN"))
        await asyncio.gather(insert_lead(a, tenant), insert_lead(b, other))
        await asyncio.gather(insert_lead(a, other), insert_lead(b, tenant))
        await asyncio.gather(a.execute("COMMIT"), b.execute("COMMIT"))
    for each in (tenant, other):
        numbers = await offsets(owner, each)
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_write_after_the_numbering_extends_the_transactions_range(
    owner: Connection, tenant: Tenant
) -> None:
    await owner.execute("BEGIN")
    await insert_lead(owner, tenant)
    await owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
    await insert_lead(owner, tenant)
    await owner.execute("COMMIT")
    await insert_lead(owner, tenant)
    numbers = await offsets(owner, tenant)
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_rollback_leaves_nothing(owner: Connection, tenant: Tenant) -> None:
    before = await offsets(owner, tenant)
    await owner.execute("BEGIN")
    await insert_lead(owner, tenant)
    await owner.execute("SAVEPOINT here")
    await insert_lead(owner, tenant)
    await owner.execute("ROLLBACK")
    assert await offsets(owner, tenant) == before


async def test_only_what_a_savepoint_kept_is_logged(owner: Connection, tenant: Tenant) -> None:
    await owner.execute("BEGIN")
    kept = await insert_lead(owner, tenant)
    await owner.execute("SAVEPOINT here")
    await insert_lead(owner, tenant)
    await owner.execute("ROLLBACK TO here")
    await owner.execute("COMMIT")
    assert [str(row["record_id"]) for row in await log_of(owner, tenant)][-1] == kept


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_another_isolation_level_is_refused_by_name(
    owner: Connection, tenant: Tenant, level: str
) -> None:
    await owner.execute(f"BEGIN ISOLATION LEVEL {level}")
    with pytest.raises(asyncpg.PostgresError, match="isolation_level_refused") as refusal:
        await insert_lead(owner, tenant)
    assert refusal.value.sqlstate == "BL001"
    await owner.execute("ROLLBACK")


async def test_every_statement_that_changes_a_tracked_table_is_captured(
    owner: Connection, tenant: Tenant
) -> None:
    """I2: INSERT, multi-row UPDATE, ON CONFLICT, MERGE, COPY, a cascade and DELETE, none of them through the API."""
    before = len(await offsets(owner, tenant))
    one, two = new_id(), new_id()
    await owner.execute(
        "INSERT INTO clients (organization_id, id, name) VALUES ($1, $2, 'A'), ($1, $3, 'B')",
        tenant.id,
        one,
        two,
    )
    await owner.execute("UPDATE clients SET city = 'Lyon' WHERE organization_id = $1", tenant.id)
    await owner.execute(
        "INSERT INTO clients (organization_id, id, name) VALUES ($1, $2, 'C')"
        " ON CONFLICT (organization_id, id) DO UPDATE SET name = excluded.name",
        tenant.id,
        one,
    )
    await owner.execute(
        "MERGE INTO clients c USING (VALUES ($1::uuid, $2::uuid)) v(o, i) ON c.organization_id = v.o AND c.id = v.i"
        " WHEN MATCHED THEN UPDATE SET phone = '1'",
        tenant.id,
        one,
    )
    await owner.copy_records_to_table(
        "deals",
        records=[(tenant.id, new_id(), "D", one)],
        columns=["organization_id", "id", "name", "client_id"],
    )
    await owner.execute("DELETE FROM clients WHERE organization_id = $1 AND id = $2", tenant.id, one)
    log = (await log_of(owner, tenant))[before:]
    assert sorted((row["collection"], row["operation"]) for row in log) == sorted(
        [
            *[("clients", "insert")] * 2,
            *[("clients", "update")] * 4,
            ("deals", "insert"),
            ("deals", "update"),
            ("clients", "delete"),
        ]
    )


@pytest.mark.parametrize(
    "rows", [pytest.param(20_000, id="short"), pytest.param(300_000, id="full", marks=pytest.mark.long)]
)
async def test_an_update_of_very_many_rows_is_one_range(owner: Connection, tenant: Tenant, rows: int) -> None:
    await owner.execute(
        "INSERT INTO leads (organization_id, name) SELECT $1, 'n' || g FROM generate_series(1, $2::int) g",
        tenant.id,
        rows,
        timeout=300,
    )
    head = len(await offsets(owner, tenant)) if rows < 100_000 else None
    await owner.execute("UPDATE leads SET score = 1 WHERE organization_id = $1", tenant.id, timeout=300)
    last = await owner.fetchrow(
        "SELECT first_offset, size FROM commits WHERE organization_id = $1 ORDER BY first_offset DESC LIMIT 1",
        tenant.id,
    )
    assert last is not None
    assert last["size"] == rows
    assert head is None or last["first_offset"] == head + 1
    assert await owner.fetchval("SELECT count(*) FROM leads WHERE version = 2") == rows
