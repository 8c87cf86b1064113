"""One socket: silence is found, quiet is not taken for it, and the gateway's pace is kept."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from branchline_client import message as messages
from branchline_client.line import Line, LineClosedError, OpenError, SilentError

Script = Callable[[ServerConnection], Awaitable[None]]


class Gateway:
    """A gateway that does what a test says."""

    def __init__(self) -> None:
        self.script: Script = self.answer_pings
        self.heard: list[dict[str, Any]] = []
        self.url = ""

    async def answer_pings(self, socket: ServerConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            self.heard.append(message)
            if message["type"] == "ping":
                await socket.send(
                    json.dumps({"type": "pong", "sent_at_ms": message["sent_at_ms"], "server_time_ms": 1})
                )

    async def handle(self, socket: ServerConnection) -> None:
        await self.script(socket)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    async with serve(gateway.handle, "127.0.0.1", 0, subprotocols=[Subprotocol("branchline.v1")]) as server:
        gateway.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        yield gateway


def ping() -> bytes:
    return messages.ping(7)


async def test_silence_is_found_after_asking(gateway: Gateway) -> None:
    async def deaf(socket: ServerConnection) -> None:
        async for text in socket:
            gateway.heard.append(json.loads(text))

    gateway.script = deaf
    line = await Line.open(gateway.url, ping, silence_seconds=0.4)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(SilentError):
        await line.run(lambda data: None)
    assert 0.35 <= loop.time() - began < 2
    assert [each["type"] for each in gateway.heard] == ["ping"]


async def test_quiet_is_not_silence(gateway: Gateway) -> None:
    line = await Line.open(gateway.url, ping, silence_seconds=0.4)
    heard: list[bytes] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await line.run(heard.append)
    assert len(heard) >= 3
    await line.close()


async def test_a_program_that_stood_still_reads_before_it_judges(gateway: Gateway) -> None:
    line = await Line.open(gateway.url, ping, silence_seconds=0.4)
    running = asyncio.ensure_future(line.run(lambda data: None))
    while not gateway.heard:
        await asyncio.sleep(0.01)
    time.sleep(1.0)  # noqa: ASYNC251 - to stand still is what is tested
    await asyncio.sleep(0.3)
    assert not running.done()
    running.cancel()
    await line.close()


async def test_a_close_says_its_code_and_reason(gateway: Gateway) -> None:
    async def leave(socket: ServerConnection) -> None:
        await socket.close(4008, "too slow")

    gateway.script = leave
    line = await Line.open(gateway.url, ping)
    with pytest.raises(LineClosedError) as closed:
        await line.run(lambda data: None)
    assert (closed.value.code, closed.value.reason, closed.value.reaction) == (4008, "too slow", "reconnect")


async def test_a_broken_line_has_no_code(gateway: Gateway) -> None:
    async def die(socket: ServerConnection) -> None:
        socket.transport.abort()

    gateway.script = die
    line = await Line.open(gateway.url, ping)
    with pytest.raises(LineClosedError) as closed:
        await line.run(lambda data: None)
    assert (closed.value.code, closed.value.reaction) == (None, "reconnect")


async def test_messages_keep_the_gateways_pace(gateway: Gateway) -> None:
    line = await Line.open(gateway.url, ping)
    running = asyncio.ensure_future(line.run(lambda data: None))
    line.pace(40)
    for number in range(30):
        line.send(messages.subscribe(number, "leads", None))
    loop = asyncio.get_running_loop()
    began = loop.time()
    while len(gateway.heard) < 30:
        await asyncio.sleep(0.01)
    # A burst of 20, then 20 a second: half of what the person's sockets share.
    assert loop.time() - began >= 0.45
    assert [each["id"] for each in gateway.heard] == list(range(30))
    running.cancel()
    await line.close()


async def test_a_socket_that_does_not_open_says_what_helps(gateway: Gateway) -> None:
    with pytest.raises(OpenError) as refused:
        await Line.open("ws://127.0.0.1:9/ws", ping)
    assert (refused.value.reaction, refused.value.status) == ("reconnect", None)
    with pytest.raises(OpenError) as wrong:
        await Line.open("http://127.0.0.1:9/ws", ping)
    assert wrong.value.reaction == "stop"
