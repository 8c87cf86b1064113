"""Relays for tests, in this process or of their own, and a reader of what they publish.

The reader does what a gateway does with publications, and remembers everything that a gateway must never see.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from redis.asyncio import Redis

from cli.ports import pick_free
from core.log import fetch_changes
from core.protocol.change import LoggedChange
from core.protocol.publication import (
    Heartbeat,
    Publication,
    TermGuard,
    decode_heartbeat,
    decode_publication,
)
from core.settings import load_settings
from gateway.relay.app import run
from tests.servers import HOST, ROOT, Database

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.01


async def eventually(
    condition: Callable[[], Awaitable[object]] | Callable[[], object],
    seconds: float = WAIT_SECONDS,
    what: str = "",
) -> Any:
    """Wait until `condition` gives something true, and give that. AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        found = await answer if isinstance(answer, Awaitable) else answer
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what or condition}"
        await asyncio.sleep(POLL_SECONDS)


class Stalls:
    """How long the machine kept this process waiting at worst, while it was watched.

    A limit in milliseconds is about the relay, not about a machine that others keep busy: each of the processes on a
    change's way (the writer, its backend, the relay, its backend, Redis) may have waited as long as this one did.
    """

    PROCESSES = 5
    TICK_SECONDS = 0.005

    def __init__(self) -> None:
        self.worst_seconds = 0.0

    @property
    def allowance_seconds(self) -> float:
        """What is added to a limit: close to nothing on a machine that is free."""
        return self.PROCESSES * self.worst_seconds

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(self.TICK_SECONDS)
            self.worst_seconds = max(self.worst_seconds, time.monotonic() - began - self.TICK_SECONDS)


@contextlib.asynccontextmanager
async def watching_stalls() -> AsyncIterator[Stalls]:
    """Stalls from now to the end of the block."""
    stalls = Stalls()
    task = asyncio.ensure_future(stalls.watch())
    try:
        yield stalls
    finally:
        task.cancel()


@dataclasses.dataclass(slots=True)
class Relay:
    """A running relay, seen from outside."""

    port: int
    process: asyncio.subprocess.Process | None = None
    stopping: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def readiness(self) -> dict[str, Any]:
        """What /readyz says; nothing if nobody answers."""
        try:
            async with httpx.AsyncClient() as client:
                answer: dict[str, Any] = (
                    await client.get(f"http://{HOST}:{self.port}/readyz", timeout=5)
                ).json()
                return answer
        except httpx.TransportError:
            return {}

    async def leads(self) -> bool:
        """Whether it says that it is the leader."""
        return bool((await self.readiness()).get("leader"))

    async def metric(self, name: str, **labels: str) -> float:
        """A figure of /metrics; 0 if it is not there."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{HOST}:{self.port}/metrics", timeout=5)).text
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"{name}{{{inside}}}" if labels else name
        return next(
            (float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{wanted} ")), 0.0
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def relaying(database: Database, redis_url: str, **settings: Any) -> AsyncIterator[Relay]:
    """A relay in this process, from when it leads until the end; `settings` by field name."""
    port = pick_free(HOST)
    made = load_settings(
        **{
            "database_url": database.url,
            "owner_database_url": database.owner_url,
            "listen_database_url": database.url,
            "redis_url": redis_url,
            "relay_port": port,
            **settings,
        }
    )
    relay = Relay(port)
    task = asyncio.ensure_future(run(made, relay.stopping))
    try:
        await eventually(lambda: task.done() or relay.leads(), what="the relay to lead")
        if task.done():
            await task
        yield relay
    finally:
        relay.stopping.set()
        await asyncio.wait_for(task, WAIT_SECONDS)


def relay_environment(
    database: Database, redis_url: str, port: int, added: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a relay that is a process."""
    ours = ("BRANCHLINE_", "DATABASE_URL", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database.url,
        "BRANCHLINE_OWNER_DATABASE_URL": database.owner_url,
        "REDIS_URL": redis_url,
        "BRANCHLINE_RELAY_PORT": str(port),
        **added,
    }


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-20:])


@contextlib.asynccontextmanager
async def relay_process(
    database: Database,
    redis_url: str,
    log: Path,
    *,
    fault: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Relay]:
    """A relay as a process of its own, killed at the end. `fault`: see tests/faults/relay_with_fault.py."""
    module = ["tests.faults.relay_with_fault", *fault] if fault else ["cli.main", "relay"]
    port = pick_free(HOST)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *module,
            cwd=log.parent,
            env=relay_environment(database, redis_url, port, environment or {}),
            stdout=output,
            stderr=output,
        )
    try:
        yield Relay(port, process)
    except BaseException:
        print(f"relay on port {port}, status {process.returncode}; the end of its log:")
        print(_end_of(log))
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Reader:
    """Reads publications as a gateway does. Each of its lists of faults must be empty at the end."""

    def __init__(self) -> None:
        self.changes: dict[str, list[LoggedChange]] = {}
        self.heartbeats: list[tuple[float, Heartbeat]] = []
        self.publications: list[Publication] = []
        self.seen_at: dict[tuple[str, str, int], float] = {}
        self.unreadable: list[Publication] = []
        self.gaps: list[str] = []
        self.repeats = 0
        self.stale: Counter[int] = Counter()
        self._guard = TermGuard()
        self._pages: dict[str, list[Publication]] = {}

    def position(self, organization_id: str) -> int:
        """The offset up to which everything has come."""
        changes = self.changes.get(organization_id)
        return changes[-1].offset if changes else 0

    def take(self, publication: Publication, now: float) -> None:
        """Apply a publication: in order, once, whole transactions, nothing of an old term."""
        self.publications.append(publication)
        if not self._guard.admits(publication.shard, publication.term):
            self.stale[publication.term] += 1
            return
        organization_id = publication.organization_id
        position = self.position(organization_id)
        if publication.to_offset <= position:
            self.repeats += len(publication.changes)
            return
        if publication.from_offset > position:
            self.gaps.append(f"{organization_id}: {publication.from_offset} after {position}")
            return
        if publication.unreadable:
            self.unreadable.append(publication)
            return
        pages = self._pages.pop(organization_id, [])
        if publication.page == 0:
            pages = []
        elif len(pages) != publication.page:
            self.gaps.append(f"{organization_id}: page {publication.page} after {len(pages)}")
            return
        pages.append(publication)
        if publication.more:
            self._pages[organization_id] = pages
            return
        changes = [change for page in pages for change in page.changes]
        fresh = [change for change in changes if change.offset > position]
        self.repeats += len(changes) - len(fresh)
        self.changes.setdefault(organization_id, []).extend(fresh)
        for change in fresh:
            self.seen_at[(change.collection, change.id, change.version)] = now

    async def run(self, redis_url: str, subscribed: asyncio.Event) -> None:
        """Read until cancelled. `subscribed` is set as soon as nothing can be missed."""
        redis = Redis.from_url(redis_url, socket_timeout=None)
        pubsub = redis.pubsub()
        try:
            await pubsub.psubscribe("branchline:*")
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    subscribed.set()
                elif message["channel"].startswith(b"branchline:heartbeat:"):
                    self.heartbeats.append((time.monotonic(), decode_heartbeat(message["data"])))
                elif message["channel"].startswith(b"branchline:{"):
                    self.take(decode_publication(message["data"]), time.monotonic())
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await redis.aclose()

    async def check(self, owner: "asyncpg.Connection[asyncpg.Record]") -> int:
        """Wait until everything has come; prove that it is all, in order, once. Gives how many changes there were.

        The log of each organisation must be 1..N, and what was published the same as what the log says.
        """
        await eventually(lambda: self._complete(owner), what="everything to be published")
        assert self.gaps == []
        total = 0
        for organization_id, head in (await heads(owner)).items():
            logged = await fetch_changes(owner, organization_id, 0, head + 1)
            assert [change.offset for change in logged] == list(range(1, head + 1))
            published = self.changes.get(organization_id, [])
            assert [change.offset for change in published] == list(range(1, head + 1))
            assert published == logged
            total += head
        return total

    async def _complete(self, owner: "asyncpg.Connection[asyncpg.Record]") -> bool:
        return all(self.position(key) >= head for key, head in (await heads(owner)).items())


async def heads(owner: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """The newest offset of each organisation that has a log."""
    rows = await owner.fetch(
        "SELECT organization_id::text, max(first_offset + size - 1) AS head FROM commits GROUP BY organization_id"
    )
    return {row["organization_id"]: row["head"] for row in rows}


@contextlib.asynccontextmanager
async def reading(redis_url: str) -> AsyncIterator[Reader]:
    """A reader that is subscribed."""
    reader, subscribed = Reader(), asyncio.Event()
    task = asyncio.ensure_future(reader.run(redis_url, subscribed))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await subscribed.wait()
        yield reader
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
