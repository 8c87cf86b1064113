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

Filter = Callable[[bytes], bytes]
"""What becomes of bytes on their way; one is made for each connection."""


class Proxy:
    """Forwards to `port` of this machine from a port of its own while it is entered.

    `latency_seconds` delays what is forwarded from now on. `connections` counts those that were ever opened.
    """

    def __init__(self, port: int, *, answers: Callable[[], Filter] | None = None) -> None:
        self.latency_seconds = 0.0
        self.connections = 0
        self._target = port
        self._answers = answers
        self._open = asyncio.Event()
        self._open.set()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
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
        for client, server in list(self._pairs):
            _reset(server)
            self._pairs.discard((client, server))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            await self._open.wait()
            server_reader, server_writer = await asyncio.open_connection(HOST, self._target)
            pair = (writer, server_writer)
            self._pairs.add(pair)
            answers = self._answers() if self._answers else bytes
            upstream = asyncio.ensure_future(self._forward(reader, server_writer, bytes))
            downstream = asyncio.ensure_future(self._forward(server_reader, writer, answers))
            try:
                await asyncio.wait((upstream, downstream), return_when=asyncio.FIRST_COMPLETED)
                if pair not in self._pairs:
                    # One half was cut on purpose: the other must not notice.
                    await asyncio.wait((upstream, downstream))
            finally:
                for each in (upstream, downstream):
                    each.cancel()
                self._pairs.discard(pair)
                for end in pair:
                    end.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Filter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                await self._open.wait()
                if writer.is_closing():
                    continue
                writer.write(change(data))
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
