"""The write function reaches its rows by their key, however small the tables were when its plans were made."""

import re
import time

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
