"""One socket: sends at the pace that the gateway allows, and finds out when the other end has gone."""

import asyncio
from collections import deque
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from branchline_client.codes import CloseReaction, reaction_to_close, reaction_to_handshake

SUBPROTOCOL = Subprotocol("branchline.v1")
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
SILENCE_SECONDS = 12.0
"""Nothing heard for so long: the line is dead. The gateway says something every 10 s."""
CLOSE_SECONDS = 1.0

_WATCH_SECONDS = 0.5


class OpenError(Exception):
    """The socket did not open. `status` is the HTTP answer's, None if there was none."""

    def __init__(self, reaction: CloseReaction, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reaction = reaction
        self.reason = reason
        self.status = status


class LineClosedError(Exception):
    """The socket has closed. `code` is None where there was no close frame."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.reaction: CloseReaction = reaction_to_close(code)


class SilentError(Exception):
    """Nothing was heard for too long."""


class Line:
    """An open socket. `run` gives what it hears to a callback until it ends."""

    def __init__(self, socket: ClientConnection, ping: Callable[[], bytes], silence_seconds: float) -> None:
        self._socket = socket
        self._ping = ping
        self._silence_seconds = silence_seconds
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._is_silent = False
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._per_second = 0.0
        self._allowance = 0.0
        self._filled_at = self._loop.time()

    @classmethod
    async def open(
        cls, url: str, ping: Callable[[], bytes], *, silence_seconds: float = SILENCE_SECONDS
    ) -> "Line":
        """Open a socket. Raises OpenError."""
        try:
            socket = await connect(
                url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                ping_interval=None,
                open_timeout=None,
                close_timeout=CLOSE_SECONDS,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise OpenError(reaction_to_handshake(status), f"HTTP {status}", status) from error
        except InvalidURI as error:
            raise OpenError("stop", str(error)) from error
        except (OSError, InvalidHandshake, EOFError) as error:
            raise OpenError("reconnect", str(error)) from error
        return cls(socket, ping, silence_seconds)

    def pace(self, messages_per_second: int) -> None:
        """Keep below half of what a person's sockets may send together; 0 is no limit."""
        self._per_second = messages_per_second / 2
        self._allowance = max(1.0, self._per_second)
        self._filled_at = self._loop.time()

    def send(self, message: bytes) -> None:
        """Send a message, now or when its turn comes."""
        self._waiting.append(message)
        self._news.set()

    async def run(self, hear: Callable[[bytes], None]) -> None:
        """Hear and send until the socket ends. Raises LineClosedError, SilentError, and what `hear` raises."""
        tasks = [
            asyncio.create_task(self._read(hear), name="branchline read"),
            asyncio.create_task(self._write(), name="branchline write"),
            asyncio.create_task(self._watch(), name="branchline watch"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ConnectionClosed as closed:
            if self._is_silent:
                raise SilentError from closed
            received = closed.rcvd
            raise LineClosedError(
                None if received is None else received.code, "" if received is None else received.reason
            ) from closed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Say goodbye and close; a peer that does not answer has one second."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """End at once."""
        self._socket.transport.abort()

    async def _read(self, hear: Callable[[bytes], None]) -> None:
        while True:
            message = await self._socket.recv(decode=False)
            self._heard_at = self._loop.time()
            hear(message)

    async def _write(self) -> None:
        while True:
            while self._waiting:
                await self._wait_turn()
                await self._socket.send(self._waiting.popleft(), text=True)
            self._news.clear()
            await self._news.wait()

    async def _wait_turn(self) -> None:
        if not self._per_second:
            return
        now = self._loop.time()
        burst = max(1.0, self._per_second)
        self._allowance = min(burst, self._allowance + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        self._allowance -= 1
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / self._per_second)

    async def _watch(self) -> None:
        """Ask after half of the time; end the socket when no answer has come in the other half."""
        half = self._silence_seconds / 2
        period = min(_WATCH_SECONDS, half / 8)
        asked_at: float | None = None
        watched_at = self._loop.time()
        while True:
            await asyncio.sleep(period)
            now = self._loop.time()
            stood_still = now - watched_at > period + half / 2
            watched_at = now
            if asked_at is not None and self._heard_at >= asked_at:
                asked_at = None
            if asked_at is not None and stood_still:
                # This program stood still, or the machine slept: the answer may have come and is still unread.
                asked_at = now
            elif asked_at is not None and now - asked_at >= half:
                self._is_silent = True
                self.abort()
            elif asked_at is None and now - self._heard_at >= half:
                asked_at = now
                self._waiting.appendleft(self._ping())
                self._news.set()
