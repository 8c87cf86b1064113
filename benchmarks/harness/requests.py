"""Raw HTTP for the load client: kept-alive connections, each with one request on its way, and their pace."""

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast
from urllib.parse import urlsplit

from benchmarks.harness.latencies import Latencies

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_ANSWER_SECONDS = 60.0
_OPEN_AT_FIRST = 16


class Request(Protocol):
    """What is to be asked. `encode` is called when it leaves, and then one of the other two, once."""

    @property
    def due_ns(self) -> int:
        """When it is due, on the monotonic clock."""

    def encode(self) -> bytes:
        """The whole request."""

    def answered(self, status: int, body: bytes) -> None:
        """It was answered."""

    def failed(self, kind: str) -> None:
        """It got no answer."""


class _Connection(asyncio.Protocol):
    """A kept-alive HTTP connection with at most one request on its way."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._answer = bytearray()
        self._end = 0
        self._request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: those of uvloop are registered nowhere.
        self._transport = cast(asyncio.Transport, transport)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    def send(self, request: Request) -> None:
        """Send one request."""
        assert self._transport is not None
        self._request = request
        self._transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        answer += data
        if not self._end:
            end = answer.find(_HEAD_END)
            if end < 0:
                return
            at = answer.lower().find(_LENGTH, 0, end)
            length = int(answer[at + len(_LENGTH) : answer.find(b"\r", at)]) if at >= 0 else 0
            self._end = end + len(_HEAD_END) + length
        if len(answer) < self._end:
            return
        body = bytes(answer[answer.find(_HEAD_END) + len(_HEAD_END) : self._end])
        status = int(answer[9:12])
        self._answer, self._end = bytearray(), 0
        request, self._request = self._request, None
        if request is not None:
            self._pool.answered(self, request, status, body)

    def connection_lost(self, exc: Exception | None) -> None:
        request, self._request = self._request, None
        self._pool.lost(self, request)


class Pool:
    """At most `connections` to one server, and the requests that wait for one.

    `lateness` is how long after its due time a request left: the load client's own delay, or a server so far behind
    that all connections were taken. `on_idle` is called whenever a connection has nothing to carry. Connections come
    from `local_addresses` in turn, where some are given.
    """

    def __init__(
        self, url: str, connections: int, measured_ns: int = 0, *, local_addresses: Sequence[str] = ()
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._most = connections
        self._local_addresses = itertools.cycle(local_addresses) if local_addresses else None
        self._idle: deque[_Connection] = deque()
        self._open = 0
        self._waiting: deque[Request] = deque()
        self._unanswered = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._answered = asyncio.Event()
        self.lateness = Latencies(measured_ns)
        self.on_idle: Callable[[], None] | None = None

    async def open(self, count: int | None = None) -> None:
        """Open connections ahead of the first request: all, or so many."""
        count = self._most if count is None else min(count, self._most)
        self._open += count
        await asyncio.gather(*(self._connect() for _ in range(count)))

    def add(self, request: Request) -> None:
        """A request is due: send it on an idle connection, or as soon as there is one."""
        self._unanswered += 1
        if self._idle:
            self._send(self._idle.popleft(), request)
            return
        self._waiting.append(request)
        if self._open < self._most:
            self._open += 1
            task = self._loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def answered(self, connection: _Connection, request: Request, status: int, body: bytes) -> None:
        """Hand an answer on and give the connection its next request."""
        request.answered(status, body)
        self._finish()
        if self._waiting:
            self._send(connection, self._waiting.popleft())
            return
        self._idle.append(connection)
        if self.on_idle is not None:
            self.on_idle()

    def lost(self, connection: _Connection, request: Request | None) -> None:
        """A connection is gone, and a request with it."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if request is not None:
            request.failed("connection lost")
            self._finish()

    async def wait_answered(self) -> None:
        """Wait until every request was answered or has failed; TimeoutError after a minute."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            while self._unanswered:
                self._answered.clear()
                await self._answered.wait()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.close()

    async def run_paced(self, due_ns: Sequence[int], make: Callable[[int, int], Request]) -> None:
        """Open loop: the n-th request, `make(n, due)`, is due at its time, whatever became of the last one."""
        loop = self._loop
        finished = asyncio.Event()
        next_one = 0

        def send_due() -> None:
            nonlocal next_one
            now_ns = time.monotonic_ns()
            while next_one < len(due_ns) and due_ns[next_one] <= now_ns:
                self.add(make(next_one, due_ns[next_one]))
                next_one += 1
            if next_one == len(due_ns):
                finished.set()

        def pace() -> None:
            # A thread that sleeps, because a loop's own timers are late by up to a millisecond.
            for due in due_ns:
                if (wait := due - time.monotonic_ns()) > 0:
                    time.sleep(wait / 1e9)
                    loop.call_soon_threadsafe(send_due)
            loop.call_soon_threadsafe(send_due)

        threading.Thread(target=pace, name="pace", daemon=True).start()
        await finished.wait()

    async def run_busy(self, until_ns: int, make: Callable[[int, int], Request]) -> None:
        """Closed loop: each connection asks again as soon as it is answered, until this moment."""
        number = 0

        def ask_again() -> None:
            nonlocal number
            now_ns = time.monotonic_ns()
            if now_ns < until_ns:
                number += 1
                self.add(make(number - 1, now_ns))

        self.on_idle = ask_again
        for _ in range(self._most):
            ask_again()
        await asyncio.sleep((until_ns - time.monotonic_ns()) / 1e9)
        self.on_idle = None

    async def run(
        self, due_ns: Sequence[int] | None, until_ns: int, make: Callable[[int, int], Request]
    ) -> None:
        """Open loop at these times; closed loop until that moment where there are none."""
        if due_ns is None:
            await self.run_busy(until_ns, make)
        else:
            await self.run_paced(due_ns, make)

    async def open_for(self, due_ns: Sequence[int] | None) -> None:
        """Open what `run` needs at its beginning."""
        await self.open(_OPEN_AT_FIRST if due_ns is not None else None)

    def _finish(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._answered.set()

    def _send(self, connection: _Connection, request: Request) -> None:
        self.lateness.record(request.due_ns, time.monotonic_ns())
        connection.send(request)

    async def _connect(self) -> None:
        local = None if self._local_addresses is None else (next(self._local_addresses), 0)
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), self._host, self._port, local_addr=local
            )
        except OSError as error:
            self._open -= 1
            if self._waiting and not self._open:
                # Nobody else could carry it.
                self._waiting.popleft().failed(f"connecting: {error.strerror}")
                self._finish()
            return
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)


def due_times(per_second: float, from_ns: int, until_ns: int) -> Sequence[int]:
    """When each of so many a second is due, evenly spaced, on the monotonic clock."""
    count = int((until_ns - from_ns) * per_second / 1e9)
    return [from_ns + int(number * 1e9 / per_second) for number in range(count)]


def request_head(
    method: str, path: str, host: str, token: str, headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    """The head of a JSON request, up to the number of bytes of its body."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{more}"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
