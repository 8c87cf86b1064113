"""The relay's part of fault case 8: its way to Redis is cut, one way or another. It says so, waits, and goes on."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.faults.proxy import Proxy
from tests.faults.relay_load import writing
from tests.relays import Reader, Relay, eventually, reading, relay_process, watching_stalls
from tests.servers import Database, Servers
from tests.tenants import Connection

NOTICED_SECONDS = 4.0


@pytest.fixture
async def reader(servers: Servers) -> AsyncIterator[Reader]:
    async with reading(servers.redis_url) as subscribed:
        yield subscribed


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    connection.terminate()


async def misses_redis(relay: Relay) -> bool:
    readiness = await relay.readiness()
    return readiness["ready"] is False and readiness["dependencies"]["redis"]["ready"] is False


async def is_ready(relay: Relay) -> bool:
    return bool((await relay.readiness())["ready"])


@pytest.mark.parametrize("fault", ["black_hole", "half_open", "reset"])
async def test_without_redis_the_relay_waits_and_then_goes_on_where_it_was(
    fault: str, database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    redis_port = int(servers.redis_url.rpartition(":")[2].partition("/")[0])
    async with Proxy(redis_port) as proxy:
        way = servers.redis_url.replace(f":{redis_port}", f":{proxy.port}")
        async with relay_process(database, way, tmp_path / "relay.log") as relay:
            await eventually(relay.leads, what="a leader")
            async with watching_stalls() as stalls, writing(database):
                await eventually(lambda: len(reader.publications) > 10, what="publications")
                errors = await relay.metric("branchline_relay_publish_errors_total")
                getattr(proxy, fault)()
                cut_at = time.monotonic()
                if fault == "black_hole":
                    await eventually(lambda: misses_redis(relay), what="the relay to say so")
                    noticed = time.monotonic() - cut_at
                    assert noticed <= NOTICED_SECONDS + stalls.allowance_seconds
                    proxy.heal()
                came = len(reader.publications)
                await eventually(lambda: len(reader.publications) > came + 10, what="publications again")
                await eventually(lambda: is_ready(relay), what="ready")
                assert await relay.metric("branchline_relay_publish_errors_total") > errors
            assert await reader.check(owner) > 0
