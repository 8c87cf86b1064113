"""What foreign keys, triggers and upserts do inside a statement: the log holds each version once, and in order."""

import random

import asyncpg
import orjson
import pytest

from tests.integration.test_tracking import catalogue_of, insert
from tests.tenants import Connection, Tenant, log_of, new_id, write


async def versions_of(owner: Connection, tenant: Tenant, record: str) -> list[tuple[str, int]]:
    """A record's operations and versions as the log tells them; the log has no gap and nothing twice (I1)."""
    log = await log_of(owner, tenant)
    assert [change["log_offset"] for change in log] == list(range(1, len(log) + 1))
    return [(c["operation"], c["version"]) for c in log if str(c["record_id"]) == record]


async def two_ways_to_one_deal(owner: Connection, tenant: Tenant) -> tuple[str, str]:
    """A client, and a deal of it whose contact goes with the client: both keys empty a field of the deal."""
    client = await insert(owner, tenant, "clients", name="C")
    contact = await insert(owner, tenant, "contacts", last_name="K", client_id=client)
    return client, await insert(owner, tenant, "deals", name="D", client_id=client, contact_id=contact)


async def test_a_row_that_two_keys_of_one_delete_change_is_logged_once_a_version(
    owner: Connection, tenant: Tenant
) -> None:
    client, deal = await two_ways_to_one_deal(owner, tenant)
    await owner.execute("DELETE FROM clients WHERE id = $1", client)
    assert await versions_of(owner, tenant, deal) == [("insert", 1), ("update", 2), ("update", 3)]
    second, third = [c for c in await log_of(owner, tenant) if str(c["record_id"]) == deal][1:]
    assert sorted(second["changed"] + third["changed"]) == ["client_id", "contact_id"]
    assert (third["record"]["client_id"], third["record"]["contact_id"]) == (None, None)
    await insert(owner, tenant, "leads", name="afterwards")
    await versions_of(owner, tenant, deal)


async def test_such_a_delete_does_not_hold_up_its_neighbours(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    client, deal = await two_ways_to_one_deal(owner, tenant)
    lead, task = new_id(), new_id()
    results = await write(
        api,
        tenant.mutation("ana", "delete", "clients", client),
        tenant.mutation("ana", "insert", "leads", lead, fields={"name": "L"}),
        tenant.mutation("ana", "insert", "tasks", task, fields={"title": "T"}),
    )
    assert [result["status"] for result in results] == ["applied"] * 3
    assert await versions_of(owner, tenant, deal) == [("insert", 1), ("update", 2), ("update", 3)]
    assert await versions_of(owner, tenant, task) == [("insert", 1)]


@pytest.mark.parametrize("writer", ["owner", "api"])
async def test_a_trigger_that_writes_its_own_row_is_logged_after_what_fired_it(
    owner: Connection, api: Connection, tenant: Tenant, writer: str
) -> None:
    await owner.execute("""
        CREATE TABLE doubled (organization_id uuid, id uuid PRIMARY KEY, n integer, total integer);
        CREATE FUNCTION double() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          UPDATE doubled SET total = NEW.n * 2 WHERE id = NEW.id AND total IS DISTINCT FROM NEW.n * 2; RETURN NULL;
        END $$;
        CREATE TRIGGER double AFTER INSERT OR UPDATE ON doubled FOR EACH ROW EXECUTE FUNCTION double();
        SELECT track('doubled')""")
    record = new_id()
    if writer == "owner":
        await owner.execute(
            "INSERT INTO doubled (organization_id, id, n) VALUES ($1, $2, 1)", tenant.id, record
        )
        await owner.execute("UPDATE doubled SET n = 5")
    else:
        await write(api, tenant.mutation("ana", "insert", "doubled", record, fields={"n": 1}))
        await write(api, tenant.mutation("ana", "update", "doubled", record, fields={"n": 5}))
    versions = await versions_of(owner, tenant, record)
    assert versions == [("insert", 1), ("update", 2), ("update", 3), ("update", 4)]
    totals = [c["record"]["total"] for c in await log_of(owner, tenant) if str(c["record_id"]) == record]
    assert totals == [None, 2, 2, 10]


async def test_a_trigger_that_deletes_its_own_row_leaves_its_tombstone(
    owner: Connection, tenant: Tenant
) -> None:
    await owner.execute("""
        CREATE TABLE fleeting (organization_id uuid, id uuid PRIMARY KEY);
        CREATE FUNCTION flee() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          DELETE FROM fleeting WHERE id = NEW.id; RETURN NULL;
        END $$;
        CREATE TRIGGER flee AFTER INSERT ON fleeting FOR EACH ROW EXECUTE FUNCTION flee();
        SELECT track('fleeting')""")
    record = new_id()
    for _ in range(2):
        await owner.execute("INSERT INTO fleeting (organization_id, id) VALUES ($1, $2)", tenant.id, record)
    versions = await versions_of(owner, tenant, record)
    assert versions == [("insert", 1), ("delete", 2), ("insert", 3), ("delete", 4)]
    assert await owner.fetchval("SELECT version FROM tombstones WHERE record_id = $1", record) == 4


async def test_an_upsert_that_inserts_nothing_leaves_the_tombstone(owner: Connection, tenant: Tenant) -> None:
    team = await insert(owner, tenant, "teams", name="T")
    await owner.execute("DELETE FROM teams WHERE id = $1", team)
    await insert(owner, tenant, "teams", name="T")
    again = "INSERT INTO teams (organization_id, id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
    await owner.execute(again, tenant.id, team, "T")
    assert await owner.fetchval("SELECT version FROM tombstones WHERE record_id = $1", team) == 2
    await owner.execute(again, tenant.id, team, "another")
    assert await versions_of(owner, tenant, team) == [("insert", 1), ("delete", 2), ("insert", 3)]
    assert await owner.fetchval("SELECT count(*) FROM tombstones WHERE record_id = $1", team) == 0


async def test_a_virtual_column_is_in_the_log_as_in_the_table(owner: Connection, tenant: Tenant) -> None:
    await owner.execute("""
        CREATE TABLE virtuals (organization_id uuid, id uuid PRIMARY KEY, n integer,
          rest integer GENERATED ALWAYS AS (n % 7) VIRTUAL, text text GENERATED ALWAYS AS ('n' || n) VIRTUAL);
        SELECT track('virtuals')""")
    record = await insert(owner, tenant, "virtuals", n=9)
    await owner.execute("UPDATE virtuals SET n = 10")
    await owner.execute("UPDATE virtuals SET n = 3")
    log = [c for c in await log_of(owner, tenant) if str(c["record_id"]) == record]
    assert [(c["record"]["rest"], c["record"]["text"]) for c in log] == [(2, "n9"), (3, "n10"), (3, "n3")]
    assert [c["changed"] for c in log[1:]] == [["n", "rest", "text"], ["n", "text"]]
    shown = await owner.fetchval("SELECT encode_record(v) ->> 'text' FROM virtuals v")
    assert shown == "n3"


async def test_a_tracked_table_keeps_its_name(owner: Connection) -> None:
    await owner.execute(
        "CREATE TABLE named (organization_id uuid, id uuid PRIMARY KEY); SELECT track('named')"
    )
    for rename in ("ALTER TABLE named RENAME TO other", "ALTER TABLE named SET SCHEMA generated"):
        with pytest.raises(asyncpg.PostgresError, match="rename_refused"):
            await owner.execute(rename)
    await owner.execute(
        "SELECT untrack('named'); ALTER TABLE named RENAME TO renamed; SELECT track('renamed')"
    )
    assert await catalogue_of(owner, "renamed") is not None
    assert await catalogue_of(owner, "named") is None


async def test_a_tracked_table_that_is_dropped_leaves_nothing(owner: Connection) -> None:
    make = "CREATE TABLE dropped (organization_id uuid, id uuid PRIMARY KEY); SELECT track('dropped')"
    for _ in range(2):
        await owner.execute(make)
        await owner.execute("DROP TABLE dropped CASCADE")
        assert await catalogue_of(owner, "dropped") is None
        assert await owner.fetchval("SELECT count(*) FROM pg_proc WHERE proname LIKE 'dropped%'") == 0
        assert await owner.fetchval("SELECT count(*) FROM tracked_tables WHERE collection = 'dropped'") == 0


FAMILY = {"clients": (), "contacts": ("client_id",), "deals": ("client_id", "contact_id"), "tasks": ()}
"""Collections with the keys by which a delete of one reaches the others."""


async def some_statement(owner: Connection, tenant: Tenant, chance: random.Random) -> None:
    """One statement of psql: an insert with random relatives, another relative for some rows, or a delete of some."""
    collection = chance.choice(list(FAMILY))
    relatives: dict[str, str | None] = {
        key: await owner.fetchval(
            f"SELECT id::text FROM {key.removesuffix('_id')}s WHERE organization_id = $1 ORDER BY random() LIMIT 1",
            tenant.id,
        )
        for key in FAMILY[collection]
    }
    label = {"contacts": "last_name", "tasks": "title"}.get(collection, "name")
    some = f"organization_id = $1 AND id IN (SELECT id FROM {collection} ORDER BY random() LIMIT 3)"
    match chance.randrange(4):
        case 0:
            await owner.execute(f"DELETE FROM {collection} WHERE {some}", tenant.id)
        case 1:
            keys = "".join(f", {key} = '{value}'" for key, value in relatives.items() if value is not None)
            await owner.execute(f"UPDATE {collection} SET {label} = 'again'{keys} WHERE {some}", tenant.id)
        case _:
            await insert(owner, tenant, collection, **{label: "new"}, **relatives)


@pytest.mark.parametrize("seed", range(4))
async def test_related_records_are_what_their_log_says(owner: Connection, tenant: Tenant, seed: int) -> None:
    """I1, I2 and I7 in the database, where deletes reach from table to table: the fold of the log is the tables."""
    chance = random.Random(seed)
    await owner.execute("SELECT setseed($1)", seed / 10)
    for _ in range(25):
        async with owner.transaction():
            for _ in range(chance.randrange(1, 5)):
                await some_statement(owner, tenant, chance)
    log = await log_of(owner, tenant)
    assert [change["log_offset"] for change in log] == list(range(1, len(log) + 1))
    records: dict[tuple[str, str], dict[str, object] | None] = {}
    versions: dict[str, int] = {}
    for change in log:
        record = str(change["record_id"])
        assert change["version"] == versions.get(record, 0) + 1, change
        versions[record] = change["version"]
        records[change["collection"], record] = None if change["operation"] == "delete" else change["record"]
    for collection in FAMILY:
        shown = await owner.fetch(
            f"SELECT id::text, encode_record(t)::text AS record FROM {collection} t WHERE organization_id = $1",
            tenant.id,
        )
        told = [record for (name, _), record in records.items() if name == collection and record is not None]
        held = {row["id"]: orjson.loads(row["record"]) for row in shown}
        assert {record["id"]: record for record in told} == held
