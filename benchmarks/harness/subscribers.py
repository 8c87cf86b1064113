"""The process that holds the subscribers' sockets."""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from benchmarks.harness.child import Answer
from benchmarks.harness.dialect import BranchlineDialect, Dialect, Ticket
from benchmarks.harness.follower import Follower
from benchmarks.harness.frames import FrameError, check_upgrade, upgrade_request
from benchmarks.harness.latencies import Counted, Latencies
from benchmarks.harness.reference import Reference

TIMED_PER_SECOND = 100_000
"""Arrivals a second that are timed: more would make the load client the limit. All are checked."""
_AT_ONCE = 64
_JOIN_SECONDS = 120.0
_POLL_SECONDS = 0.02
_MOST_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Subscribers:
    """What the process is to do. Tickets are grouped by what they should be sent: each group shares frames.

    Arrivals are timed at every `time_each`-th socket, once `time_from` has said of which writes. Who is `stuck` reads
    nothing any more once it is subscribed, and is left out of every count and check.
    """

    gateway_urls: tuple[str, ...]
    groups: tuple[tuple[Ticket, ...], ...]
    time_each: int = 1
    dialect: Callable[[], Dialect] = BranchlineDialect
    stuck: tuple[Ticket, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """How the sockets got to be subscribed."""

    sockets: int
    seconds: float
    first_offset: int
    snapshot_records: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What has come so far. `deliveries` counts changes; `chunks` what the kernel gave at once."""

    deliveries: int
    bytes_in: int
    chunks: int
    frames: int
    lost_sockets: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What came, held against PostgreSQL. `problems` names the first few; `faulty` counts the sockets that had one.

    `records` are those that the deltas of each group add up to, by id.
    """

    problems: list[str]
    faulty: int
    repeated: int
    conflated: int
    arrivals: Counted
    records: list[dict[str, dict[str, Any]]]


class Subscriber(asyncio.Protocol):
    """One socket: the handshake here, everything after it in its follower."""

    __slots__ = ("_answer", "_dialect", "_host", "_is_open", "_path", "_transport", "follower", "lost", "url")

    def __init__(self, url: str, group: "Group", ticket: Ticket, latencies: Latencies | None) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host = parts.netloc
        self._path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._dialect = group.dialect
        self._answer = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self.follower = Follower(
            group.reference, group.dialect, ticket, self._send, group.note_joined, latencies
        )
        self.lost: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        # No isinstance: those of uvloop are registered nowhere.
        self._transport = cast(asyncio.Transport, transport)
        self._send(upgrade_request(self._host, self._path, self._dialect.subprotocol))

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        now_ns = time.monotonic_ns()
        try:
            if not self._is_open:
                self._answer += data
                head, end, data = self._answer.partition(b"\r\n\r\n")
                if not end:
                    return
                check_upgrade(head)
                self._is_open, self._answer = True, b""
                self.follower.begin()
            if data:
                self.follower.receive(data, now_ns)
        except (FrameError, ValueError, KeyError, TypeError) as error:
            self.lost = f"{type(error).__name__}: {error}"
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember why."""
        if self.lost is None:
            self.lost = f"the socket was closed ({exc or 'by the server'})"

    def stop_reading(self) -> None:
        """Take nothing more from the kernel, and do not close either."""
        assert self._transport is not None
        self._transport.pause_reading()

    def abort(self) -> None:
        """Close without ceremony."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


class Group:
    """Subscribers that should be sent the same."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.reference = Reference()
        self.subscribers: list[Subscriber] = []
        self.joined = 0

    def note_joined(self) -> None:
        """One more is subscribed."""
        self.joined += 1


class Swarm:
    """All sockets of the process, and the answers that it gives."""

    def __init__(self, plan: Subscribers) -> None:
        self._plan = plan
        self._groups = [Group(plan.dialect()) for _ in plan.groups]
        self._stuck = Group(plan.dialect())
        self._latencies = Latencies()
        self._started = time.monotonic()

    @property
    def sockets(self) -> list[Subscriber]:
        """All of them."""
        return [subscriber for group in self._groups for subscriber in group.subscribers]

    async def connect(self) -> None:
        """Open every socket and wait until all are subscribed."""
        gate = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            number = 0
            for group, tickets in zip(self._groups, self._plan.groups, strict=True):
                for ticket in tickets:
                    tasks.create_task(self._open(gate, group, ticket, number))
                    number += 1
            for ticket in self._plan.stuck:
                tasks.create_task(self._open(gate, self._stuck, ticket, number))
        await self._wait_until(self._all_joined, _JOIN_SECONDS, "are not all subscribed")
        for subscriber in self._stuck.subscribers:
            subscriber.stop_reading()
        # The collector would walk through all sockets again and again, in the middle of what is timed.
        gc.freeze()

    async def _open(self, gate: asyncio.Semaphore, group: Group, ticket: Ticket, number: int) -> None:
        urls = self._plan.gateway_urls
        url = urls[number % len(urls)]
        latencies = self._latencies if number % self._plan.time_each == 0 else None
        parts = urlsplit(url)
        async with gate:
            subscriber = Subscriber(url, group, ticket, latencies)
            group.subscribers.append(subscriber)
            await asyncio.get_running_loop().create_connection(
                lambda: subscriber, parts.hostname or "", parts.port or 80
            )
            # Until it is subscribed, so that a storm of sign-ins is not what is measured.
            await self._wait_until(
                lambda: (
                    subscriber.follower.is_joined
                    or subscriber.lost is not None
                    or subscriber.follower.problems != []
                ),
                _JOIN_SECONDS,
                "are not subscribed",
            )

    def _all_joined(self) -> bool:
        for subscriber in self.sockets:
            if subscriber.lost is not None or (
                subscriber.follower.problems and not subscriber.follower.is_joined
            ):
                raise ConnectionError(
                    "; ".join([subscriber.lost or "not subscribed", *subscriber.follower.problems])
                )
        return all(group.joined == len(group.subscribers) for group in self._groups)

    async def joined(self, _: object) -> Joined:
        """How it went."""
        followers = [subscriber.follower for subscriber in self.sockets]
        return Joined(
            sockets=len(followers),
            seconds=time.monotonic() - self._started,
            first_offset=min((follower.start for follower in followers), default=0),
            snapshot_records=sum(follower.snapshot_records for follower in followers),
        )

    async def time_from(self, due_ns: int) -> None:
        """Time the arrivals of writes that are due from this moment on."""
        self._latencies.from_ns = due_ns

    async def counts(self, _: object) -> Counts:
        """What has come so far."""
        followers = [subscriber.follower for subscriber in self.sockets]
        return Counts(
            deliveries=sum(follower.deliveries for follower in followers),
            bytes_in=sum(follower.bytes_in for follower in followers),
            chunks=sum(follower.chunks for follower in followers),
            frames=sum(len(group.reference) for group in self._groups),
            lost_sockets=sum(subscriber.lost is not None for subscriber in self.sockets),
        )

    async def reach(self, target: tuple[list[int], float]) -> float:
        """Wait until each group has reached its offset, or for so many seconds; how long it took."""
        offsets, seconds = target
        begun = time.monotonic()
        pairs = list(zip(self._groups, offsets, strict=True))
        await self._wait_until(
            lambda: all(
                subscriber.follower.position >= offset or subscriber.lost is not None
                for group, offset in pairs
                for subscriber in group.subscribers
            ),
            seconds,
            None,
        )
        return time.monotonic() - begun

    async def verify(self, expected: Sequence[Sequence[int]]) -> Verified:
        """Hold what came against the offsets of each group's changes in PostgreSQL."""
        problems = [problem for group in self._groups for problem in group.reference.problems]
        faulty = 0
        for group, offsets in zip(self._groups, expected, strict=True):
            for subscriber in group.subscribers:
                found = subscriber.follower.verify(offsets)
                if subscriber.lost is not None:
                    found.append(subscriber.lost)
                faulty += bool(found)
                problems += found
        followers = [subscriber.follower for subscriber in self.sockets]
        return Verified(
            problems=problems[:_MOST_PROBLEMS],
            faulty=faulty,
            repeated=sum(follower.repeated for follower in followers),
            conflated=sum(follower.conflated for follower in followers),
            arrivals=self._latencies.counted(),
            records=[group.reference.records for group in self._groups],
        )

    async def stuck(self, _: object) -> int:
        """How many of those that do not read are still connected, as far as they know."""
        return sum(subscriber.lost is None for subscriber in self._stuck.subscribers)

    async def drop(self, _: object) -> int:
        """Close every socket; how many there were."""
        for subscriber in self.sockets:
            subscriber.abort()
        return len(self.sockets)

    async def _wait_until(self, condition: Any, seconds: float, complaint: str | None) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                if complaint is None:
                    return
                raise TimeoutError(f"the subscribers {complaint} after {seconds:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)


async def run_subscribers(plan: Subscribers) -> Mapping[str, Answer]:
    """The program of the process."""
    swarm = Swarm(plan)
    await swarm.connect()
    return {
        "joined": swarm.joined,
        "time_from": swarm.time_from,
        "counts": swarm.counts,
        "reach": swarm.reach,
        "verify": swarm.verify,
        "drop": swarm.drop,
        "stuck": swarm.stuck,
    }
