"""A TCP proxy that misbehaves on demand: latency, silence, resets, connections of which one half is gone."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK_BYTES = 65536

Pair = tuple[asyncio.StreamWriter, asyncio.StreamWriter]
"""The client's end of a connection and the server's."""

Filter = Callable[[bytes], bytes]
"""What becomes of bytes on their way; one is made for each connection."""


class Proxy:
    """Forwards to `port` of this machine from a port of its own while it is entered.

    `latency_seconds` delays what is forwarded from now on. `connections` counts those that were ever opened. Faults
    strike only connections whose client has said `only`, if that is given: a name in PostgreSQL's first message, say.
    """

    def __init__(self, port: int, *, answers: Callable[[], Filter] | None = None, only: bytes = b"") -> None:
        self.latency_seconds = 0.0
        self.connections = 0
        self._target = port
        self._answers = answers
        self._only = only
        self._open = asyncio.Event()
        self._open.set()
        self._all: set[Pair] = set()
        self._pairs: set[Pair] = set()
        self._halves: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._pairs |= self._all
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def black_hole(self) -> None:
        """Swallow everything, both ways, without a word: no FIN, no RST; new connections are taken and ignored."""
        self._open.clear()

    def heal(self) -> None:
        """Forward again; what was swallowed in connections that are still there arrives now, as TCP would have it."""
        self._open.set()

    def reset(self) -> None:
        """Cut all connections with a RST to both ends."""
        for pair in list(self._pairs):
            for writer in pair:
                _reset(writer)
        self._pairs.clear()

    def half_open(self) -> None:
        """Cut the server's end of all connections; the client's stay open and silent."""
        for pair in list(self._pairs):
            self._halves.add(pair)
            _reset(pair[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError), contextlib.closing(writer):
            # Closed also where nobody listens: a client is not left with half a connection.
            if not self._only:
                await self._open.wait()
            server_reader, server_writer = await asyncio.open_connection(HOST, self._target)
            pair = (writer, server_writer)
            self._all.add(pair)
            if not self._only:
                self._pairs.add(pair)
            upstream = asyncio.ensure_future(self._forward(pair, reader, server_writer, self._mark(pair)))
            downstream = asyncio.ensure_future(
                self._forward(pair, server_reader, writer, self._answers() if self._answers else bytes)
            )
            try:
                await asyncio.wait((upstream, downstream), return_when=asyncio.FIRST_COMPLETED)
                if pair in self._halves:
                    # One half was cut on purpose: the other must not notice.
                    await asyncio.wait((upstream, downstream))
            finally:
                for each in (upstream, downstream):
                    each.cancel()
                for known in (self._all, self._pairs, self._halves):
                    known.discard(pair)
                for end in pair:
                    end.close()

    def _mark(self, pair: Pair) -> Filter:
        """Passes everything on, and makes a connection one that faults strike when its client says so."""

        def look(data: bytes) -> bytes:
            if self._only and self._only in data:
                self._pairs.add(pair)
            return data

        return look

    async def _forward(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Filter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                changed = change(data)
                if pair in self._pairs or pair in self._halves:
                    if self.latency_seconds:
                        await asyncio.sleep(self.latency_seconds)
                    await self._open.wait()
                if writer.is_closing():
                    continue
                writer.write(changed)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        # Linger for no time at all: the kernel sends RST in place of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def swallow_notifications() -> Filter:
    """Drop PostgreSQL's notifications from a server's answers: LISTEN succeeds and nothing is ever heard.

    So does a pooler in transaction mode behave, which gives the next transaction another connection.
    """
    kept = bytearray()
    began = False

    def change(data: bytes) -> bytes:
        nonlocal began
        if not began:
            began = True
            if data == b"N":
                # The answer to "may we speak TLS?" is a bare letter.
                return data
        kept.extend(data)
        out = bytearray()
        while len(kept) >= 5:
            size = 1 + int.from_bytes(kept[1:5])
            if len(kept) < size:
                break
            if kept[0] != ord("A"):
                out += kept[:size]
            del kept[:size]
        return bytes(out)

    return change
