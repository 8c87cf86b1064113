"""Fault cases 2, 3 and 6: the relay's ear is cut off, goes deaf, or never could hear. Changes come all the same."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from core.lifecycle import EXIT_USAGE
from tests.faults.proxy import Proxy, swallow_notifications
from tests.faults.relay_load import writing
from tests.relays import Reader, Relay, eventually, reading, relay_process, watching_stalls
from tests.servers import Database, Servers
from tests.tenants import Connection

LATENCY_AT_MOST_MS = 500
LATENCY_P99_MS = 250
DETECTION_SECONDS = 3.0
LISTENER = "branchline relay listener"
LOSSES = "branchline_relay_listener_losses_total"


@pytest.fixture
async def reader(servers: Servers) -> AsyncIterator[Reader]:
    async with reading(servers.redis_url) as subscribed:
        yield subscribed


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    connection.terminate()


@contextlib.asynccontextmanager
async def relay_behind(
    proxy: Proxy, database: Database, servers: Servers, folder: Path
) -> AsyncIterator[Relay]:
    """A relay that leads and reaches PostgreSQL through `proxy`, but for its probes."""
    way = database.url.replace(f":{servers.port}/", f":{proxy.port}/")
    environment = {"BRANCHLINE_LISTEN_DATABASE_URL": way}
    async with relay_process(
        database, servers.redis_url, folder / "relay.log", environment=environment
    ) as relay:
        await eventually(relay.leads, what="a leader")
        yield relay


async def hears(relay: Relay) -> bool:
    return bool((await relay.readiness())["dependencies"]["listener"]["ready"])


async def deaf(relay: Relay) -> bool:
    return not await hears(relay)


async def kill_listener(owner: Connection) -> int:
    """Have the server end the listening connection; the process id that it had."""
    pid: int = await eventually(
        lambda: owner.fetchval(
            "WITH ears AS MATERIALIZED (SELECT pid FROM pg_stat_activity"
            " WHERE application_name = $1 AND datname = current_database())"
            " SELECT pid FROM ears WHERE pg_terminate_backend(pid)",
            LISTENER,
        ),
        what="a listener to kill",
    )
    return pid


async def listens_again(owner: Connection, than: int) -> bool:
    return bool(
        await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND pid <> $2"
            " AND datname = current_database() AND state = 'idle' AND query LIKE 'LISTEN%'",
            LISTENER,
            than,
        )
    )


async def kill_listener_again_and_again(
    database: Database, servers: Servers, reader: Reader, owner: Connection, log: Path, kills: int
) -> None:
    async with relay_process(database, servers.redis_url, log) as relay:
        await eventually(relay.leads, what="a leader")
        async with watching_stalls() as stalls, writing(database) as load:
            for _ in range(kills):
                pid = await kill_listener(owner)
                killed_at = time.monotonic()
                await eventually(lambda pid=pid: listens_again(owner, pid), what="another LISTEN")
                assert time.monotonic() - killed_at <= 1.0 + stalls.allowance_seconds
            assert await relay.metric(LOSSES, how="closed") >= kills - 1
        total = await reader.check(owner)
    latencies = load.latencies_ms(reader)
    p99, worst = latencies[len(latencies) * 99 // 100], latencies[-1]
    allowance_ms = 1000 * stalls.allowance_seconds
    print(
        f"{kills} killed, {total} changes, p99 {p99:.0f} ms, at most {worst:.0f} ms (+{allowance_ms:.0f} allowed)"
    )
    assert p99 <= LATENCY_P99_MS + allowance_ms
    assert worst <= LATENCY_AT_MOST_MS + allowance_ms


async def test_a_listener_that_is_killed_listens_again_and_nothing_is_late(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    await kill_listener_again_and_again(database, servers, reader, owner, tmp_path / "relay.log", kills=4)


@pytest.mark.long
async def test_listeners_are_killed_for_a_minute(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    await kill_listener_again_and_again(database, servers, reader, owner, tmp_path / "relay.log", kills=60)


@pytest.mark.parametrize("fault", ["black_hole", "half_open", "reset"])
async def test_a_listener_that_goes_deaf_is_found_out_and_nothing_is_late(
    fault: str, database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    """No FIN, no RST: only the probe can tell. It does within three seconds; the poll carries the changes meanwhile."""
    async with (
        Proxy(servers.port, only=LISTENER.encode()) as proxy,
        relay_behind(proxy, database, servers, tmp_path) as relay,
    ):
        await eventually(lambda: hears(relay), what="a listener")
        async with watching_stalls() as stalls, writing(database) as load:
            getattr(proxy, fault)()
            fault_at = time.monotonic()
            await eventually(lambda: lost(relay), what="the loss to be noticed")
            noticed = time.monotonic() - fault_at
            proxy.heal()
            await eventually(lambda: hears(relay), what="a listener again")
        total = await reader.check(owner)
    latencies = load.latencies_ms(reader)
    allowance = stalls.allowance_seconds
    print(
        f"{fault} noticed after {noticed:.2f} s, at most {latencies[-1]:.0f} ms (+{1000 * allowance:.0f} allowed)"
    )
    assert total > 0
    assert noticed <= DETECTION_SECONDS + allowance
    assert latencies[-1] <= LATENCY_AT_MOST_MS + 1000 * allowance


@pytest.mark.parametrize("fault", ["half_open", "reset"])
async def test_dead_connections_to_the_database_are_replaced(
    fault: str, database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    """All of the relay's connections die at once, one way silently: it looks, gets no answer and connects anew."""
    async with Proxy(servers.port) as proxy, relay_behind(proxy, database, servers, tmp_path) as relay:
        async with watching_stalls() as stalls, writing(database) as load:
            await eventually(lambda: len(reader.publications) > 10, what="publications")
            getattr(proxy, fault)()
            came = len(reader.publications)
            await eventually(lambda: len(reader.publications) > came + 10, what="publications again")
            await eventually(lambda: hears(relay), what="a listener again")
        await reader.check(owner)
    latencies = load.latencies_ms(reader)
    print(f"{fault} of all: at most {latencies[-1]:.0f} ms (+{1000 * stalls.allowance_seconds:.0f} allowed)")
    assert latencies[-1] <= 3000 + 1000 * stalls.allowance_seconds


async def lost(relay: Relay) -> bool:
    return sum([await relay.metric(LOSSES, how=how) for how in ("deaf", "closed")]) > 0


async def test_listening_through_a_pooler_is_refused_by_name(
    database: Database, servers: Servers, tmp_path: Path
) -> None:
    """LISTEN is accepted and never heard: the relay does not become ready, and says what to do."""
    log = tmp_path / "relay.log"
    async with Proxy(servers.port, answers=swallow_notifications) as pooler:
        way = database.url.replace(f":{servers.port}/", f":{pooler.port}/")
        await refused(database, servers, log, way)


async def test_beside_a_pooler_the_relay_uses_its_direct_connection(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    async with Proxy(servers.port, answers=swallow_notifications) as pooler:
        environment = {
            "DATABASE_URL": database.url.replace(f":{servers.port}/", f":{pooler.port}/"),
            "BRANCHLINE_LISTEN_DATABASE_URL": database.url,
        }
        log = tmp_path / "relay.log"
        async with relay_process(database, servers.redis_url, log, environment=environment) as relay:
            await eventually(relay.leads, what="a leader")
            async with writing(database):
                await eventually(lambda: len(reader.publications) > 20, what="publications")
            assert await reader.check(owner) > 0
            assert await hears(relay)


async def test_listening_to_another_database_is_refused_by_name(
    database: Database, servers: Servers, tmp_path: Path
) -> None:
    with servers.database() as another:
        await refused(database, servers, tmp_path / "relay.log", another.url)


async def refused(database: Database, servers: Servers, log: Path, listen_url: str) -> None:
    began = time.monotonic()
    environment = {"BRANCHLINE_LISTEN_DATABASE_URL": listen_url}
    async with relay_process(database, servers.redis_url, log, environment=environment) as relay:
        assert relay.process is not None
        status = await asyncio.wait_for(relay.process.wait(), 20)
    print(f"refused after {time.monotonic() - began:.2f} s")
    (line,) = said(log)
    assert status == EXIT_USAGE
    assert "listen_refused" in line
    assert "BRANCHLINE_LISTEN_DATABASE_URL" in line


def said(log: Path) -> list[str]:
    """Lines that are for people."""
    return [line for line in log.read_text().splitlines() if not line.startswith("{")]


NOWHERE = "postgresql://nobody:x@127.0.0.1:1/nothing"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", NOWHERE),
        ("BRANCHLINE_LISTEN_DATABASE_URL", NOWHERE),
        ("REDIS_URL", "redis://127.0.0.1:1"),
    ],
)
async def test_an_unreachable_server_is_one_line_and_status_2(
    setting: str, value: str, database: Database, servers: Servers, tmp_path: Path
) -> None:
    log = tmp_path / "relay.log"
    async with relay_process(database, servers.redis_url, log, environment={setting: value}) as relay:
        assert relay.process is not None
        status = await asyncio.wait_for(relay.process.wait(), 20)
    (line,) = said(log)
    assert status == EXIT_USAGE
    assert setting in line
