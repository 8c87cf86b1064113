"""The process that writes, by HTTP, in open loop: a write is due at its time whether or not the last one returned."""

import asyncio
import gc
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uuid_utils

from benchmarks.harness.child import Answer, Effort, EffortMeter
from benchmarks.harness.deltas import mark_due
from benchmarks.harness.latencies import Counted, Latencies

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_MOST_ERRORS = 5
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who writes: their token, and the branch that their leads belong to."""

    token: str
    branch_id: str


@dataclass(frozen=True, slots=True)
class Writes:
    """What the process is to do: `per_second` writes of `record_bytes` each, by the writers in turn, from `from_ns` on.

    `per_second` 0 means closed loop: each of the connections writes again as soon as it is answered. The n-th write is
    one that the server must refuse where n is a multiple of `bad_each` (0: never). Only what is due from `measured_ns`
    is timed. `connections` is the most that are open; one carries one request at a time.
    """

    api_url: str
    writers: tuple[Writer, ...]
    per_second: float
    from_ns: int
    until_ns: int
    measured_ns: int = 0
    record_bytes: int = 256
    bad_each: int = 0
    connections: int = 256


@dataclass(slots=True)
class Written:
    """What became of it. `record_ids` are those of the writes that were acknowledged.

    `lateness` is how long after its due time a request left: the load client's own delay, or a server so far behind
    that all connections were taken. `measured` counts acknowledged writes that were due from `measured_ns`.
    """

    due: int = 0
    acknowledged: int = 0
    refused_as_expected: int = 0
    measured: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    record_ids: list[str] = field(default_factory=list)
    latencies: Counted | None = None
    lateness: Counted | None = None
    seconds: float = 0.0
    effort: Effort = field(default_factory=lambda: Effort(0.0, 0.0, 0.0))


@dataclass(slots=True)
class _Write:
    """One write that is due."""

    number: int
    due_ns: int
    record_id: str
    is_bad: bool


class _Connection(asyncio.Protocol):
    """A kept-alive HTTP connection with at most one request on its way."""

    def __init__(self, pool: "_Pool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._write: _Write | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: those of uvloop are registered nowhere.
        self._transport = cast(asyncio.Transport, transport)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    def send(self, write: _Write, request: bytes) -> None:
        """Send one request."""
        assert self._transport is not None
        self._write = write
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data if self._answer else data
        end = answer.find(_HEAD_END)
        if end < 0:
            return
        at = answer.lower().find(_LENGTH, 0, end)
        length = int(answer[at + len(_LENGTH) : answer.find(b"\r", at)]) if at >= 0 else 0
        if len(answer) < end + len(_HEAD_END) + length:
            return
        self._answer = b""
        write, self._write = self._write, None
        if write is not None:
            self._pool.answered(self, write, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        write, self._write = self._write, None
        self._pool.lost(self, write)


class _Pool:
    """The connections, the writes that wait for one, and the score."""

    def __init__(self, plan: Writes) -> None:
        self._plan = plan
        parts = urlsplit(plan.api_url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._heads = [_request_head(parts.netloc, writer) for writer in plan.writers]
        self._idle: deque[_Connection] = deque()
        self._open = 0
        self._waiting: deque[_Write] = deque()
        self._unanswered = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._latencies = Latencies(plan.measured_ns)
        self._lateness = Latencies(plan.measured_ns)
        self._padding = "x" * plan.record_bytes
        self.written = Written()
        self._answered = asyncio.Event()
        self.on_idle: Callable[[], None] | None = None

    async def open(self, count: int) -> None:
        """Open connections ahead of the first write."""
        await asyncio.gather(*(self._connect() for _ in range(count)))

    def add(self, number: int, due_ns: int) -> None:
        """A write is due: send it on an idle connection, or as soon as there is one."""
        bad_each = self._plan.bad_each
        write = _Write(number, due_ns, str(uuid_utils.uuid7()), bad_each > 0 and number % bad_each == 0)
        self.written.due += 1
        self._unanswered += 1
        if self._idle:
            self._send(self._idle.popleft(), write)
            return
        self._waiting.append(write)
        if self._open < self._plan.connections:
            self._open += 1
            task = self._loop.create_task(self._connect(counted=True))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def answered(self, connection: _Connection, write: _Write, answer: bytes) -> None:
        """Score an answer and give the connection its next write."""
        status = answer[9:12]
        written = self.written
        if write.is_bad:
            written.refused_as_expected += status == b"422"
        elif status == b"201":
            written.acknowledged += 1
            written.measured += write.due_ns >= self._plan.measured_ns
            written.record_ids.append(write.record_id)
            self._latencies.record(write.due_ns, time.monotonic_ns())
        if status != (b"422" if write.is_bad else b"201"):
            self._failed(f"HTTP {status.decode(errors='replace')}", answer[-300:].decode(errors="replace"))
        self._finish()
        if self._waiting:
            self._send(connection, self._waiting.popleft())
            return
        self._idle.append(connection)
        if self.on_idle is not None:
            self.on_idle()

    def lost(self, connection: _Connection, write: _Write | None) -> None:
        """A connection is gone, and a write with it."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if write is not None:
            self._failed("connection lost", "")
            self._finish()

    async def wait_answered(self) -> None:
        """Wait until every write was answered or has failed; asyncio's TimeoutError after a minute."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            while self._unanswered:
                self._answered.clear()
                await self._answered.wait()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.close()

    def score(self) -> Written:
        """Everything so far."""
        self.written.latencies = self._latencies.counted()
        self.written.lateness = self._lateness.counted()
        return self.written

    def _finish(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._answered.set()

    def _failed(self, kind: str, detail: str) -> None:
        self.written.failures[kind] += 1
        if detail and len(self.written.errors) < _MOST_ERRORS:
            self.written.errors.append(detail)

    def _send(self, connection: _Connection, write: _Write) -> None:
        self._lateness.record(write.due_ns, time.monotonic_ns())
        writer = write.number % len(self._heads)
        body = self._body(write, self._plan.writers[writer])
        connection.send(write, b"%b%d\r\n\r\n%b" % (self._heads[writer], len(body), body))

    def _body(self, write: _Write, writer: Writer) -> bytes:
        """A record of the size asked for, as JSON. A bad one has a status that there is none of."""
        status = "nonsense" if write.is_bad else "new"
        head = (
            f'{{"id":"{write.record_id}","branch_id":"{writer.branch_id}","name":"Lead {write.number}",'
            f'"status":"{status}","notes":"{mark_due(write.due_ns)} '
        )
        return (head + self._padding[: max(self._plan.record_bytes - len(head) - 2, 0)] + '"}').encode()

    async def _connect(self, *, counted: bool = False) -> None:
        if not counted:
            self._open += 1
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), self._host, self._port
            )
        except OSError as error:
            self._open -= 1
            self._failed(f"connecting: {error.strerror}", "")
            return
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)


def _request_head(host: str, writer: Writer) -> bytes:
    return (
        f"POST /api/leads HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {writer.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()


def due_times(plan: Writes) -> Sequence[int]:
    """When each write of an open loop is due, evenly spaced, on the monotonic clock."""
    count = int((plan.until_ns - plan.from_ns) * plan.per_second / 1e9)
    return [plan.from_ns + int(number * 1e9 / plan.per_second) for number in range(count)]


async def run_writes(plan: Writes) -> Written:
    """Write as planned; the score, once every write is answered or has failed."""
    pool = _Pool(plan)
    await pool.open(min(plan.connections, 16) if plan.per_second else plan.connections)
    gc.freeze()
    meter = EffortMeter()
    begun = time.monotonic()
    await (_open_loop(pool, plan) if plan.per_second else _closed_loop(pool, plan))
    pool.written.effort = meter.read()
    await pool.wait_answered()
    pool.written.seconds = time.monotonic() - begun
    pool.close()
    return pool.score()


async def _open_loop(pool: _Pool, plan: Writes) -> None:
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    times = due_times(plan)
    next_one = 0

    def send_due() -> None:
        nonlocal next_one
        now_ns = time.monotonic_ns()
        while next_one < len(times) and times[next_one] <= now_ns:
            pool.add(next_one, times[next_one])
            next_one += 1
        if next_one == len(times):
            finished.set()

    def pace() -> None:
        # A thread that sleeps, because a loop's own timers are late by up to a millisecond.
        for due_ns in times:
            if (wait := due_ns - time.monotonic_ns()) > 0:
                time.sleep(wait / 1e9)
                loop.call_soon_threadsafe(send_due)
        loop.call_soon_threadsafe(send_due)

    threading.Thread(target=pace, name="pace", daemon=True).start()
    await finished.wait()


async def _closed_loop(pool: _Pool, plan: Writes) -> None:
    number = 0

    def write_again() -> None:
        nonlocal number
        now_ns = time.monotonic_ns()
        if now_ns < plan.until_ns:
            pool.add(number, now_ns)
            number += 1

    pool.on_idle = write_again
    for _ in range(plan.connections):
        write_again()
    await asyncio.sleep((plan.until_ns - time.monotonic_ns()) / 1e9)
    pool.on_idle = None


async def run_writers(_: object) -> Mapping[str, Answer]:
    """The program of the process: it writes each plan that it is asked to."""
    return {"write": run_writes}
