"""Hands publications to Redis, in order, over one connection; and has Redis remember how far they went.

That memory decides nothing but one question: has the database been set back to a copy from before? It lives outside of
the database, so it is not set back with it.
"""

import asyncio
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.cancellation import raise_if_cancelled
from core.transport import closed_transports_are_errors

PUBLISH_SECONDS = 2.0
"""How long Redis may take to accept `PIPELINE_BYTES`."""
CONNECT_SECONDS = 1.0
PIPELINE_BYTES = 1024 * 1024

REMEMBERED_SECONDS = 90 * 24 * 3600

PUBLISH_ERRORS = (RedisError, OSError, TimeoutError)

Message = tuple[str, bytes]
"""A channel and what is published on it."""


def connect(url: str) -> Redis:
    """A client of the Redis at `url` that tries once: the relay knows better when to try again."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PUBLISH_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        client_name="branchline-relay",
    )


class Publisher:
    """Publishes messages. One caller at a time, so that they arrive in the order in which they were given."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish `messages` in order. Raises one of PUBLISH_ERRORS; then any of them may have arrived, or none."""
        pipeline = self._redis.pipeline(transaction=False)
        for channel, body in messages:
            pipeline.execute_command("PUBLISH", channel, body)
        with closed_transports_are_errors():
            async with asyncio.timeout(PUBLISH_SECONDS):
                await pipeline.execute()
        raise_if_cancelled()

    async def remember(self, shard: int, epoch: str, offsets: Mapping[str, int]) -> None:
        """Have Redis remember published offsets, by organisation. Raises one of PUBLISH_ERRORS."""
        key = _memory(shard, epoch)
        pipeline = self._redis.pipeline(transaction=False)
        for organization_id, offset in offsets.items():
            pipeline.hset(key, organization_id, offset)
        pipeline.expire(key, REMEMBERED_SECONDS)
        with closed_transports_are_errors():
            async with asyncio.timeout(PUBLISH_SECONDS):
                await pipeline.execute()
        raise_if_cancelled()

    async def recall(self, shard: int, epoch: str) -> dict[str, int]:
        """What Redis remembers of this epoch: nothing, if it was away or emptied. Raises one of PUBLISH_ERRORS."""
        with closed_transports_are_errors():
            async with asyncio.timeout(PUBLISH_SECONDS):
                found = await self._redis.hgetall(_memory(shard, epoch))
        return {_text(organization_id): int(offset) for organization_id, offset in found.items()}

    async def ping(self) -> None:
        """Ask whether Redis answers. Raises one of PUBLISH_ERRORS."""
        with closed_transports_are_errors():
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._redis.ping()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _memory(shard: int, epoch: str) -> str:
    return f"branchline:published:{shard}:{epoch}"


def pipelines(messages: Sequence[Message]) -> list[list[Message]]:
    """Cut messages into lots of about `PIPELINE_BYTES`, each small enough for the publisher's deadline."""
    lots: list[list[Message]] = []
    used = PIPELINE_BYTES
    for message in messages:
        if used >= PIPELINE_BYTES:
            lots.append([])
            used = 0
        lots[-1].append(message)
        used += len(message[1])
    return lots
