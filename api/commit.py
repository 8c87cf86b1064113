"""The one way in: mutations queue while a commit is in flight, and the next commit takes them all.

No timer: an idle system commits at once, a loaded one amortises its commits over many writers. Single writes and pushes
of many queue apart and are committed beside each other, so that a person does not wait for somebody's week offline.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import structlog

from core.cancellation import raise_if_cancelled
from core.database import AWAY_ERRORS, Pool
from core.principal import Principal
from core.protocol.collection import Catalogue
from core.protocol.mutation import Mode, Mutation, Result
from core.queries import load

BATCH_LIMIT = 256
"""Mutations in one transaction: above it a batch gains little and its neighbours wait longer."""
PUSH_LANES = 2
"""Transactions of pushes beside each other: while one waits for the disk, or for PostgreSQL, another one works."""
QUEUE_LIMIT = 20_000
"""Mutations that wait; beyond it a write is refused rather than promised (I10)."""
ATTEMPTS = 5
CALM_SECONDS = 0.02
"""After so long without a commit a transaction wakes the relay itself: the way is shorter by a round trip. In a busy
system that would have commits wait for each other, so there a NOTIFY of its own follows them."""

_queries = load("api", "commit.sql")
_log = structlog.get_logger()

_TRANSIENT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,  # the same mutation was committed by another process at this moment
    asyncpg.LockNotAvailableError,
)
_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CannotConnectNowError,
)


_PASSING = (*_TRANSIENT, *AWAY_ERRORS)
"""Errors after which a repeat has a chance."""


class OverloadedError(Exception):
    """Too many mutations wait already; nothing was written. Try again later."""


class UnavailableError(Exception):
    """The database could not be reached, or refused the transaction for a reason of its own.

    Whether the mutation was written is unknown; sent again with the same id it takes effect at most once (I6).
    """


@dataclass(slots=True)
class _Pending:
    element: dict[str, Any]
    key: tuple[str, str, str]
    future: asyncio.Future[Result]


class _Lane:
    """Mutations that wait for the same transactions."""

    def __init__(self) -> None:
        self.queue: deque[_Pending] = deque()
        self.news = asyncio.Event()

    def add(self, pending: Sequence[_Pending]) -> None:
        self.queue.extend(pending)
        self.news.set()

    def take(self) -> list[_Pending]:
        """The next batch. A mutation that is in it already waits for the next, so that its repeat finds the answer."""
        batch: list[_Pending] = []
        seen: set[tuple[str, str, str]] = set()
        while self.queue and len(batch) < BATCH_LIMIT and self.queue[0].key not in seen:
            pending = self.queue.popleft()
            seen.add(pending.key)
            pending.element["ordinal"] = len(batch)
            batch.append(pending)
        return batch


class Committer:
    """Writes mutations in batches, beside each other: single writes, and pushes in PUSH_LANES. `run()` is its task.

    Guarantees: each mutation is answered for itself, whatever its neighbours do; mutations of one call, and of one
    record, keep their order; after a lost connection a batch is sent again, and takes effect once.
    """

    def __init__(
        self,
        pool: Pool,
        catalogue: Callable[[], Catalogue],
        on_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        """`on_commit` is told each batch's size and seconds, for metrics."""
        self._pool = pool
        self._catalogue = catalogue
        self._on_commit = on_commit
        self._single = _Lane()
        self._pushed = [_Lane() for _ in range(PUSH_LANES)]
        self._wake = asyncio.Event()
        self.committed_at: float | None = None

    @property
    def waiting(self) -> int:
        """Mutations that no transaction has taken yet."""
        return sum(len(lane.queue) for lane in (self._single, *self._pushed))

    async def write(
        self,
        principal: Principal,
        mutations: Sequence[Mutation],
        *,
        unit: str,
        want_records: bool = True,
        asked: Any = None,
    ) -> list[Result]:
        """Write `mutations` as one unit of this principal; give their results in order.

        A repeat is known by its content: by `asked` (JSON values) where that is more than the mutation says, as of a
        restore, whose mutation depends on what is there. Raises OverloadedError before anything is written,
        UnavailableError when the outcome is unknown, and what the database says where it never can be written.
        """
        if self.waiting + len(mutations) > QUEUE_LIMIT:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        pending = [
            _Pending(
                self._element(principal, mutation, unit, want_records, asked),
                (principal.organization_id, principal.user_id, mutation.mutation_id),
                loop.create_future(),
            )
            for mutation in mutations
        ]
        self._lane(principal, len(pending)).add(pending)
        return list(await asyncio.gather(*(p.future for p in pending)))

    async def run(self) -> None:
        """Commit what comes, and wake the relay for each commit, until cancelled; then what waits is unavailable."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake_relay())
            for lane in (self._single, *self._pushed):
                tasks.create_task(self._run(lane))

    def _lane(self, principal: Principal, mutations: int) -> _Lane:
        """A person's pushes go one way, so that they keep their order and a repeat finds its first time."""
        if mutations == 1:
            return self._single
        return self._pushed[hash((principal.organization_id, principal.user_id)) % PUSH_LANES]

    async def _run(self, lane: _Lane) -> None:
        batch: list[_Pending] = []
        try:
            while True:
                await lane.news.wait()
                batch = lane.take()
                await self._commit(batch)
                batch = []
                if not lane.queue:
                    lane.news.clear()
        finally:
            for pending in (*batch, *lane.queue):
                if not pending.future.done():
                    pending.future.set_exception(UnavailableError("the API is stopping"))

    async def _commit(self, batch: list[_Pending]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        wakes = self.committed_at is None or started - self.committed_at > CALM_SECONDS
        try:
            rows = await self._attempt(batch, wakes)
        except Exception as error:  # noqa: BLE001 - the boundary of a batch: each of its writers is told
            raise_if_cancelled()
            if len(batch) > 1 and not isinstance(error, _LOST):
                # Something that the database blames on nobody; alone, only its cause fails.
                middle = len(batch) // 2
                for part in (batch[:middle], batch[middle:]):
                    for ordinal, pending in enumerate(part):
                        pending.element["ordinal"] = ordinal
                    await self._commit(part)
                return
            _log.error("commit.failed", error=type(error).__name__, mutations=len(batch))
            for pending in batch:
                if not pending.future.done():
                    pending.future.set_exception(
                        UnavailableError(type(error).__name__) if isinstance(error, _PASSING) else error
                    )
            return
        self.committed_at = loop.time()
        if not wakes:
            self._wake.set()
        if self._on_commit is not None:
            self._on_commit(len(batch), self.committed_at - started)
        for row in rows:
            pending = batch[row["ordinal"]]
            if not pending.future.done():  # its request may have gone
                pending.future.set_result(_result(pending.element["mutation_id"], row))

    async def _attempt(self, batch: list[_Pending], wakes: bool) -> list[asyncpg.Record]:
        """Run the transaction; again after what passes by itself. Sent twice, it still takes effect once (I6)."""
        text = orjson.dumps([p.element for p in batch]).decode()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._pool.fetch(_queries.write_mutations, text, wakes)
            except (*_TRANSIENT, *_LOST) as error:
                raise_if_cancelled()
                if attempt == ATTEMPTS:
                    raise
                _log.warning(
                    "commit.again", error=type(error).__name__, attempt=attempt, mutations=len(batch)
                )
                await asyncio.sleep(min(0.05 * 4 ** (attempt - 1), 1.5) if isinstance(error, _LOST) else 0)
        raise AssertionError("unreachable")

    async def _wake_relay(self) -> None:
        """Notify after commits: inside them NOTIFY serialises all commits. At most one is outstanding."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._pool.execute(_queries.wake)
            except (asyncpg.PostgresError, *_LOST) as error:
                raise_if_cancelled()
                # The relay polls as well: this costs latency, never a change (I3).
                _log.warning("wake.failed", error=type(error).__name__)

    def _element(
        self, principal: Principal, mutation: Mutation, unit: str, want_record: bool, asked: Any
    ) -> dict[str, Any]:
        return {
            "organization_id": principal.organization_id,
            "user_id": principal.user_id,
            "mutation_id": mutation.mutation_id,
            "collection": mutation.collection,
            "id": mutation.id,
            "operation": mutation.operation,
            "fields": mutation.fields,
            "base_version": mutation.base_version,
            "clock": mutation.clock,
            "mode": self._mode(mutation),
            "unit": unit,
            "fingerprint": fingerprint(mutation, asked),
            "want_record": want_record,
        }

    def _mode(self, mutation: Mutation) -> Mode:
        """As asked for; else strict if the writer names a version and touches a critical field."""
        if mutation.mode is not None:
            return mutation.mode
        collection = self._catalogue().collections.get(mutation.collection)
        if mutation.base_version is None or collection is None:
            return "merge"
        critical = any(f in collection.fields and collection.fields[f].critical for f in mutation.fields)
        return "strict" if critical else "merge"


def fingerprint(mutation: Mutation, asked: Any = None) -> str:
    """What a mutation asks for, as 32 hex digits: the same id with another one was reused (I6)."""
    content: list[Any] = [mutation.collection, mutation.id, mutation.base_version, mutation.mode]
    content += [mutation.operation, mutation.fields] if asked is None else [asked]
    return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _result(mutation_id: str, row: asyncpg.Record) -> Result:
    return Result(
        mutation_id=mutation_id,
        status=row["status"],
        version=row["version"],
        clock=row["clock"],
        record=row["record"].encode() if row["record"] is not None else None,
        lost=orjson.loads(row["lost"]) if row["lost"] is not None else None,
        first=orjson.loads(row["first"]) if row["first"] is not None else None,
        code=row["code"],
        detail=row["detail"],
    )
