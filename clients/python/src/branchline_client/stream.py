"""A stream of changes: `async for change in client.subscribe(…)`."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from branchline_client.change import Change, enter_of, reset_of
from branchline_client.errors import BranchlineError, SubscriptionRefusedError
from branchline_client.feed import Since, TaggedRecord
from branchline_client.position import Position
from branchline_client.subscriptions import Subscriptions, TopicSpec

MAX_WAITING = 10_000
"""Changes that wait to be taken; beyond it the topic is left, and followed again from there when they are few."""


@dataclass(slots=True)
class _Batch:
    changes: deque[Change]
    position: Position


class Buffer:
    """What has come of a topic and was not taken yet."""

    def __init__(
        self, subscriptions: Subscriptions, spec: TopicSpec, since: Position | None, *, wants_snapshot: bool
    ) -> None:
        self.position = since
        self.wants_snapshot = wants_snapshot
        self.taken: Position | None = since
        """Up to where everything was taken."""
        self.error: BranchlineError | None = None
        self._subscriptions = subscriptions
        self._spec = spec
        self._batches: deque[_Batch] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._begun = asyncio.Event()
        self._is_following = False
        self._has_begun = since is not None

    def follow(self) -> None:
        """Follow the topic from the position, or from the beginning that was chosen."""
        if self._is_following:
            return
        self._is_following = True
        since: Since = self.position or (None if self.wants_snapshot else "now")
        self._subscriptions.follow(self._spec, self, since)

    def leave(self) -> None:
        """Follow it no longer."""
        if self._is_following:
            self._is_following = False
            self._subscriptions.unfollow(self._spec.topic, self)

    async def take(self) -> Change:
        """Give the next change, when there is one. Raises what ended the stream."""
        while True:
            self._pass_finished()
            if self._batches:
                self._waiting -= 1
                change = self._batches[0].changes.popleft()
                if not self._is_following and self._waiting <= MAX_WAITING // 4:
                    self.follow()
                return change
            if self.error is not None:
                raise self.error
            self._news.clear()
            await self._news.wait()

    async def wait_begun(self) -> Position:
        """Wait for the position at which it begins. Raises what ended the stream."""
        while self.position is None:
            if self.error is not None:
                raise self.error
            await self._begun.wait()
        return self.position

    def fail(self, error: BranchlineError) -> None:
        """End the stream when what has come is taken."""
        self.error = error
        self._news.set()
        self._begun.set()

    # The listener.

    def replaced(self, records: Sequence[TaggedRecord], position: Position) -> None:
        """Take a snapshot: what was told before is void, if anything was."""
        self.position = position
        if not self._has_begun and not self.wants_snapshot:
            self._put([], position)
            return
        self._batches.clear()
        self._waiting = 0
        enters = [enter_of(collection, record, position.offset) for collection, record in records]
        self._put([reset_of(self._spec.collection, position.offset), *enters], position)

    def advanced(self, changes: Sequence[Change], position: Position) -> None:
        """Take all changes up to a position."""
        self.position = position
        self._put(changes, position)
        if self._waiting > MAX_WAITING:
            self.leave()

    def settled(self) -> None:
        """Nothing to do."""

    def went_live(self) -> None:
        """Nothing to do."""

    def interrupted(self) -> None:
        """Nothing to do: it goes on where it was."""

    def ended(self, code: str, message: str) -> None:
        """The topic cannot be followed."""
        self.fail(SubscriptionRefusedError(self._spec.topic, code, message))

    def _put(self, changes: Sequence[Change], position: Position) -> None:
        self._has_begun = True
        self._begun.set()
        self._waiting += len(changes)
        self._batches.append(_Batch(deque(changes), position))
        self._pass_finished()
        if changes:
            self._news.set()

    def _pass_finished(self) -> None:
        while self._batches and not self._batches[0].changes:
            self.taken = self._batches.popleft().position


class Stream:
    """Changes of a topic, each once and in order, whatever becomes of the connection.

    If the server cannot continue (the position is too old, the log is another one, rights have changed), a change with
    the operation `reset` comes, then an `enter` for each record that there is: never a gap in silence. `position` is
    up to where everything was taken: give it as `since` to go on there later, also in another process.
    """

    def __init__(self, buffer: Buffer, closed: Callable[[Buffer], None]) -> None:
        self._buffer = buffer
        buffer.follow()
        # A loop that is left by `break` closes nothing; when its stream is forgotten, it is closed.
        self._close = weakref.finalize(self, _close, buffer, closed)
        self._close.atexit = False

    @property
    def position(self) -> Position | None:
        """Up to where everything was taken; None before the first answer."""
        return self._buffer.taken

    async def begun(self) -> Position:
        """Wait until it is certain what is still to come: every change after this position. Raises what ended it."""
        return await self._buffer.wait_begun()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Change:
        if not self._close.alive:
            raise StopAsyncIteration
        return await self._buffer.take()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Follow the topic no longer."""
        self._close()

    async def aclose(self) -> None:
        """Follow the topic no longer."""
        self._close()


def _close(buffer: Buffer, closed: Callable[[Buffer], None]) -> None:
    buffer.leave()
    closed(buffer)
