"""Brings live collections into the cache, a moment after they have changed; and forgets writes that all copies hold."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from branchline_client.cache import Cache, TopicChanges
from branchline_client.errors import StoreError
from branchline_client.live import LiveCollection
from branchline_client.queue import Pending, Stage
from branchline_client.writer import Writer

FLUSH_SECONDS = 0.5

_log = logging.getLogger("branchline_client")


class CacheWriter:
    """Writes what live collections hold. Without a cache it only forgets."""

    def __init__(
        self, cache: Cache | None, writer: Writer, lives: Callable[[], Iterable[LiveCollection]]
    ) -> None:
        self._cache = cache
        self._writer = writer
        self._lives = lives
        self._news = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._kept: dict[str, tuple[str, str, int]] = {}
        self._left: dict[str, TopicChanges] = {}

    async def open(self) -> None:
        """Learn what is kept."""
        if self._cache is not None:
            self._kept = await self._cache.fetch_positions()

    def note(self) -> None:
        """Something has changed."""
        self._news.set()

    def closing(self, live: LiveCollection) -> None:
        """A collection is closed: what it holds is still to be written."""
        dirty = live.take_dirty(with_position=True)
        if self._cache is not None and dirty is not None:
            self._left[live.spec.topic] = dirty
            self.note()

    async def run(self) -> None:
        """Write what has changed, for ever."""
        while True:
            await self._news.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self._news.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write what has changed now. A cache that cannot be written is only old."""
        async with self._flushing:
            if self._cache is not None:
                has_answered = any(each.stage is Stage.ANSWERED for each in self._writer.queue)
                await self._write(self._cache, with_positions=has_answered)
            self._release()

    async def forget(self, topics: Iterable[str], collections: Iterable[str]) -> None:
        """Delete topics, and those of the same collections that are not followed now: rights may be gone there too."""
        named, of = set(topics), set(collections)
        followed = {live.spec.topic for live in self._lives()}
        gone = [
            topic
            for topic, (collection, _, _) in self._kept.items()
            if topic in named or (collection in of and topic not in followed)
        ]
        for topic in named:
            self._left.pop(topic, None)
        await self._delete(gone)

    async def forget_unfollowed(self) -> None:
        """Delete the topics that are not followed now."""
        followed = {live.spec.topic for live in self._lives()}
        self._left = {topic: each for topic, each in self._left.items() if topic in followed}
        await self._delete([topic for topic in self._kept if topic not in followed])

    async def _delete(self, topics: Sequence[str]) -> None:
        for topic in topics:
            del self._kept[topic]
        if self._cache is not None and topics:
            await self._cache.delete(topics)

    async def _write(self, cache: Cache, *, with_positions: bool) -> None:
        lives = list(self._lives())
        left, self._left = self._left, {}
        changes = {}
        for live in lives:
            dirty = live.take_dirty(with_position=with_positions)
            if dirty is not None:
                changes[live.spec.topic] = dirty
        try:
            for topics in (left, changes):
                if topics:
                    await cache.write(topics, self._writer.now_ms())
        except StoreError as error:
            _log.warning("the cache is not written: %s", error)
            for live in lives:
                live.not_written()
            return
        for topic, each in (left | changes).items():
            self._kept[topic] = (each.collection, each.position.epoch, each.position.offset)

    def _release(self) -> None:
        released = self._writer.release(self._is_held)
        if released:
            for live in self._lives():
                live.view.released(released)

    def _is_held(self, pending: Pending) -> bool:
        """Whether every copy of the collection, here and on the disk, has the effect of a write."""
        collection, answer = pending.mutation.collection, pending.answer
        if answer is None:
            return False
        if not all(live.holds(pending) for live in self._lives() if live.spec.collection == collection):
            return False
        return all(
            epoch != answer.epoch or offset >= answer.offset
            for kept_collection, epoch, offset in self._kept.values()
            if kept_collection == collection
        )
