"""The same mutation by two processes at once: one of them writes, and both are told the same (I6)."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import Connect
from tests.tenants import Connection, Tenant, log_of, new_id, write


async def _waits(owner: Connection, other: Connection) -> bool:
    waiting = await owner.fetchval(
        "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", other.get_server_pid()
    )
    return bool(waiting)


@pytest.mark.parametrize("operation", ["insert", "update", "delete", "strict"])
async def test_a_repeat_that_began_before_the_first_was_committed_is_its_repeat(
    connect: Connect, owner: Connection, tenant: Tenant, operation: str
) -> None:
    """What refuses it (an id that is taken, a record that is gone, a version that moved) is its own first time."""
    lead = new_id()
    one, two = await connect("branchline_api"), await connect("branchline_api")
    more: dict[str, Any] = {"fields": {"name": "L"}}
    if operation != "insert":
        await write(one, tenant.mutation("ana", "insert", "leads", lead, fields={"name": "K"}))
    if operation == "delete":
        more = {}
    if operation == "strict":
        more |= {"mode": "strict", "base_version": 1}
    verb = "update" if operation == "strict" else operation
    mutation = tenant.mutation("ana", verb, "leads", lead, **more)
    before = len(await log_of(owner, tenant))
    transaction = one.transaction()
    await transaction.start()
    [first] = await write(one, mutation)
    repeat = asyncio.create_task(_write_again(two, mutation))
    async with asyncio.timeout(10):
        while not await _waits(owner, two):
            await asyncio.sleep(0.01)
    await transaction.commit()
    [again] = await repeat
    assert (first["status"], again["status"]) == ("applied", "duplicate")
    assert (again["first"]["version"], again["first"]["status"]) == (first["version"], "applied")
    assert len(await log_of(owner, tenant)) == before + 1


async def _write_again(connection: Connection, mutation: dict[str, Any]) -> list[dict[str, Any]]:
    """As the API does: a transaction that meets its repeat's answer is run again."""
    try:
        return await write(connection, mutation)
    except asyncpg.UniqueViolationError:
        return await write(connection, mutation)
