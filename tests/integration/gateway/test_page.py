"""A snapshot's SQL and a delta's Python agree on what a view shows, for every type that can be filtered by."""

import itertools
import random

import orjson
import pytest

from core.catalogue import Catalogue, fetch_catalogue
from core.database import create_pool
from core.principal import Principal
from core.protocol.topic import encode_part, parse_topic
from core.protocol.view import view_of
from gateway.metrics import Metrics
from gateway.page import page_statement
from gateway.snapshot import SnapshotReader
from tests.servers import Database
from tests.tenants import Connection, Tenant, create_tenant

VALUES: dict[str, list[object]] = {
    "name": ["", "a", "A", "é", "e\u0301", "it's", 'say "x"', "a,b", "a&b=c", "~", "%41", " x ", "💡", None],
    "small": [0, -1, 32767, None],
    "big": [0, 2**53 + 1, -(2**63), None],
    "price": ["0", "1.5", "-1.50", "1000000000000000000000", "0.001", None],
    "fixed": ["1.50", "2.00", "0.00", None],
    "hot": [True, False, None],
    "due": ["2025-02-28", "0001-01-01", None],
    "seen": ["2025-02-28 12:00:00+00", "2025-02-28 12:00:00.000001+00", None],
    "kind": ["a", "b c", "it's", None],
    "branch_id": [],
}
RECORDS = 300
TOPICS = 200
MANY = 20_000
FILL = """
INSERT INTO leads (organization_id, name, notes) SELECT $1, 'l', repeat('n', 200) FROM generate_series(1, $2::int)
"""


@pytest.fixture
async def samples(owner: Connection, tenant: Tenant) -> Catalogue:
    """A tracked table with a filterable column of each type, full of awkward values."""
    await owner.execute(
        """
        CREATE TYPE sample_kind AS ENUM ('a', 'b c', 'it''s');
        CREATE TABLE samples (
          organization_id uuid NOT NULL REFERENCES organizations, id uuid NOT NULL DEFAULT uuidv7(),
          branch_id uuid, name text, small smallint, big bigint, price numeric, fixed numeric(8,2), hot boolean,
          due date, seen timestamptz, kind sample_kind, PRIMARY KEY (organization_id, id));
        """
    )
    for column in VALUES:
        await owner.execute(f"COMMENT ON COLUMN samples.{column} IS '@filterable'")
    await owner.execute("SELECT track('samples')")
    chance = random.Random(1)
    values = VALUES | {"branch_id": [*tenant.branches.values(), None]}
    rows = [{name: chance.choice(choices) for name, choices in values.items()} for _ in range(RECORDS)]
    await owner.execute(
        f"INSERT INTO samples (organization_id, {', '.join(VALUES)}) SELECT $1, {', '.join(VALUES)}"
        " FROM jsonb_populate_recordset(NULL::samples, $2::jsonb)",
        tenant.id,
        orjson.dumps(rows).decode(),
    )
    return await fetch_catalogue(owner)


def _reader(tenant: Tenant, branch: str | None) -> Principal:
    branches = None if branch is None else frozenset({branch})
    return Principal("u", "U", tenant.id, "agent", branches, "own", "s")


def _topics(tenant: Tenant) -> list[str]:
    chance = random.Random(2)
    values = VALUES | {"branch_id": [*tenant.branches.values(), None]}
    topics = ["samples"]
    for _ in range(TOPICS):
        filters = []
        for name in chance.sample(sorted(values), chance.choice([1, 1, 1, 2])):
            some = chance.sample(values[name], chance.randrange(1, min(3, len(values[name])) + 1))
            filters.append(f"{name}={','.join(_write(name, value) for value in some)}")
        topics.append(f"samples?{'&'.join(filters)}")
    return topics


def _write(name: str, value: object) -> str:
    if value is None:
        return "~"
    if isinstance(value, bool):
        return str(value).lower()
    return encode_part(str(value).replace(" ", "T") if name == "seen" else str(value))


async def test_sql_and_python_agree_on_every_filter(
    samples: Catalogue, owner: Connection, tenant: Tenant
) -> None:
    rows = await owner.fetch("SELECT encode_record(s)::text AS record FROM samples s")
    records = [orjson.loads(row["record"]) for row in rows]
    seen = 0
    for text, branch in itertools.product(_topics(tenant), [None, tenant.branches["north"]]):
        view = view_of(parse_topic(text, samples), _reader(tenant, branch), samples)
        expected = sorted(record["id"] for record in records if view.shows("samples", record))
        found: list[str] = []
        after = None
        while True:
            statement = page_statement(view, "samples", tenant.id, after=after, limit=40, limit_bytes=5_000)
            page = await owner.fetch(statement.sql, *statement.parameters)
            found += [row["id"] for row in page]
            if len(page) < 40 and (not page or len(page) == page[0]["candidates"]):
                break
            after = found[-1]
        assert found == expected, text
        seen += len(found)
    assert seen > RECORDS


async def test_a_page_holds_one_record_however_large_it_is(
    samples: Catalogue, owner: Connection, tenant: Tenant
) -> None:
    view = view_of(parse_topic("samples", samples), _reader(tenant, None), samples)
    statement = page_statement(view, "samples", tenant.id, after=None, limit=40, limit_bytes=1)
    assert len(await owner.fetch(statement.sql, *statement.parameters)) == 1


async def test_another_organisations_records_are_not_on_the_page(
    samples: Catalogue, owner: Connection, tenant: Tenant
) -> None:
    view = view_of(parse_topic("samples", samples), _reader(tenant, None), samples)
    other = "00000000-0000-0000-0000-000000000000"
    statement = page_statement(view, "samples", other, after=None, limit=40, limit_bytes=10**6)
    assert await owner.fetch(statement.sql, *statement.parameters) == []


async def test_a_snapshot_does_not_read_all_for_each_page_though_statistics_know_none_of_them(
    database: Database, owner: Connection, tenant: Tenant
) -> None:
    """As after an import: those that there are were made when the table held another organisation's few records."""
    await owner.execute("ALTER TABLE leads SET (autovacuum_enabled = false)")
    other = await create_tenant(owner, "another")
    await owner.execute(FILL, other.id, 1_000)
    await owner.execute("ANALYZE")
    await owner.execute(FILL, tenant.id, MANY)
    catalogue = await fetch_catalogue(owner)
    view = view_of(parse_topic("leads", catalogue), _reader(tenant, None), catalogue)
    pool = await create_pool(database.url, role="branchline_gateway", application_name="test", max_size=1)
    reader = SnapshotReader(pool, Metrics(), page_records=500)
    before = await _rows_read(owner)
    found: list[str] = []
    after = None
    while not found or after is not None:
        page = await reader.fetch_page(view, "leads", tenant.id, "epoch", after=after, at=0, now=0)
        found += [orjson.loads(record)["id"] for record in page.records]
        after = page.after
    # A session tells of its reads when it ends.
    await pool.close()
    assert found == sorted(set(found))
    assert len(found) == MANY
    assert await _rows_read(owner) - before < 3 * MANY


async def _rows_read(owner: Connection) -> int:
    await owner.execute("SELECT pg_stat_force_next_flush()")
    await owner.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await owner.fetchval(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'leads'"
    )
    return count
