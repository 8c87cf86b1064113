"""Whether the API is fit to serve: looked at once a second, so that a question costs nothing and never hangs.

Without PostgreSQL or a catalogue there is nothing to serve. Without Redis everything but one-time tickets
works, and deliveries take the longer way: that is degraded, not unready.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from api.commit import Committer
from core.cancellation import raise_if_cancelled
from core.catalogue import CatalogueWatcher
from core.database import Pool
from core.queries import load
from core.status_server import Readiness

PROBE_SECONDS = 1.0
DEADLINE_SECONDS = 2.0
CATALOGUE_LIMIT_SECONDS = 30.0

_queries = load("api", "queries.sql")


class Health:
    """Probes what the API leans on; `run()` is its task, `readiness()` what was seen last."""

    def __init__(self, pool: Pool, redis: "Redis", watcher: CatalogueWatcher, committer: Committer) -> None:
        self._pool = pool
        self._redis = redis
        self._watcher = watcher
        self._committer = committer
        self._seen: dict[str, str | None] = {"database": "not looked at yet", "redis": "not looked at yet"}
        self.stopping = False

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_SECONDS)

    async def probe(self) -> None:
        """Look at each dependency once, all at the same time."""
        await asyncio.gather(
            self._look("database", lambda: self._pool.fetchval(_queries.ping, timeout=DEADLINE_SECONDS)),
            self._look("redis", lambda: self._redis.ping()),
        )

    def readiness(self) -> Readiness:
        """What was seen last, without any I/O."""
        now = asyncio.get_running_loop().time()
        age = None if self._watcher.read_at is None else now - self._watcher.read_at
        catalogue_ready = age is not None and age < CATALOGUE_LIMIT_SECONDS
        committed_at = self._committer.committed_at
        database = self._entry("database")
        return Readiness(
            ready=bool(database["ready"]) and catalogue_ready and not self.stopping,
            dependencies={
                "database": database,
                "redis": self._entry("redis"),
                "catalogue": {
                    "ready": catalogue_ready,
                    "collections": len(self._watcher.current.collections),
                    "age_ms": None if age is None else int(age * 1000),
                },
            },
            details={
                "degraded": self._seen["redis"] is not None,
                "stopping": self.stopping,
                "mutations_waiting": self._committer.waiting,
                "last_commit_ms_ago": None if committed_at is None else int((now - committed_at) * 1000),
            },
        )

    def _entry(self, name: str) -> dict[str, Any]:
        error = self._seen[name]
        return {"ready": True} if error is None else {"ready": False, "error": error}

    async def _look(self, name: str, ask: Callable[[], Awaitable[Any]]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await ask()
        except Exception as error:  # noqa: BLE001 - the boundary of a probe: any failure is its finding
            raise_if_cancelled()
            # The class alone: messages may quote an address with a password.
            self._seen[name] = type(error).__name__
        else:
            self._seen[name] = None
