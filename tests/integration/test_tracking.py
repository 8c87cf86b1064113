"""track(table): what makes a table part of the system, and what its triggers promise."""

import asyncio
import re

import asyncpg
import orjson
import pytest
from starlette.convertors import CONVERTOR_TYPES

import api.app  # noqa: F401 - it knows the names of addresses
from tests.integration.conftest import Connect
from tests.tenants import Connection, Tenant, log_of, new_id, write


async def insert(connection: Connection, tenant: Tenant, table: str, **values: object) -> str:
    record = new_id()
    columns = "".join(f", {c}" for c in values)
    places = "".join(f", ${n}" for n in range(3, 3 + len(values)))
    await connection.execute(
        f"INSERT INTO {table} (organization_id, id{columns}) VALUES ($1, $2{places})",
        tenant.id,
        record,
        *values.values(),
    )
    return record


async def catalogue_of(connection: Connection, name: str) -> dict[str, object] | None:
    collections = orjson.loads(await connection.fetchval("SELECT catalogue()::text"))
    return next((c for c in collections if c["name"] == name), None)


async def test_whatever_changes_the_catalogue_changes_its_version(owner: Connection) -> None:
    await owner.execute(
        "CREATE TYPE paint AS ENUM ('red');"
        "CREATE TABLE bikes (organization_id uuid, id uuid, paint paint, name varchar(9))"
    )
    seen = {await owner.fetchval("SELECT catalogue_version()")}
    known = {await owner.fetchval("SELECT catalogue()::text")}
    for statement in (
        "SELECT track('bikes')",
        "ALTER TABLE bikes ADD COLUMN owner_id uuid",
        "ALTER TABLE bikes ADD FOREIGN KEY (owner_id) REFERENCES users(id)",
        "ALTER TYPE paint ADD VALUE 'blue'",
        "ALTER TYPE paint RENAME VALUE 'red' TO 'scarlet'",
        "ALTER TABLE bikes ALTER name TYPE varchar(20)",
        "ALTER TABLE bikes ALTER name SET NOT NULL",
        "ALTER TABLE bikes ALTER paint SET DEFAULT 'blue'",
        "COMMENT ON COLUMN bikes.name IS 'Painted on. @filterable'",
        "COMMENT ON COLUMN bikes.name IS NULL",
        "COMMENT ON TABLE bikes IS 'Two wheels. @writable(owner)'",
        "ALTER TABLE bikes RENAME COLUMN name TO label",
        "ALTER TABLE users RENAME TO persons",
        "ALTER TABLE persons RENAME TO users",
        "ALTER TABLE bikes DROP COLUMN owner_id",
        "SELECT untrack('bikes')",
    ):
        await owner.execute(statement)
        version, text = await owner.fetchrow("SELECT catalogue_version(), catalogue()::text")  # type: ignore[misc]
        if text not in known:
            assert version not in seen, statement
        seen.add(version)
        known.add(text)
    assert len(known) > 12


async def test_a_new_table_becomes_a_collection_by_one_call(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    await owner.execute(
        "CREATE TABLE vehicles (organization_id uuid, id uuid, plate text NOT NULL, price numeric(10, 2));"
        "COMMENT ON COLUMN vehicles.plate IS 'On the back. @filterable'; SELECT track('vehicles')"
    )
    found = await catalogue_of(owner, "vehicles")
    assert found is not None
    fields = {f["name"]: f for f in found["fields"]}  # type: ignore[attr-defined]
    assert fields["plate"]["filterable"]
    assert fields["plate"]["description"] == "On the back."
    assert (fields["price"]["type"], fields["price"]["precision"], fields["price"]["scale"]) == (
        "numeric",
        10,
        2,
    )
    result = await api.fetchrow(
        "SELECT * FROM write_mutations($1::jsonb)",
        orjson.dumps(
            [
                {
                    **tenant.mutation("ana", "insert", "vehicles", new_id(), fields={"plate": "B 1"}),
                    "ordinal": 0,
                }
            ]
        ).decode(),
    )
    assert result is not None
    assert result["status"] == "applied"
    assert (await log_of(owner, tenant))[-1]["collection"] == "vehicles"


async def test_rows_that_a_table_has_already_are_logged_as_inserts(owner: Connection, tenant: Tenant) -> None:
    await owner.execute("CREATE TABLE vehicles (organization_id uuid, id uuid DEFAULT uuidv7(), plate text)")
    await owner.execute(
        "INSERT INTO vehicles (organization_id, plate) VALUES ($1, 'A'), ($1, 'B')", tenant.id
    )
    await owner.execute("SELECT track('vehicles')")
    last = (await log_of(owner, tenant))[-2:]
    assert [(row["operation"], row["version"]) for row in last] == [("insert", 1)] * 2
    await owner.execute("UPDATE vehicles SET plate = 'C' WHERE plate = 'A'")
    assert (await log_of(owner, tenant))[-1]["version"] == 2


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ("CREATE TABLE bad (id uuid)", "expected the columns organization_id uuid"),
        ("CREATE TABLE bad (organization_id uuid, id bigint)", "expected the columns id uuid"),
        ('CREATE TABLE bad (organization_id uuid, id uuid, "Odd Name" text)', "Odd Name"),
        ("CREATE VIEW bad AS SELECT 1 AS id", "expected a table"),
    ],
)
async def test_a_table_that_cannot_be_tracked_is_refused_with_what_was_expected(
    owner: Connection, definition: str, says: str
) -> None:
    await owner.execute(definition)
    with pytest.raises(asyncpg.PostgresError, match=says):
        await owner.execute("SELECT track('bad')")


async def test_no_table_takes_a_name_that_the_api_has_addresses_under(owner: Connection) -> None:
    excluded = re.match(r"\(\?!\(\?:([\w|-]+)\)", CONVERTOR_TYPES["collection"].regex)
    assert excluded is not None
    names = [name for name in excluded.group(1).split("|") if "-" not in name]
    assert "people" in names
    for name in names:
        await owner.execute(f"CREATE TABLE IF NOT EXISTS {name} (organization_id uuid, id uuid)")
        with pytest.raises(asyncpg.PostgresError, match="the system does not use itself"):
            await owner.execute(f"SELECT track('{name}')")


async def test_a_column_that_is_added_later_is_in_the_record_and_in_the_change(
    owner: Connection, tenant: Tenant
) -> None:
    lead = await insert(owner, tenant, "leads", name="L")
    await owner.execute("ALTER TABLE leads ADD COLUMN colour text")
    await owner.execute("UPDATE leads SET colour = 'red' WHERE id = $1", lead)
    change = (await log_of(owner, tenant))[-1]
    assert (change["changed"], change["previous"], change["record"]["colour"]) == (
        ["colour"],
        {"colour": None},
        "red",
    )


async def test_a_record_has_the_same_bytes_whoever_writes_it_in_whatever_time_zone(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    await owner.execute(
        "CREATE TABLE odds (organization_id uuid, id uuid, at timestamptz, plain timestamp, day date, n numeric,"
        " f float8, span interval, j jsonb, many timestamptz[]); SELECT track('odds')"
    )
    values = (
        "'2026-03-29 01:30:00.5+00', '2026-03-29 01:30', '2026-03-29', 1.50, 0.1, '1 day 02:00', '{\"a\": 1}',"
        " '{2026-03-29 01:30:00+00}'"
    )
    elsewhere = await connect()
    await elsewhere.execute(
        "SET timezone = 'America/New_York'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard';"
        " SET extra_float_digits = 0"
    )
    texts = []
    for connection in (owner, elsewhere):
        record = new_id()
        await connection.execute(
            f"INSERT INTO odds (organization_id, id, at, plain, day, n, f, span, j, many)"
            f" VALUES ('{tenant.id}', '{record}', {values})"
        )
        logged = (await log_of(connection, tenant))[-1]["record"]
        shown = orjson.loads(
            await elsewhere.fetchval("SELECT encode_record(o)::text FROM odds o WHERE id = $1", record)
        )
        assert logged == shown
        texts.append({k: v for k, v in logged.items() if k not in ("id", "created_at", "updated_at")})
    assert texts[0] == texts[1]
    assert texts[0]["at"] == "2026-03-29T01:30:00.500000Z"
    assert (texts[0]["n"], texts[0]["day"], texts[0]["f"]) == ("1.50", "2026-03-29", 0.1)


async def test_a_delete_leaves_a_tombstone_from_which_an_insert_of_the_same_id_goes_on(
    owner: Connection, tenant: Tenant
) -> None:
    lead = await insert(owner, tenant, "leads", name="L")
    await owner.execute("UPDATE leads SET name = 'M' WHERE id = $1", lead)
    await owner.execute("DELETE FROM leads WHERE id = $1", lead)
    dead = await owner.fetchrow("SELECT * FROM tombstones WHERE record_id = $1", lead)
    assert dead is not None
    assert dead["version"] == 3
    await owner.execute("INSERT INTO leads (organization_id, id, name) VALUES ($1, $2, 'N')", tenant.id, lead)
    row = await owner.fetchrow(
        "SELECT version, field_clocks -> '*' ->> 0 AS clock FROM leads WHERE id = $1", lead
    )
    assert row is not None
    assert row["version"] == 4
    assert row["clock"] > dead["clock"]
    assert await owner.fetchval("SELECT count(*) FROM tombstones WHERE record_id = $1", lead) == 0


async def test_an_insert_that_waited_for_a_delete_goes_on_from_its_version(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    lead = await insert(owner, tenant, "leads", name="L")
    other = await connect()
    await owner.execute("BEGIN")
    await owner.execute("DELETE FROM leads WHERE id = $1", lead)
    waiting = asyncio.create_task(
        other.execute("INSERT INTO leads (organization_id, id, name) VALUES ($1, $2, 'N')", tenant.id, lead)
    )
    watcher = await connect()
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"
    while not await watcher.fetchval(blocked):
        assert not waiting.done(), "the insert did not wait for the delete"
    await owner.execute("COMMIT")
    await waiting
    assert await owner.fetchval("SELECT version FROM leads WHERE id = $1", lead) == 3


async def test_a_cascade_is_captured_with_the_rows_that_it_changed(owner: Connection, tenant: Tenant) -> None:
    client = await insert(owner, tenant, "clients", name="C")
    await insert(owner, tenant, "contacts", last_name="K", client_id=client)
    await insert(owner, tenant, "deals", name="D", client_id=client)
    before = len(await log_of(owner, tenant))
    await owner.execute("DELETE FROM clients WHERE id = $1", client)
    log = (await log_of(owner, tenant))[before:]
    assert sorted((c["collection"], c["operation"]) for c in log) == [
        ("clients", "delete"),
        ("contacts", "delete"),
        ("deals", "update"),
    ]
    deal = next(c for c in log if c["collection"] == "deals")
    assert (deal["changed"], deal["previous"], deal["record"]["client_id"]) == (
        ["client_id"],
        {"client_id": client},
        None,
    )


async def test_truncate_is_refused_by_name(owner: Connection) -> None:
    with pytest.raises(asyncpg.PostgresError, match="truncate_refused"):
        await owner.execute("TRUNCATE leads CASCADE")


async def test_an_id_cannot_be_changed(owner: Connection, tenant: Tenant) -> None:
    await insert(owner, tenant, "leads", name="L")
    with pytest.raises(asyncpg.PostgresError, match="record_moved"):
        await owner.execute("UPDATE leads SET id = uuidv7()")


async def test_an_insert_into_a_partition_is_captured(owner: Connection, tenant: Tenant) -> None:
    month = await owner.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    event = await insert(owner, tenant, f"activity_events_{month}", subject="straight in")
    stray = await owner.fetchval(
        "INSERT INTO activity_events (organization_id, id, subject)"
        " VALUES ($1, gen_random_uuid(), 'odd id') RETURNING id",
        tenant.id,
    )
    await owner.execute("UPDATE activity_events SET subject = 'moved on' WHERE id = $1", event)
    await owner.execute(f"DELETE FROM activity_events_{month} WHERE id = $1", event)
    last = (await log_of(owner, tenant))[-4:]
    assert [(c["collection"], c["operation"], str(c["record_id"])) for c in last] == [
        ("activity_events", "insert", event),
        ("activity_events", "insert", str(stray)),
        ("activity_events", "update", event),
        ("activity_events", "delete", event),
    ]


async def test_a_partition_that_is_created_by_hand_carries_the_triggers(
    owner: Connection, tenant: Tenant
) -> None:
    await owner.execute(
        "CREATE TABLE activity_events_old PARTITION OF activity_events"
        " FOR VALUES FROM ('01000000-0000-0000-0000-000000000000') TO ('01010000-0000-0000-0000-000000000000')"
    )
    await owner.execute(
        "INSERT INTO activity_events_old (organization_id, id, subject)"
        " VALUES ($1, '01000000-0000-7000-8000-000000000001', 'old')",
        tenant.id,
    )
    assert (await log_of(owner, tenant))[-1]["record"]["subject"] == "old"


async def test_a_sensitive_column_is_nowhere_in_the_log(owner: Connection, tenant: Tenant) -> None:
    await owner.execute("ALTER TABLE clients ADD COLUMN tax_id text")
    await owner.execute("COMMENT ON COLUMN clients.tax_id IS 'For invoices. @sensitive'")
    client = await insert(owner, tenant, "clients", name="C", tax_id="canary-1")
    await owner.execute("UPDATE clients SET tax_id = 'canary-2' WHERE id = $1", client)
    await owner.execute("DELETE FROM clients WHERE id = $1", client)
    text = await owner.fetchval("SELECT string_agg(c::text, '') FROM changes c")
    dead = await owner.fetchval("SELECT string_agg(t::text, '') FROM tombstones t")
    assert "canary" not in text + dead


async def test_the_application_sees_no_row_without_an_organisation_and_no_row_of_another(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    await insert(owner, tenant, "leads", name="L")
    for role in ("branchline_api", "branchline_gateway"):
        connection = await connect(role)
        assert await connection.fetchval("SELECT count(*) FROM leads") == 0
        assert await connection.fetchval("SELECT count(*) FROM changes") == 0
        await connection.execute("BEGIN")
        await connection.execute("SELECT set_config('branchline.organization_id', $1, true)", new_id())
        assert await connection.fetchval("SELECT count(*) FROM leads") == 0
        await connection.execute("SELECT set_config('branchline.organization_id', $1, true)", tenant.id)
        assert await connection.fetchval("SELECT count(*) FROM leads") == 1
        await connection.execute("ROLLBACK")


async def test_the_applications_roles_own_nothing_and_no_function_runs_as_its_owner(
    owner: Connection,
) -> None:
    assert (
        await owner.fetchval(
            "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
            " WHERE r.rolname IN ('branchline_app', 'branchline_api', 'branchline_gateway', 'branchline_relay')"
        )
        == 0
    )
    assert await owner.fetchval("SELECT count(*) FROM pg_proc WHERE prosecdef") == 0


async def test_pruning_leaves_the_newest_commit_so_that_offsets_go_on(
    owner: Connection, tenant: Tenant
) -> None:
    await insert(owner, tenant, "leads", name="L")
    head = (await log_of(owner, tenant))[-1]["log_offset"]
    while await owner.fetchval("SELECT prune_commits(CURRENT_DATE + 1, 2)"):
        pass
    assert await owner.fetchval("SELECT count(*) FROM commits WHERE organization_id = $1", tenant.id) == 1
    await insert(owner, tenant, "leads", name="M")
    assert (await log_of(owner, tenant))[-1]["log_offset"] == head + 1


async def test_partitions_are_made_ahead_beside_an_open_writer(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    somebody = await connect()
    await somebody.execute("BEGIN")
    await insert(somebody, tenant, "leads", name="L")
    await owner.execute("SET lock_timeout = '1s'")
    assert await owner.fetchval("SELECT ensure_log_partitions(9)") == 2
    assert await owner.fetchval("SELECT ensure_log_partitions(9)") == 0
    await somebody.execute("COMMIT")


async def test_columns_may_have_any_name_also_that_of_an_alias(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    names = [*"txrmnokjufgesdcz", "excluded", "fields", "shown"]
    columns = ", ".join(f'"{name}" text' for name in names)
    await owner.execute(f"CREATE TABLE odd (organization_id uuid, id uuid, {columns}); SELECT track('odd')")
    record = new_id()
    [made] = await write(api, tenant.mutation("ana", "insert", "odd", record, fields={"t": "1", "x": "2"}))
    [changed] = await write(api, tenant.mutation("ana", "update", "odd", record, fields={"r": "3", "t": "4"}))
    assert (made["status"], changed["status"]) == ("applied", "applied")
    assert (changed["record"]["t"], changed["record"]["x"], changed["record"]["r"]) == ("4", "2", "3")
    [gone] = await write(api, tenant.mutation("ana", "delete", "odd", record))
    assert gone["status"] == "applied"


async def test_a_table_may_have_no_field_of_its_own(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    await owner.execute("CREATE TABLE bare (organization_id uuid, id uuid); SELECT track('bare')")
    record = new_id()
    [made] = await write(api, tenant.mutation("ana", "insert", "bare", record))
    [gone] = await write(api, tenant.mutation("ana", "delete", "bare", record))
    assert (made["status"], gone["status"]) == ("applied", "applied")
    await owner.execute("ALTER TABLE bare ADD COLUMN label text")
    await owner.execute("ALTER TABLE bare DROP COLUMN label")


async def test_a_record_has_one_order_of_fields_also_where_nothing_was_written(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    lead = await insert(owner, tenant, "leads", name="L")
    shown = list(
        orjson.loads(await owner.fetchval("SELECT encode_record(l)::text FROM leads l WHERE id = $1", lead))
    )
    [same] = await write(api, tenant.mutation("ana", "update", "leads", lead))
    [refused] = await write(
        api,
        tenant.mutation("ana", "update", "leads", lead, fields={"name": "M"}, mode="strict", base_version=9),
    )
    assert list(same["record"]) == shown
    assert list(refused["record"]) == shown
