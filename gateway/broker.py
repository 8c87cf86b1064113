"""Redis, as far as a gateway hears from it: publications and heartbeats, over one connection of its own.

A redis client that reconnects by itself resubscribes in silence, and whatever was published meanwhile is gone. Here
a broken connection is given up: another one is made, everything is subscribed to again, and each acknowledgement is
reported, so that whoever listens can ask the log what they missed.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.metrics import Metrics

CONNECT_SECONDS = 2.0
CONNECTIONS = 32
READ_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

BROKER_ERRORS = (RedisError, OSError, TimeoutError)

_log = structlog.get_logger()


def connect(url: str) -> Redis:
    """A client of the Redis at `url` that tries once: the gateway knows better when to try again."""
    # Who comes when all connections are in use waits for one, as in a storm of tickets; the usual pool refuses them.
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=CONNECT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        client_name="branchline-gateway",
    )
    return Redis.from_pool(pool)


class Broker:
    """Keeps channels subscribed to, `channel` from the first moment on.

    `on_message(channel, data)` is called for each message, `on_subscribed(channel)` for each acknowledgement, the
    first and every later one, both from the reading task and without waiting.
    """

    def __init__(
        self,
        redis: Redis,
        metrics: Metrics,
        *,
        channel: str,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
    ) -> None:
        self._redis = redis
        self._metrics = metrics
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._channels = {channel}
        self._pubsub: PubSub | None = None
        self._renewal = asyncio.Event()
        self.error: str | None = "not connected yet"
        """Why there is no connection at the moment."""

    async def run(self) -> None:
        """Hold a connection until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._listen()
                pause = FIRST_PAUSE_SECONDS
            except BROKER_ERRORS as error:
                if self.error is None:
                    _log.warning("broker.lost", error=type(error).__name__)
                    pause = FIRST_PAUSE_SECONDS
                self.error = type(error).__name__
                _heed_cancellation()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def subscribe(self, channel: str) -> None:
        """Subscribe to a channel, now if there is a connection, else as soon as there is one."""
        self._channels.add(channel)
        if self._pubsub is not None:
            try:
                await self._pubsub.subscribe(channel)
            except BROKER_ERRORS:
                self.renew()

    async def unsubscribe(self, channel: str) -> None:
        """Hear no more of a channel."""
        self._channels.discard(channel)
        if self._pubsub is not None:
            try:
                await self._pubsub.unsubscribe(channel)
            except BROKER_ERRORS:
                self.renew()

    def renew(self) -> None:
        """Give the connection up and make another: it is silent, and it may be dead."""
        self._renewal.set()

    async def _listen(self) -> None:
        self._renewal.clear()
        pubsub = self._redis.pubsub()
        try:
            channels = sorted(self._channels)
            for start in range(0, len(channels), 500):
                await pubsub.subscribe(*channels[start : start + 500])
            self._pubsub = pubsub
            # Those that were added while the others were being subscribed to.
            missing = self._channels.difference(channels)
            if missing:
                await pubsub.subscribe(*missing)
            self._metrics.redis_connects += 1
            while not self._renewal.is_set():
                _heed_cancellation()
                message = await pubsub.get_message(timeout=READ_SECONDS)
                if message is not None:
                    self._take(message)
        finally:
            self._pubsub = None
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    def _take(self, message: dict[str, Any]) -> None:
        self.error = None
        match message["type"]:
            case "message":
                self._on_message(message["channel"].decode(), message["data"])
            case "subscribe":
                self._on_subscribed(message["channel"].decode())
            case _:
                pass


def _heed_cancellation() -> None:
    """Raise CancelledError if this task was cancelled: the client makes an error of its own of some cancellations."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
