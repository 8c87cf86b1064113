"""When each session was last used, and from where: kept in Redis with a time to live, beside what PostgreSQL has.

PostgreSQL decides whether a session is in force; a Redis that was flushed forgets no end of one, only that it was used
since its last refresh. So a use costs a look into a dictionary, and once a minute a share of one message to Redis.
"""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

NOTE_SECONDS = 60.0
FLUSH_SECONDS = 1.0
_MOST_REMEMBERED = 50_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Use:
    """A session's last use, in Unix milliseconds, and the address that it came from."""

    at_ms: int
    address: str


class SessionUse:
    """Notes uses and looks them up. `run` writes down what was noted."""

    def __init__(self, redis: Redis, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds
        self._noted: dict[str, float] = {}
        self._waiting: dict[str, Use] = {}

    def note(self, session_id: str, address: str) -> None:
        """Note a use; one a minute of a session is written down."""
        now = time.monotonic()
        if now - self._noted.get(session_id, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        if len(self._noted) >= _MOST_REMEMBERED:
            self._noted.clear()
        self._noted[session_id] = now
        self._waiting[session_id] = Use(int(time.time() * 1000), address)

    async def run(self) -> None:
        """Write down what was noted, until cancelled. What Redis does not take is lost: the next use is noted again."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if self._waiting:
                await self._flush()

    async def fetch(self, session_ids: Collection[str]) -> dict[str, Use]:
        """Give the last uses that are known, by session; none while Redis is away."""
        ids = list(session_ids)
        try:
            found = await self._redis.mget([_key(each) for each in ids]) if ids else []
        except (RedisError, OSError):
            return {}
        return {
            each: Use(*orjson.loads(value))
            for each, value in zip(ids, found, strict=True)
            if value is not None
        }

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for session_id, use in waiting.items():
                    value = orjson.dumps([use.at_ms, use.address])
                    pipeline.set(_key(session_id), value, ex=self._keep_seconds)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            _log.warning("sessions.use_not_noted", error=type(error).__name__, count=len(waiting))


def _key(session_id: str) -> str:
    return f"branchline:session:{session_id}"
