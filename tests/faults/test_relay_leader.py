"""Fault case 7: a leader that is killed or stopped, at any moment of its work. Nothing is lost, another takes over.

The reader of the publications sees everything in order, whatever a leader that wakes up late still sends.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.faults.proxy import Proxy
from tests.faults.relay_load import writing
from tests.faults.relay_with_fault import MOMENTS
from tests.relays import Reader, Relay, eventually, reading, relay_process, watching_stalls
from tests.servers import Database, Servers
from tests.tenants import Connection

TAKE_OVER_SECONDS = 5.0


@pytest.fixture
async def reader(servers: Servers) -> AsyncIterator[Reader]:
    async with reading(servers.redis_url) as subscribed:
        yield subscribed


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    connection.terminate()


async def another_term(reader: Reader, than: int) -> float:
    """When the first heartbeat of a later term came."""
    await eventually(lambda: reader.heartbeats and reader.heartbeats[-1][1].term > than, what="a take-over")
    return next(at for at, heartbeat in reader.heartbeats if heartbeat.term > than)


def last_term(reader: Reader) -> int:
    return reader.heartbeats[-1][1].term


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_leader_that_is_killed_loses_nothing(
    moment: str, database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    log = tmp_path / "relay.log"
    fault = (moment, "KILL", "12")
    async with relay_process(database, servers.redis_url, log, fault=fault) as first:
        await eventually(first.leads, what="a leader")
        async with relay_process(database, servers.redis_url, log):
            async with watching_stalls() as stalls, writing(database):
                assert first.process is not None
                status = await asyncio.wait_for(first.process.wait(), 30)
                died_at = time.monotonic()
                assert status == -signal.SIGKILL
                took_over_at = await another_term(reader, last_term(reader))
            total = await reader.check(owner)
    print(
        f"killed {moment}: {took_over_at - died_at:.2f} s to take over, {total} changes, {reader.repeats} repeats"
    )
    assert took_over_at - died_at <= TAKE_OVER_SECONDS + stalls.allowance_seconds
    assert reader.stale == {}
    if moment == "after_publish":
        # It had not kept what it published, so the next one published it again.
        assert reader.repeats > 0


@pytest.mark.parametrize("moment", ["before_publish", "mid_batch", "after_publish"])
async def test_a_leader_that_is_stopped_and_wakes_up_late_does_no_harm(
    moment: str, database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    """It goes on in the middle of what it did, under a term that is over, while another one leads."""
    log = tmp_path / "relay.log"
    async with relay_process(database, servers.redis_url, log, fault=(moment, "STOP", "12")) as first:
        await eventually(first.leads, what="a leader")
        async with relay_process(database, servers.redis_url, log) as second:
            async with watching_stalls() as stalls, writing(database):
                await eventually(lambda: is_stopped(first), what="the leader to stop")
                stopped_at = time.monotonic()
                old = last_term(reader)
                took_over_at = await another_term(reader, old)
                first.signal(signal.SIGCONT)
                await eventually(lambda: stands_by(first), what="the old leader to stand by")
                came = len(reader.publications)
                await eventually(lambda: len(reader.publications) > came + 20, what="what the new one sends")
                assert await second.leads()
            total = await reader.check(owner)
    print(
        f"stopped {moment}: {took_over_at - stopped_at:.2f} s, {total} changes, {reader.stale} of an old term"
    )
    assert took_over_at - stopped_at <= TAKE_OVER_SECONDS + stalls.allowance_seconds
    if moment != "after_publish":
        # What it was about to send arrived, and was told from what counts.
        assert reader.stale[old] > 0
    assert last_term(reader) > old


async def test_a_leader_that_cannot_reach_the_database_stops_publishing(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    """Cut off from its lease it stops by its own clock, before another one begins: terms do not overlap."""
    log = tmp_path / "relay.log"
    async with Proxy(servers.port) as proxy:
        way = database.url.replace(f":{servers.port}/", f":{proxy.port}/")
        assert way != database.url
        cut_off = {"DATABASE_URL": way, "BRANCHLINE_LISTEN_DATABASE_URL": way}
        async with relay_process(database, servers.redis_url, log, environment=cut_off) as first:
            await eventually(first.leads, what="a leader")
            async with relay_process(database, servers.redis_url, log):
                async with watching_stalls() as stalls, writing(database):
                    await eventually(lambda: len(reader.publications) > 20, what="publications")
                    proxy.black_hole()
                    cut_at = time.monotonic()
                    took_over_at = await another_term(reader, last_term(reader))
                    assert not await first.leads()
                    proxy.heal()
                    await eventually(lambda: stands_by(first), what="the old leader to stand by")
                await reader.check(owner)
    assert took_over_at - cut_at <= TAKE_OVER_SECONDS + stalls.allowance_seconds
    assert reader.stale == {}


@pytest.mark.long
async def test_a_hundred_leaders_are_killed(
    database: Database, servers: Servers, reader: Reader, owner: Connection, tmp_path: Path
) -> None:
    """The full form of the case: at every moment of the work, kills and stops, one after the other."""
    log = tmp_path / "relay.log"
    dice = random.Random(7)
    worst = 0.0
    async with writing(database, 50, seed=7, rate=1.3):
        async with relay_process(database, servers.redis_url, log) as spare:
            await eventually(spare.leads, what="a leader")
        for turn in range(100):
            fault = (dice.choice(MOMENTS), "KILL", str(dice.randrange(1, 40)))
            async with relay_process(database, servers.redis_url, log, fault=fault) as struck:
                await eventually(lambda one=struck: is_over(one) or one.leads(), what="a leader")
                old = await owner.fetchval("SELECT term FROM relay_leases")
                async with relay_process(database, servers.redis_url, log) as standby:
                    await eventually(lambda one=standby: is_ready(one), what="a standby")
                    await eventually(lambda one=struck: is_over(one), 60, what="a kill")
                    began = time.monotonic()
                    seconds = await another_term(reader, old) - began
            worst = max(worst, seconds)
            print(f"{turn}: {fault} {seconds:.2f} s")
            assert seconds <= TAKE_OVER_SECONDS
    async with relay_process(database, servers.redis_url, log):
        total = await reader.check(owner)
    print(f"100 kills, {total} changes, longest take-over {worst:.2f} s, {reader.repeats} repeats")


def is_stopped(relay: Relay) -> bool:
    assert relay.process is not None
    state = Path(f"/proc/{relay.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


def is_over(relay: Relay) -> bool:
    assert relay.process is not None
    return relay.process.returncode is not None


async def is_ready(relay: Relay) -> bool:
    return bool((await relay.readiness()).get("ready"))


async def stands_by(relay: Relay) -> bool:
    readiness = await relay.readiness()
    return readiness.get("leader") is False and bool(readiness.get("ready"))
