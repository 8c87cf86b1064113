"""The relay's ear: a connection that LISTENs, and a probe that proves it can hear.

A listening connection can die without a word (a cut cable, a firewall that forgot it, a pooler in between), and nothing
that is sent over it can tell. So every `PROBE_SECONDS` a NOTIFY goes out over *another* connection on a channel
of this listener's own; when one has not come back after `PROBE_DEADLINE_SECONDS`, the listener is deaf and is connected
anew. Nothing is lost meanwhile: the relay polls (I3).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import structlog

from core.cancellation import raise_if_cancelled
from core.transport import closed_transports_are_errors
from gateway.relay import metrics
from gateway.relay.held import DATABASE_ERRORS
from gateway.relay.wake import Wake

LOG_CHANNEL = "branchline_log"
PROBE_SECONDS = 0.5
PROBE_DEADLINE_SECONDS = 2.0
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 0.25
SELF_TEST_SECONDS = 3.0

Connect = Callable[[], Awaitable[Any]]
"""Opens a connection of asyncpg that is not pooled."""

Notify = Callable[[str], Awaitable[None]]
"""Sends an empty NOTIFY on a channel, over a connection that is not the listener's."""


log = structlog.get_logger()


class ListenRefusedError(Exception):
    """LISTEN does not work through the address that was given for it."""


class ListenerDeafError(Exception):
    """A probe did not come back in time, or the connection was closed."""


class Listener:
    """Wakes `wake` whenever somebody notifies of the log. `run` keeps it connected until cancelled.

    `connected`, `reconnects` and `probes_lost` say how it fares; `last_heard` is when the last probe came back, on
    time.monotonic.
    """

    def __init__(self, connect: Connect, notify: Notify, wake: Wake) -> None:
        self.connected = False
        self.reconnects = 0
        self.probes_lost = 0
        self.last_heard = 0.0
        self.last_error: str | None = None
        self._connect = connect
        self._notify = notify
        self._wake = wake

    async def self_test(self) -> None:
        """Prove that a NOTIFY reaches a LISTEN through these connections.

        Raises ListenRefusedError if it does not within `SELF_TEST_SECONDS`: a pooler in transaction mode takes a LISTEN
        and forgets it, another database never hears. Errors of the connection itself are raised as they are.
        """
        async with self._listening() as ear:
            await self._notify(ear.channel)
            try:
                async with asyncio.timeout(SELF_TEST_SECONDS):
                    await ear.heard.wait()
            except TimeoutError:
                raise ListenRefusedError(
                    "LISTEN does not work through this address: a notification that was sent did not arrive within "
                    f"{SELF_TEST_SECONDS:g} s; a pooler in transaction mode or another database are the usual reasons"
                ) from None

    async def run(self) -> None:
        """Listen until cancelled; connect anew whenever the connection ends or a probe is lost."""
        while True:
            try:
                with closed_transports_are_errors():
                    async with self._listening() as ear:
                        self.connected, self.last_error = True, None
                        self._wake.wake("listen")
                        await self._probe(ear)
            except (*DATABASE_ERRORS, ListenerDeafError) as error:
                raise_if_cancelled()
                self.last_error = repr(error)
                log.warning("listener_lost", error=self.last_error)
            finally:
                self.connected = False
            self.reconnects += 1
            await asyncio.sleep(RETRY_SECONDS)

    @contextlib.asynccontextmanager
    async def _listening(self) -> "AsyncIterator[_Ear]":
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self._connect()
        ear = _Ear(connection, self._wake)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.add_listener(LOG_CHANNEL, ear.on_log)
                await connection.add_listener(ear.channel, ear.on_probe)
            yield ear
        finally:
            connection.terminate()

    async def _probe(self, ear: "_Ear") -> None:
        while True:
            ear.heard.clear()
            try:
                async with asyncio.timeout(PROBE_DEADLINE_SECONDS):
                    await self._notify(ear.channel)
            except DATABASE_ERRORS as error:
                raise_if_cancelled()
                log.warning("probe_not_sent", error=repr(error))
            else:
                await self._hear(ear)
            await ear.wait_closed(PROBE_SECONDS)

    async def _hear(self, ear: "_Ear") -> None:
        try:
            async with asyncio.timeout(PROBE_DEADLINE_SECONDS):
                await ear.heard.wait()
        except TimeoutError:
            self.probes_lost += 1
            metrics.listener_losses.labels("deaf").inc()
            raise ListenerDeafError(f"a probe was not heard within {PROBE_DEADLINE_SECONDS:g} s") from None
        ear.check()
        self.last_heard = time.monotonic()


class _Ear:
    """One listening connection: what it hears, and whether it was closed."""

    def __init__(self, connection: Any, wake: Wake) -> None:
        self.channel = f"branchline_probe_{uuid4().hex[:12]}"
        self.heard = asyncio.Event()
        self._closed = asyncio.Event()
        self._wake = wake
        connection.add_termination_listener(self._on_closed)

    def on_log(self, *_: object) -> None:
        self._wake.wake("notify")

    def on_probe(self, *_: object) -> None:
        self.heard.set()

    def _on_closed(self, *_: object) -> None:
        self._closed.set()
        self.heard.set()

    def check(self) -> None:
        """Raise ListenerDeafError if the connection is closed."""
        if self._closed.is_set():
            metrics.listener_losses.labels("closed").inc()
            raise ListenerDeafError("the connection was closed")

    async def wait_closed(self, seconds: float) -> None:
        """Wait `seconds`; raise ListenerDeafError as soon as the connection is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
        self.check()
