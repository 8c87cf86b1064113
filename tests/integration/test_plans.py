"""The write function reaches its rows by their key, however small the tables were when its plans were made."""

import re
import time

import pytest

from core.queries import load
from tests.integration.conftest import Connect
from tests.tenants import Connection, Tenant, new_id, write

CLIENT = "0a0a0a0a-0000-4000-8000-00000000000a"
BATCH = 200
SCAN = re.compile(r"(?:Scan using|Bitmap Index Scan on) (\w+)(?: on leads\b)?")


def stamp(counter: int) -> str:
    return f"{int(time.time() * 1000):013d}-{counter:04x}-{CLIENT}"


async def write_leads(api: Connection, tenant: Tenant, operation: str, ids: list[str], **fields: str) -> None:
    results = await write(
        api,
        *(
            tenant.mutation(
                "ana",
                operation,
                "leads",
                lead,
                fields={name: f"{value} {lead}" for name, value in fields.items()},
                clock=stamp(n),
            )
            for n, lead in enumerate(ids)
        ),
    )
    assert {result["status"] for result in results} == {"applied"}


async def test_a_table_that_grew_since_the_plans_were_made_is_reached_by_its_key(
    connect: Connect, owner: Connection, tenant: Tenant
) -> None:
    """Nothing has analysed it: as in the first minute of a new system, or of an import."""
    await owner.execute("ALTER TABLE leads SET (autovacuum_enabled = false)")
    database = await owner.fetchval("SELECT current_database()")
    for name, value in (
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_nested_statements", "on"),
        ("auto_explain.log_level", "notice"),
    ):
        await owner.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    api = await connect("branchline_api")
    plans: list[str] = []
    api.add_log_listener(lambda _, message: plans.append(str(message.message)))
    batches = [[new_id() for _ in range(BATCH)] for _ in range(6)]
    for ids in batches:
        await write_leads(api, tenant, "insert", ids, name="lead")
    plans.clear()
    await write_leads(api, tenant, "insert", [new_id() for _ in range(BATCH)], name="lead")
    await write_leads(api, tenant, "update", batches[0], phone="1")
    used = {index for plan in plans for index in SCAN.findall(plan) if index.startswith("leads")}
    assert used == {"leads_pkey"}


@pytest.mark.parametrize(
    ("statement", "index"), [("a page of the log", "pkey"), ("a history", "record_id_version_idx")]
)
async def test_the_log_is_read_by_its_key_whatever_the_statistics_say(
    connect: Connect, owner: Connection, statement: str, index: str
) -> None:
    """They are of the first two changes of a day, and of the organisation that made them."""
    tenant = Tenant(new_id())
    await owner.execute("INSERT INTO organizations (id, slug, name) VALUES ($1, 'new', 'New')", tenant.id)
    await owner.execute(
        "INSERT INTO branches (organization_id, slug, name) VALUES ($1, 'a', 'A'), ($1, 'b', 'B')", tenant.id
    )
    await owner.execute("ANALYZE changes, commits")
    lead = new_id()
    await owner.execute(
        "INSERT INTO leads (organization_id, id, name, notes)"
        " SELECT $1, CASE n WHEN 1 THEN $2 ELSE uuidv7() END, 'lead', repeat('n', 256) FROM generate_series(1, 2000) n",
        tenant.id,
        lead,
    )
    update = "UPDATE leads SET phone = $3 WHERE organization_id = $1 AND id = $2"
    for number in range(600):
        await owner.execute(update, tenant.id, lead, str(number))
    if statement == "a page of the log":
        reader = await connect("branchline_gateway")
        sql, values = load("core", "log.sql").fetch_changes, f"'{tenant.id}', 2050, 512"
    else:
        reader = await connect("branchline_api")
        sql, values = load("api").fetch_history, f"'{tenant.id}', 'leads', '{lead}', null, null, 50"
    await reader.execute(f"SET branchline.organization_id = '{tenant.id}'")
    await reader.execute(f"PREPARE page AS {sql}")
    plan = [row[0] for row in await reader.fetch(f"EXPLAIN (ANALYZE) EXECUTE page ({values})")]
    used = {
        re.sub(r"\d+_\d+_\d+_", "", name)
        for line in plan
        if "never executed" not in line
        for name in SCAN.findall(line)
        if name.startswith("changes")
    }
    assert used == {f"changes_{index}"}
