"""Pushes queued writes: one request at a time, in order, until each has its answer."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

import orjson

from branchline_client.api import Api
from branchline_client.backoff import RetryPolicy
from branchline_client.errors import ApiError, MalformedMessageError, NeedsAuthError, UnreachableError
from branchline_client.mutation import Mutation
from branchline_client.queue import Pending
from branchline_client.writer import Writer

BATCH_WRITES = 1_000
BATCH_BYTES = 900_000
"""The API takes bodies up to 1 MiB."""

_AWAY = frozenset({404, 405, 408, 425, 429, 502, 503, 504})
"""Answers that say nothing of a write: the server, or this part of it, is not there just now."""

_log = logging.getLogger("branchline_client")


class Pusher:
    """Sends what the writer has. `may_push` says whether somebody is signed in; `identify` makes sure who."""

    def __init__(
        self,
        writer: Writer,
        api: Api,
        policy: RetryPolicy,
        *,
        may_push: Callable[[], bool],
        identify: Callable[[], Awaitable[bool]],
        pushed: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._api = api
        self._policy = policy
        self._may_push = may_push
        self._identify = identify
        self._pushed = pushed
        self._kick = asyncio.Event()
        self._limit = BATCH_WRITES
        self._failures = 0

    def kick(self, *, afresh: bool = False) -> None:
        """There is something to push; `afresh`: and no reason to wait any longer."""
        if afresh:
            self._failures = 0
        if afresh or not self._failures:
            self._kick.set()

    async def run(self) -> None:
        """Push for ever."""
        while True:
            self._kick.clear()
            delay_seconds = await self._push_all()
            await self._pause(delay_seconds)

    async def _push_all(self) -> float | None:
        """Push until nothing is left (None), or until there is a reason to wait: for so many seconds."""
        queue = self._writer.queue
        while self._may_push() and len(queue):
            try:
                if not await self._identify():
                    return None
            except NeedsAuthError:
                return None
            except (UnreachableError, ApiError) as error:
                return self._later(error)
            batch = queue.next_batch(limit=self._limit, limit_bytes=BATCH_BYTES, size_of=_size)
            if not batch:
                return None
            delay_seconds = await self._push(batch)
            if delay_seconds is not None:
                return delay_seconds
        return None

    async def _push(self, batch: Sequence[Pending]) -> float | None:
        writer = self._writer
        mutations = [pending.mutation for pending in batch]
        ids = [mutation.mutation_id for mutation in mutations]
        try:
            answer = await self._api.sync(writer.clock.client_id, writer.now_ms(), mutations)
        except NeedsAuthError:
            writer.queue.unsent(ids)
            return None
        except UnreachableError as error:
            writer.queue.unsent(ids)
            return self._later(error)
        except (ApiError, MalformedMessageError) as error:
            return await self._failed(batch, ids, error)
        except asyncio.CancelledError:
            writer.queue.unsent(ids)
            raise
        self._limit = min(BATCH_WRITES, self._limit * 2)
        now_ms = writer.now_ms()
        settlement = writer.queue.settle(batch, answer.results, answer.epoch, answer.offset, now_ms)
        await writer.settle(settlement)
        self._pushed()
        if settlement.again:
            return self._later(None)
        self._failures = 0
        return None

    async def _failed(
        self, batch: Sequence[Pending], ids: Sequence[str], error: ApiError | MalformedMessageError
    ) -> float | None:
        """An answer to the request as a whole. If a write is to blame, it is found by halving."""
        writer = self._writer
        if isinstance(error, ApiError) and error.status in _AWAY:
            writer.queue.unsent(ids)
            return self._later(error, error.retry_after_seconds)
        is_ours = isinstance(error, MalformedMessageError) or error.status >= 500
        if len(batch) > 1:
            writer.queue.unsent(ids)
            self._limit = len(batch) // 2
            _log.warning("a push of %d writes failed, and is halved: %s", len(batch), error)
            return self._later(error) if is_ours else None
        code = "internal" if is_ours or isinstance(error, MalformedMessageError) else error.code
        settlement = writer.queue.fail(batch, code, str(error), writer.now_ms())
        await writer.settle(settlement)
        return self._later(error) if settlement.again else None

    def _later(self, error: Exception | None, least_seconds: float | None = None) -> float:
        self._failures += 1
        if error is not None:
            _log.info("pushing is tried again: %s", error)
        delay_seconds = self._policy.delay_ms(self._failures, random.random()) / 1000
        return max(delay_seconds, least_seconds or 0.0)

    async def _pause(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._kick.wait()
        except TimeoutError:
            pass


def _size(mutation: Mutation) -> int:
    return 300 + len(orjson.dumps(mutation.fields))
