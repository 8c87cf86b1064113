"""Many who come back at once share what is read for them."""

import asyncio
import contextlib

import pytest

from gateway import log_reader
from gateway.log_reader import LogReader
from gateway.metrics import Metrics
from gateway.tail import Chunk
from tests.gateways import Replica, RunningGateway, Socket, run_gateway
from tests.integration.gateway.leads import make_lead
from tests.integration.gateway.test_live import catch_up, follow
from tests.integration.gateway.test_source import pool_of
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, new_id, write

CLIENTS = 60


async def _write_leads(api: Connection, tenant: Tenant, count: int) -> None:
    names = [f"L{number}" for number in range(count)]
    await write(
        api, *[tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": name}) for name in names]
    )


async def test_clients_at_many_positions_share_a_read_of_the_log(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    async with run_gateway(database, servers.redis_url) as first:
        await first.relay.publish(tenant)
        async with first.socket(tenant) as socket:
            position = (await follow(socket, "leads")).since
    for _ in range(CLIENTS):
        await make_lead(api, tenant)
    # A gateway that has just begun has nothing of the log in memory.
    async with run_gateway(database, servers.redis_url) as gateway:
        head = await gateway.relay.publish(tenant)

        async def come_back(socket: Socket, number: int) -> Replica:
            replica = Replica("leads")
            subscribed = await socket.subscribe("leads", position | {"offset": position["offset"] + number})
            assert subscribed["mode"] == "replay"
            replica.take(subscribed)
            replica.position = position["offset"] + number
            await catch_up(socket, replica, head)
            return replica

        async with contextlib.AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(gateway.socket(tenant)) for _ in range(CLIENTS)]
            gateway.gateway.metrics.log_reads = 0
            replicas = await asyncio.gather(*[come_back(each, number) for number, each in enumerate(sockets)])
            for number, replica in enumerate(replicas):
                assert replica.offsets == list(range(position["offset"] + number + 1, head + 1))
            assert gateway.gateway.metrics.log_reads <= 2


async def test_who_asks_just_as_a_range_has_been_read_does_not_have_it_read_again(
    database: Database, api: Connection, tenant: Tenant
) -> None:
    await _write_leads(api, tenant, 3)
    late: list[asyncio.Task[Chunk | None]] = []

    class Reader(LogReader):
        """Somebody else asks in the very turn of the event loop in which a read has ended."""

        async def _read(self, organization_id: str, after: int) -> Chunk | None:
            chunk = await super()._read(organization_id, after)
            if not late:
                ask = self.fetch_chunk(organization_id, epoch, after)
                asyncio.get_running_loop().call_soon(lambda: late.append(asyncio.create_task(ask)))
            return chunk

    async with pool_of(database) as pool:
        reader = Reader(pool, metrics := Metrics())
        epoch, _ = await reader.fetch_head(tenant.id)
        chunk = await reader.fetch_chunk(tenant.id, epoch, 0)
        assert await late[0] is chunk
        assert metrics.log_reads == 1


async def test_a_short_range_is_read_at_once_wherever_it_begins(
    database: Database, api: Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "BLOCK", 40)
    monkeypatch.setattr(log_reader, "STRIDE", 20)
    await _write_leads(api, tenant, 50)
    async with pool_of(database) as pool:
        reader = LogReader(pool, metrics := Metrics())
        epoch, head = await reader.fetch_head(tenant.id)
        for behind in range(20, 0, -1):
            chunk = await reader.fetch_chunk(tenant.id, epoch, head - behind)
            assert chunk is not None
            assert (chunk.first <= head - behind + 1, chunk.last) == (True, head)
        assert metrics.log_reads == 1


async def test_what_was_read_of_an_epoch_is_not_given_for_the_next(
    database: Database, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    """As after a backup was put back: the same offsets, other changes."""
    await _write_leads(api, tenant, 3)
    async with pool_of(database) as pool:
        reader = LogReader(pool, Metrics())
        epoch, head = await reader.fetch_head(tenant.id)
        before = await reader.fetch_chunk(tenant.id, epoch, 0)
        await owner.execute("DELETE FROM commits WHERE first_offset + size - 1 = $1", head)
        renewed = await owner.fetchval("SELECT renew_epoch('test')")
        after = await reader.fetch_chunk(tenant.id, renewed, 0)
        assert before is not None
        assert after is not None
        assert after.last < before.last == head


async def test_clients_that_come_anew_share_the_pages_of_a_snapshot(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    await _write_leads(api, tenant, 100)
    async with run_gateway(database, servers.redis_url, snapshot_page_records=25) as gateway:
        await gateway.relay.publish(tenant)
        async with contextlib.AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(gateway.socket(tenant)) for _ in range(20)]
            replicas = await asyncio.gather(*[follow(each, "leads") for each in sockets])
        assert all(len(replica.records) == 100 for replica in replicas)
        assert gateway.gateway.metrics.page_reads <= 6


async def test_a_page_that_was_read_before_a_write_is_not_shared_after_it(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await _write_leads(api, tenant, 3)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        assert len((await follow(socket, "leads")).records) == 3
        await _write_leads(api, tenant, 1)
        await gateway.relay.publish(tenant)
        await socket.next("delta")
        assert len((await follow(socket, "leads")).records) == 4


async def test_who_flaps_is_served_from_memory(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
    reads = gateway.gateway.metrics.log_reads
    for _ in range(5):
        await make_lead(api, tenant)
        head = await gateway.relay.publish(tenant)
        async with gateway.socket(tenant) as socket:
            replica.take(await socket.subscribe("leads", replica.since))
            await catch_up(socket, replica, head)
    assert len(replica.offsets) == 5
    assert gateway.gateway.metrics.log_reads == reads
