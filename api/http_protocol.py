"""uvicorn's HTTP connection with limits on what it leaves unlimited: how many there are, how long an idle one is kept,
a request's head, its time, and how many wait.
"""

import asyncio
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.connections import Connections

KEEP_ALIVE_SECONDS = 75
"""Longer than the usual 60 s of a proxy, so that it is the proxy that closes an idle connection."""
STRANGER_KEEP_ALIVE_SECONDS = 10
"""The same for a connection whose last request proved nobody: idle, it gets no more time than a first request."""
PROVEN_KEY = "branchline.proven"
"""What a request's scope holds once it has proved who sends it."""
HEAD_SECONDS = 10.0
MESSAGE_SECONDS = 15.0
"""For all that follows a head, also where the answer has gone out before. Who reads a body gives it less time."""
MAX_HEAD_BYTES = 32 * 1024
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of a body with all that is around it, chunks' sizes and trailers. Who reads a body takes less of it."""
MAX_PIPELINED = 100
"""Requests that may wait on one connection for the answer to one before them."""

_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class _Part(Enum):
    NOTHING = 0
    HEAD = 1
    MESSAGE = 2


class Protocol(HttpToolsProtocol):
    """A connection that is cut when a request's head, or what follows it, is too long under way or too large."""

    _connections = Connections()
    _is_admitted = False
    _is_proxy = False
    _part = _Part.NOTHING
    _timed_part = _Part.NOTHING
    _timer: asyncio.TimerHandle | None = None
    _answering: Any = None
    """The cycle of the request that is being answered: uvicorn keeps the newest only."""
    _bytes = 0
    """Of the part under way, up to what was read in one go."""

    def connection_made(self, transport: Any) -> None:
        """Begin with a connection: its first request is expected."""
        super().connection_made(transport)
        self._is_admitted = self._connections.admit(self._peer)
        if not self._is_admitted:
            transport.abort()
            return
        self._is_proxy = self._connections.is_proxy(self._peer)
        self._part = _Part.HEAD
        self._keep_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._is_admitted:
            self._connections.release(self._peer)
        self._part = _Part.NOTHING
        self._keep_time()
        self.pipeline.clear()
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        self._bytes += len(data)
        super().data_received(data)
        self._keep_time()
        if self._part is _Part.HEAD and self._bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._part is _Part.MESSAGE and self._bytes > MAX_MESSAGE_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Hear the first byte of a request."""
        super().on_message_begin()
        self._part = _Part.HEAD

    def on_headers_complete(self) -> None:
        """Have the head of a request."""
        self._part = _Part.MESSAGE
        head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._bytes = 0
        if self.transport.is_closing():
            return
        if head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif len(self.pipeline) >= MAX_PIPELINED:
            self.transport.abort()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Have a part of a body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Have the whole of a request."""
        self._part = _Part.NOTHING
        self._bytes = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, and read on only when none waits any more."""
        is_kept = self._is_proxy or PROVEN_KEY in self._answering.scope
        self.timeout_keep_alive = KEEP_ALIVE_SECONDS if is_kept else STRANGER_KEEP_ALIVE_SECONDS
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _keep_time(self) -> None:
        if self._timed_part is self._part:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed_part = self._part
        if self._part is not _Part.NOTHING:
            seconds = HEAD_SECONDS if self._part is _Part.HEAD else MESSAGE_SECONDS
            self._timer = self.loop.call_later(seconds, self._cut)

    def _cut(self) -> None:
        self._timer = None
        # An answer to an earlier request may be under way on the same connection: its end closes it.
        if self._part is _Part.MESSAGE or self._is_idle:
            self.transport.abort()

    @property
    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        return cycle is None or cycle.response_complete

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_idle:
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        else:
            self.transport.abort()


def protocol_within(connections: Connections) -> type[Protocol]:
    """The protocol of a server whose connections are counted together."""

    class Counted(Protocol):
        _connections = connections

    return Counted
