"""Pages of a snapshot wait for a slow socket, and no database transaction does (I10)."""

from tests.gateways import run_gateway, wait_until
from tests.integration.gateway.test_live import catch_up, follow
from tests.integration.gateway.test_sockets import stalled_reader
from tests.relays import eventually
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant

RECORDS = 4_000
FILL = """
INSERT INTO leads (organization_id, name, notes) SELECT $1, 'l', repeat('n', 2000) FROM generate_series(1, $2::int)
"""
OPEN = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'test gateway' AND xact_start IS NOT NULL
"""


async def test_no_transaction_waits_for_a_reader_that_has_stopped_amid_a_snapshot(
    servers: Servers, database: Database, owner: Connection, tenant: Tenant
) -> None:
    async def is_quiet() -> bool:
        return bool(await owner.fetchval(OPEN) == 0)

    await owner.execute(FILL, tenant.id, RECORDS)
    async with run_gateway(database, servers.redis_url, unsent_bytes=64 * 1024, drain_seconds=60) as gateway:
        head = await gateway.relay.publish(tenant)
        async with stalled_reader(gateway, tenant) as slow, gateway.socket(tenant) as quick:
            await slow.subscribe("leads")
            slow.connection.transport.pause_reading()
            await wait_until(lambda: gateway.gateway.sweep.slow_count == 1)
            # It stands amid its snapshot, and others read theirs meanwhile.
            await catch_up(quick, await follow(quick, "leads"), head)
            await eventually(is_quiet, what="the gateway's transactions to end")
            [seat] = [each for each in gateway.gateway.server.seats if each.connection.is_slow]
            assert [each.progress is not None for each in seat.subscriptions] == [True]
            slow.connection.transport.resume_reading()
            while not (page := await slow.next("snapshot"))["last"]:
                pass
            assert page["offset"] == head
