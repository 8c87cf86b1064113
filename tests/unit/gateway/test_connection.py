"""The shell around the WebSocket library: frames, closes, slowness and deadlines, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from core.protocol.codes import CloseCode
from gateway.connection import Stage
from gateway.options import Options
from tests.echo_server import HANDSHAKE, Echo, raw_socket, run_echo

OPTIONS = Options(subprotocol=None)


@contextlib.asynccontextmanager
async def echo(**options: object) -> AsyncIterator[tuple[Echo, ClientConnection]]:
    """An echo and one client of it."""
    async with (
        run_echo(replace(OPTIONS, **options)) as (running, port),  # type: ignore[arg-type]
        connect(f"ws://127.0.0.1:{port}/", compression=None, proxy=None, max_size=2**25) as client,
    ):
        try:
            yield running, client
        finally:
            # Not every test's client answers a close any more.
            client.transport.abort()


async def closed_with(client: ClientConnection) -> int | None:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def test_text_comes_back() -> None:
    async with echo() as (_, client):
        await client.send("é" * 100)
        assert await client.recv() == "é" * 100


async def test_a_message_in_fragments_is_one_message() -> None:
    async with echo() as (running, client):
        await client.send(["a", "", "bc"])
        assert await client.recv() == "abc"
        assert running.received_texts == ["abc"]


async def test_a_ping_amid_fragments_is_answered_first() -> None:
    async with echo() as (_, client):
        pong = await client.ping()
        await client.send("x")
        await client.recv()
        await asyncio.wait_for(pong, 5)


@pytest.mark.parametrize(
    "frame", [Frame(Opcode.PING, b""), Frame(Opcode.PONG, b""), Frame(Opcode.CONT, b"", fin=False)]
)
async def test_a_flood_of_frames_that_say_nothing_ends_the_connection(frame: Frame) -> None:
    """A quarter of a megabyte is fifty thousand such frames: they are parsed a few at a time, and no further."""
    async with echo(frames_per_second=20) as (running, client):
        if frame.opcode is Opcode.CONT:
            client.transport.write(Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=True))
        client.transport.write(frame.serialize(mask=True) * 50_000)
        assert await closed_with(client) in (CloseCode.RATE_EXCEEDED, 1006)
        await running.wait_for("lost")
        assert running.connections[0].close_code == CloseCode.RATE_EXCEEDED
        assert running.received_texts == []


@pytest.mark.parametrize("size", [65_536, 65_537])
async def test_a_message_over_the_limit_is_refused(size: int) -> None:
    async with echo() as (running, client):
        await client.send("x" * size)
        if size <= OPTIONS.message_bytes:
            assert len(await client.recv()) == size
        else:
            assert await closed_with(client) == 1009
            assert running.received_texts == []


async def test_fragments_over_the_limit_together_are_refused() -> None:
    async with echo() as (_, client):
        with contextlib.suppress(ConnectionClosed):
            await client.send("x" * 30_000 for _ in range(3))
        assert await closed_with(client) == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Opcode.BINARY, b"{}"), 1003),
        (Frame(Opcode.TEXT, b"\xff\xfe"), 1007),
        (Frame(Opcode.CONT, b"x"), 1002),
    ],
    ids=["binary", "not UTF-8", "a continuation of nothing"],
)
async def test_frames_that_break_the_protocol_fail_the_connection(frame: Frame, code: int) -> None:
    async with echo() as (running, client):
        client.transport.write(frame.serialize(mask=True))
        assert await closed_with(client) == code
        await running.wait_for(f"left {code}")
        await running.wait_for("lost")
        assert running.received_texts == []


async def test_a_close_is_answered_and_nothing_follows_it() -> None:
    async with echo() as (running, client):
        await client.close(1000)
        await running.wait_for("lost")
        assert running.events.count("left 1000") == 1
        [connection] = running.connections
        assert connection.stage is Stage.CLOSED
        connection.write(b"after the end")
        connection.close(1012)


async def test_a_message_before_a_close_in_the_same_bytes_is_taken_and_answered_before_it() -> None:
    async with echo() as (running, client):
        protocol = ClientProtocol(parse_uri("ws://x/"), state=client.protocol.state)
        protocol.send_text(b"last words")
        protocol.send_close(1000)
        client.transport.write(b"".join(protocol.data_to_send()))
        assert await client.recv() == "last words"
        assert await closed_with(client) == 1000
        assert running.events[:2] == ["received", "left 1000"]


async def test_a_peer_that_does_not_answer_a_close_is_cut_after_its_grace() -> None:
    async with echo(close_seconds=0.2) as (running, client):
        client.transport.pause_reading()
        running.connections[0].close(1012, "gone")
        assert running.events == ["left 1012"]
        running.connections[0].write(b"no data after a close frame")
        await running.wait_for("lost")


async def test_a_peer_that_vanishes_is_noticed() -> None:
    async with echo() as (running, client):
        client.transport.abort()
        await running.wait_for("left 1006")
        await running.wait_for("lost")


async def test_a_peer_that_does_not_read_is_slow_and_is_not_read_from() -> None:
    async with echo(unsent_bytes=64 * 1024) as (running, client):
        client.transport.pause_reading()
        [connection] = running.connections
        while not connection.is_slow:
            connection.write(Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=False))
        await running.wait_for("slowed")
        assert running.sweep.slow_count == 1
        await client.send("while slow")
        await asyncio.sleep(0)
        assert running.received_texts == []
        client.transport.resume_reading()
        await running.wait_for("drained")
        await running.wait_for("received")
        assert running.sweep.slow_count == 0


async def test_a_peer_that_stays_slow_is_closed() -> None:
    async with echo(unsent_bytes=64 * 1024, drain_seconds=0.3, close_seconds=0.2) as (running, client):
        client.transport.pause_reading()
        while not running.connections[0].is_slow:
            running.connections[0].write(Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=False))
        await running.wait_for("left 4008")
        await running.wait_for("lost")


async def test_a_slow_peer_that_reads_a_little_is_given_more_time() -> None:
    async with (
        run_echo(replace(OPTIONS, unsent_bytes=64 * 1024, drain_seconds=0.4)) as (running, port),
        raw_socket(port, HANDSHAKE, limit=16 * 1024) as (reader, _),
    ):
        await reader.readuntil(b"\r\n\r\n")
        [connection] = running.connections
        for _ in range(34):
            connection.write(Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=False))
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.5
        while loop.time() < until:
            for _ in range(2):
                await reader.read(16 * 1024)
            await asyncio.sleep(0.05)
        assert connection.is_slow
        assert connection.stage is Stage.OPEN
        # And one that has stopped altogether is not.
        await running.wait_for("left 4008")


async def test_an_answered_ping_keeps_a_connection() -> None:
    async with echo(ping_seconds=0.5) as (running, client):
        await client.send("hello")
        for _ in range(8):
            running.events.clear()
            await running.wait_for("visited")
        assert running.connections[0].stage is Stage.OPEN


async def test_a_ping_that_is_not_answered_ends_it() -> None:
    async with echo(ping_seconds=0.5) as (running, client):
        await client.send("hello")
        await running.wait_for("received")
        client.transport.pause_reading()
        await running.wait_for("left 1006")


async def test_who_says_nothing_is_closed() -> None:
    async with echo(authenticate_seconds=0.3) as (_, client):
        assert await closed_with(client) == 4501


async def test_a_request_that_drips_is_cut() -> None:
    async with (
        run_echo(replace(OPTIONS, handshake_seconds=0.3)) as (running, port),
        raw_socket(port, b"GET / HTTP/1.1\r\n") as (reader, _),
    ):
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        await running.wait_for("lost")


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/3\r\n\r\n"]
)
async def test_what_is_no_request_is_cut(said: bytes) -> None:
    async with run_echo(OPTIONS) as (running, port):
        async with raw_socket(port, said) as (reader, _), asyncio.timeout(5):
            assert await reader.read() == b""
        await running.wait_for("lost")


async def test_a_reason_is_cut_to_what_a_close_frame_holds() -> None:
    async with echo() as (running, client):
        running.connections[0].close(4502, "é" * 200)
        assert await closed_with(client) == 4502
        assert client.close_reason is not None
        assert len(client.close_reason.encode()) <= 123
