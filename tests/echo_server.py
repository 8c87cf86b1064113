"""The gateway's shell with an echo in the place of its application: what conformance suites and shell tests talk to.

`python -m tests.echo_server PORT` serves until it is killed, with the message limit raised to 16 MiB.
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from gateway.connection import Connection, Rules
from gateway.options import Options
from gateway.sweep import Sweep

CONFORMANCE = Options(
    subprotocol=None,
    message_bytes=16 * 1024 * 1024,
    frames_per_second=0,
    unsent_bytes=64 * 1024 * 1024,
    drain_seconds=60,
)


class EchoConnection(Connection):
    """A connection that takes binary messages too, for the suites that send them, and echoes them as binary."""

    __slots__ = ("_is_binary",)

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._is_binary = True
            self._part(frame)
        else:
            if frame.opcode is Opcode.TEXT:
                self._is_binary = False
            super()._take(frame)

    def _message(self, data: bytes) -> None:
        if self._is_binary:
            self.write(Frame(Opcode.BINARY, data).serialize(mask=False))
        else:
            super()._message(data)


class Echo:
    """An application that sends every message back and remembers what happened to its connections."""

    def __init__(self, options: Options, connection_class: type[Connection] = Connection) -> None:
        self.options = options
        self._connection_class = connection_class
        self.connections: list[Connection] = []
        self.received_texts: list[str] = []
        self.events: list[str] = []
        self.happened = asyncio.Event()
        self.sweep = Sweep(
            options,
            unauthenticated=lambda connection: not self.received_texts,
            too_late=lambda connection: connection.close(4501),
            too_slow=lambda connection: connection.close(4008),
            visit=lambda connection: self._note("visited"),
        )

    def make_connection(self) -> Connection:
        rules = Rules(
            origins=None,
            subprotocol=self.options.subprotocol,
            max_message_bytes=self.options.message_bytes,
            frames_per_second=self.options.frames_per_second,
            logger=logging.getLogger("echo"),
        )
        return self._connection_class(self, self.sweep, rules)

    async def wait_for(self, event: str) -> None:
        """Wait until something has happened."""
        async with asyncio.timeout(20):
            while event not in self.events:
                self.happened.clear()
                await self.happened.wait()

    def requested(self, connection: Connection, request: Request) -> None:
        response = connection.judge(request)
        if response.status_code == 101:
            connection.set_unsent_limit(self.options.unsent_bytes)
            self.connections.append(connection)
            self.sweep.opened(connection)
        connection.respond(response)

    def received(self, connection: Connection, text: str) -> None:
        self.received_texts.append(text)
        connection.write(Frame(Opcode.TEXT, text.encode()).serialize(mask=False))
        self._note("received")

    def slowed(self, connection: Connection) -> None:
        self.sweep.slowed(connection)
        self._note("slowed")

    def drained(self, connection: Connection) -> None:
        self.sweep.drained(connection)
        self._note("drained")

    def left(self, connection: Connection) -> None:
        self._note(f"left {connection.close_code}")

    def lost(self, connection: Connection) -> None:
        self._note("lost")

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.happened.set()


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: branchline.v1\r\n\r\n"
)


@asynccontextmanager
async def raw_socket(
    port: int, said: bytes, limit: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare TCP connection that has said something. Its kernel buffer is small, so that what is not read is seen."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=small, limit=limit)
    try:
        writer.write(said)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def run_echo(
    options: Options, port: int = 0, connection_class: type[Connection] = Connection
) -> AsyncIterator[tuple[Echo, int]]:
    """Serve an echo on a port of this machine, a free one for 0; give it and the port."""
    echo = Echo(options, connection_class)
    echo.sweep.start()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.socket_buffer_bytes)
    listening.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(echo.make_connection, sock=listening)
    try:
        yield echo, listening.getsockname()[1]
    finally:
        server.close()
        for connection in echo.connections:
            if not connection.is_gone:
                connection.abort()
        echo.sweep.stop()


async def _serve(port: int) -> Any:
    async with run_echo(CONFORMANCE, port, EchoConnection):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
