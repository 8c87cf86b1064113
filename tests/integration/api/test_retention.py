"""Beyond the log's retention: versions stay readable and can be restored, positions cannot be followed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from gateway.relay.maintenance import RETENTION_DAYS, Maintenance
from tests.integration.api.conftest import Api, create, problem
from tests.integration.api.test_history import versions
from tests.servers import Database
from tests.tenants import Connection, Tenant

OLD = datetime.now(UTC).date() - timedelta(days=RETENTION_DAYS + 3)


async def test_versions_outlive_the_log_and_are_restored_from_there(
    api: Api, ana: httpx.AsyncClient, owner: Connection, tenant: Tenant, module_database: Database
) -> None:
    kept, deleted = await create(ana, name="Ada", phone="1"), await create(ana, name="Bea")
    await ana.patch(f"/api/leads/{kept['id']}", json={"name": "Ada L.", "phone": "2"})
    await ana.delete(f"/api/leads/{deleted['id']}")
    known = {each["id"]: await versions(ana, f"/api/leads/{each['id']}") for each in (kept, deleted)}
    position = (await ana.get("/api/changes?topic=leads")).json()
    since = {"topic": "leads", "view": position["view"], "epoch": position["epoch"], "offset": 1}
    assert (await ana.get("/api/changes", params=since)).status_code == 200

    await _let_go(owner, module_database)

    problem(await ana.get("/api/changes", params=since), 410, "position_too_old")
    for record in (kept, deleted):
        assert await versions(ana, f"/api/leads/{record['id']}") == known[record["id"]]
    some = (
        await ana.post(f"/api/leads/{kept['id']}/restore", json={"version": 1, "fields": ["phone"]})
    ).json()
    assert (some["version"], some["name"], some["phone"]) == (3, "Ada L.", "1")
    again = (await ana.post(f"/api/leads/{deleted['id']}/restore", json={"version": 1})).json()
    assert (again["version"], again["name"]) == (3, "Bea")
    # What is old and what is new is one history.
    for record in (kept, deleted):
        found = await versions(ana, f"/api/leads/{record['id']}", limit=2)
        assert [each["version"] for each in found] == [3, 2, 1]
    # And offsets go on.
    since |= {"offset": position["to"]}
    told = (await ana.get("/api/changes", params=since)).json()
    assert [change["offset"] for change in told["changes"]] == [position["to"] + 1, position["to"] + 2]


async def _let_go(owner: Connection, database: Database) -> None:
    """Let everything that is logged be of a day beyond retention, and have the relay's maintenance pass over it."""
    name = f"changes_{OLD:%Y_%m_%d}"
    await owner.execute(f"CREATE TABLE {name} (LIKE changes INCLUDING ALL)")
    await owner.execute(
        f"ALTER TABLE changes ATTACH PARTITION {name} FOR VALUES FROM ('{OLD}') TO ('{OLD + timedelta(days=1)}')"
    )
    await owner.execute("UPDATE changes SET logged_on = $1", OLD)
    await owner.execute("UPDATE commits SET logged_on = $1", OLD)

    async def connect() -> Any:
        return await asyncpg.connect(database.owner_url)

    await Maintenance(connect, may_prune=lambda: True).make_pass()
    assert await owner.fetchval("SELECT count(*) FROM changes") == 0
