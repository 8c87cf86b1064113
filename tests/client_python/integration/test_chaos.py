"""Lines break, answers are lost, processes are killed: all clients end equal to PostgreSQL, and no write is missing."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from branchline_client import Client, LiveCollection
from core.catalogue import fetch_catalogue
from core.database import fetch_principal
from core.log import fetch_changes, fetch_head
from core.protocol.change import LoggedChange
from core.protocol.topic import parse_topic
from core.protocol.view import View, view_of
from tests.checker import (
    check_acknowledged,
    check_applied,
    check_log,
    check_replica,
    check_session,
)
from tests.client_python.integration.conftest import client_of
from tests.client_python.integration.people import ANA, BEN, CARLA, rows
from tests.client_python.recorder import Recorder
from tests.client_python.transports import Faulty
from tests.faults.proxy import Proxy
from tests.stack import Stack
from tests.tenants import Connection

PEOPLE = (ANA, ANA, BEN, CARLA)
NAMES = ("a", "b", "c", "d", "")
STATUSES = ("new", "contacted", "won", "lost", "no such status")


@pytest.fixture
def managers(system: Stack) -> Iterator[None]:
    """Ben and Carla may write everywhere, for the time of a test."""
    members = f"user_id IN (SELECT id FROM users WHERE email IN ('{BEN}', '{CARLA}'))"
    before = system.psql(f"SELECT id, branch_ids FROM organization_members WHERE {members}").splitlines()
    system.psql(f"UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE {members}")
    yield
    for member, _, branches in (line.partition("|") for line in before):
        system.psql(
            f"UPDATE organization_members SET role = 'agent', branch_ids = '{branches}' WHERE id = '{member}'"
        )


@pytest.fixture
async def owner(system: Stack) -> AsyncIterator[Connection]:
    """A connection as the owner of the tables."""
    connection = await asyncpg.connect(system.owner_url)
    yield connection
    connection.terminate()


async def read_log(owner: Connection, organization_id: str) -> tuple[list[LoggedChange], int]:
    _, head = await fetch_head(owner, organization_id)
    log: list[LoggedChange] = []
    while part := await fetch_changes(owner, organization_id, len(log), 5_000):
        log += part
    return log, head


class Colleague:
    """One person with one device, whose process ends and begins again now and then."""

    def __init__(
        self,
        system: Stack,
        email: str,
        view: View,
        folder: Path,
        chance: random.Random,
        barrier: asyncio.Barrier,
    ) -> None:
        self.system = system
        self.email = email
        self.name = f"{email} in {folder.name}"
        self.barrier = barrier
        self.view = view
        self.folder = folder
        self.chance = chance
        self.transport = Faulty(lose_every=3)
        self.recorders: list[Recorder] = []

    @contextlib.asynccontextmanager
    async def at_work(self, gateway_url: str) -> AsyncIterator[Recorder]:
        options = {"store": self.folder, "transport": self.transport, "gateway_url": gateway_url}
        async with client_of(self.system, self.email, **options) as client, client.live("leads") as leads:
            recorder = Recorder(self.name, client, leads, self.view)
            self.recorders.append(recorder)
            try:
                yield recorder
            finally:
                recorder.close()

    def type(self, recorder: Recorder, shared: list[str]) -> None:
        """Write something."""
        client: Client = recorder.client
        chance = self.chance
        record_id = chance.choice(shared)
        roll = chance.random()
        if roll < 0.1:
            write = client.insert("leads", {"name": chance.choice(NAMES)})
            shared.append(write.id)
        elif roll < 0.17:
            write = client.delete("leads", record_id)
        else:
            fields = {"name": chance.choice(NAMES), "phone": str(chance.randrange(100))}
            if chance.random() < 0.3:
                fields = {"status": chance.choice(STATUSES)}
            mode = chance.choice([None, "merge", "strict"])
            write = client.update("leads", record_id, fields, mode=mode)  # type: ignore[arg-type]  # of three
        recorder.wrote(write)


async def live_a_life(
    colleague: Colleague, gateway_url: str, shared: list[str], until: float, is_healed: asyncio.Event
) -> None:
    """Work, end, begin again, until the time is over; then work until everything is sent and heard."""
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        async with colleague.at_work(gateway_url) as recorder:
            ends_at = min(until, loop.time() + colleague.chance.uniform(1.5, 4))
            while loop.time() < ends_at:
                colleague.type(recorder, shared)
                colleague.transport.is_cut = colleague.chance.random() < 0.2
                await asyncio.sleep(colleague.chance.uniform(0, 0.05))
    await is_healed.wait()
    colleague.transport.is_cut = False
    colleague.transport.lose_every = 0
    async with colleague.at_work(gateway_url) as recorder:
        await recorder.client.wait_live()
        recorder.client.online()
        await recorder.client.drain()
        head = await recorder.client.request("GET", "/api/leads?limit=1")
        await recorder.live.wait_for(
            lambda it: it.position is not None and it.position.offset >= head["offset"]
        )
        await finish(colleague, recorder.live)


async def finish(colleague: Colleague, live: LiveCollection) -> None:
    """Compare the screen with PostgreSQL, when nobody writes any more."""
    await colleague.barrier.wait()
    head = await colleague.recorders[-1].client.request("GET", "/api/leads?limit=1")
    await live.wait_for(lambda it: it.position is not None and it.position.offset >= head["offset"])
    expected = await asyncio.to_thread(rows, colleague.system)
    check_replica(colleague.name, {each["id"]: each for each in live}, expected)


async def trouble(system: Stack, proxy: Proxy, chance: random.Random, until: float) -> None:
    """Break lines, and kill gateways and the relay."""
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        await asyncio.sleep(chance.uniform(0.2, 0.8))
        match chance.choice(["reset", "reset", "black_hole", "gateway", "relay"]):
            case "reset":
                proxy.reset()
            case "black_hole":
                proxy.black_hole()
                await asyncio.sleep(chance.uniform(0.2, 1.5))
                proxy.heal()
            case name:
                children = [each for key, each in system.up.processes().items() if key.startswith(name)]
                for child in children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)
    proxy.heal()


async def run_chaos(system: Stack, owner: Connection, tmp_path: Path, seed: int, seconds: float) -> None:
    chance = random.Random(seed)
    organization_id = str(await owner.fetchval("SELECT id FROM organizations WHERE slug = 'demo'"))
    catalogue = await fetch_catalogue(owner)
    barrier = asyncio.Barrier(len(PEOPLE))
    colleagues = []
    for number, email in enumerate(PEOPLE):
        session = await owner.fetchrow(
            "SELECT s.id, u.id AS user_id FROM sessions s JOIN users u ON u.id = s.user_id"
            " WHERE u.email = $1 ORDER BY s.created_at DESC",
            email if system.token(email) else "",
        )
        assert session is not None
        principal = await fetch_principal(owner, organization_id, str(session["user_id"]), str(session["id"]))
        assert principal is not None
        view = view_of(parse_topic("leads", catalogue), principal, catalogue)
        folder = tmp_path / str(number)
        colleagues.append(Colleague(system, email, view, folder, random.Random(chance.random()), barrier))
    shared = list(rows(system, "status = 'new'"))[:15]
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    is_healed = asyncio.Event()
    async with Proxy(urlsplit(system.gateway_url).port or 0) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        async with asyncio.timeout(seconds + 60), asyncio.TaskGroup() as group:
            for colleague in colleagues:
                group.create_task(live_a_life(colleague, url, shared, until, is_healed))
            await trouble(system, proxy, chance, until)
            is_healed.set()
    await check_all(system, owner, organization_id, colleagues)


async def check_all(
    system: Stack, owner: Connection, organization_id: str, colleagues: list[Colleague]
) -> None:
    log, head = await read_log(owner, organization_id)
    check_log(log, head)
    table = {("leads", key): record for key, record in rows(system).items()}
    recorders = [recorder for colleague in colleagues for recorder in colleague.recorders]
    for recorder in recorders:
        check_applied(recorder.trace, log)
        check_session(recorder.name, recorder.session)
        for write in recorder.writes:
            if write.mutation_id not in recorder.answers and write._server.is_done:
                with contextlib.suppress(Exception):
                    recorder.answers[write.mutation_id] = await write.server
    check_acknowledged([each for recorder in recorders for each in recorder.acknowledged()], log, table)
    typed = {write.mutation_id for recorder in recorders for write in recorder.writes}
    logged = {change.mutation_id for change in log}
    assert len(typed) > 100
    assert len(typed & logged) > 30


@pytest.mark.usefixtures("managers")
async def test_chaos_ends_in_agreement(system: Stack, owner: Connection, tmp_path: Path) -> None:
    seed = 7
    print(f"seed {seed}")
    await run_chaos(system, owner, tmp_path, seed, 8)


@pytest.mark.long
@pytest.mark.usefixtures("managers")
@pytest.mark.parametrize("seed", range(100))
async def test_chaos_ends_in_agreement_in_the_long_form(
    system: Stack, owner: Connection, tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    await run_chaos(system, owner, tmp_path, seed, 60)
