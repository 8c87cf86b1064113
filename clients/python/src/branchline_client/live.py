"""A live collection: a mirror of what the server shows, kept up to date, with this person's own writes on top."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from branchline_client.cache import TopicChanges
from branchline_client.callbacks import Callbacks
from branchline_client.change import Change, Record
from branchline_client.errors import SubscriptionRefusedError
from branchline_client.feed import TaggedRecord
from branchline_client.position import Position
from branchline_client.queue import Pending, Stage
from branchline_client.view import LiveView, Update

if TYPE_CHECKING:
    from branchline_client.subscriptions import TopicSpec


class LiveState(Enum):
    """How a live collection stands to the server."""

    LOADING = "loading"
    """Nothing is known yet."""
    STALE = "stale"
    """What is shown was true at `position`; the rest is on its way, or there is no connection."""
    LIVE = "live"
    """Nothing is missing."""
    ENDED = "ended"
    """It is closed, or may not be read; `error` says why."""


RecordState = Literal["saved", "saving", "local", "needs-review"]


class Host(Protocol):
    """What a live collection needs of its client."""

    async def open_live(self, live: LiveCollection) -> None:
        """Load what is cached, and follow the topic."""

    def close_live(self, live: LiveCollection) -> None:
        """Follow it no longer."""

    def live_advanced(self, live: LiveCollection) -> None:
        """Take note that the server's state has moved."""

    def view_changed(self) -> None:
        """Take note that a topic shows something else than it did: rights have changed while nobody was told."""

    def needs_review(self, collection: str, record_id: str) -> bool:
        """Whether a write of a record lies in the inbox."""


class LiveCollection:
    """The records of a topic, in order. Use it with `async with`, or await it and close it later.

    Records are plain dictionaries, never changed in place; do not change them either.
    """

    def __init__(self, host: Host, spec: TopicSpec, view: LiveView) -> None:
        self.spec = spec
        self.view = view
        self.position: Position | None = None
        """Up to where the server's state is held."""
        self.wants_snapshot = True
        self.state = LiveState.LOADING
        self.error: SubscriptionRefusedError | None = None
        self.on_change: Callbacks[[Update]] = Callbacks()
        """Told of every change of what is visible: `Update` with its effects."""
        self.on_state: Callbacks[[LiveState]] = Callbacks()
        self._host = host
        self._waiters: list[tuple[Callable[[LiveCollection], object], asyncio.Future[None]]] = []
        self._records: list[Record] | None = None
        self._dirty: set[str] = set()
        self._is_dirty_whole = False

    def __await__(self) -> Generator[Any, None, LiveCollection]:
        yield from self._host.open_live(self).__await__()
        return self

    async def __aenter__(self) -> LiveCollection:
        await self._host.open_live(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Follow it no longer. What is shown stays as it was."""
        if self.state is not LiveState.ENDED:
            self._host.close_live(self)
            self._set_state(LiveState.ENDED)

    # Reading.

    @property
    def records(self) -> list[Record]:
        """The visible records, in order."""
        if self._records is None:
            self._records = [self.view.visible[record_id] for record_id in self.view.ids()]
        return list(self._records)

    def get(self, record_id: str) -> Record | None:
        """A visible record."""
        return self.view.visible.get(record_id)

    def __len__(self) -> int:
        return len(self.view.visible)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __contains__(self, record_id: object) -> bool:
        return record_id in self.view.visible

    def index_of(self, record_id: str) -> int | None:
        """A record's place in the order."""
        return self.view.index_of(record_id)

    def server_record(self, record_id: str) -> Record | None:
        """A record as the server has it, without this person's pending writes."""
        return self.view.mirror.records.get(record_id)

    def state_of(self, record_id: str) -> RecordState:
        """Saved; saving (kept on this device and on its way); local (not kept yet); or in the inbox, to be reviewed."""
        stages = {each.stage for each in self.view.queue.of_record(self.spec.collection, record_id)}
        if Stage.LOCAL in stages:
            return "local"
        if stages & {Stage.QUEUED, Stage.SENT}:
            return "saving"
        return "needs-review" if self._host.needs_review(self.spec.collection, record_id) else "saved"

    async def wait_live(self) -> None:
        """Wait until nothing is missing. Raises SubscriptionRefusedError."""
        await self.wait_for(lambda _: self.state is LiveState.LIVE)

    async def wait_for(self, condition: Callable[[LiveCollection], object]) -> None:
        """Wait until a condition holds of this collection. Raises SubscriptionRefusedError if it ends before."""
        if self.state is not LiveState.ENDED and not condition(self):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, future))
            await future
        if not condition(self):
            raise self.error or SubscriptionRefusedError(self.spec.topic, "closed", "it was closed")

    # What the connection tells it.

    def load(self, records: Sequence[TaggedRecord], position: Position) -> None:
        """Show what was cached."""
        update = self.view.replaced(records, position)
        self.view.mirror.settle()
        self.position = position
        self._tell(update, LiveState.STALE)

    def replaced(self, records: Sequence[TaggedRecord], position: Position) -> None:
        """Take a snapshot."""
        if self.position is not None and self.position.view != position.view:
            self._host.view_changed()
        update = self.view.replaced(records, position)
        self.position = position
        self._dirty.clear()
        self._is_dirty_whole = True
        self._tell(update, LiveState.STALE if self.state is LiveState.LOADING else self.state)
        self._host.live_advanced(self)

    def advanced(self, changes: Sequence[Change], position: Position) -> None:
        """Take all changes up to a position. Raises InconsistentError."""
        update = self.view.advanced(changes, position)
        self.position = position
        if not self._is_dirty_whole:
            self._dirty.update(each.id for each in changes if each.collection == self.spec.collection)
        self._tell(update, self.state)
        self._host.live_advanced(self)

    def settled(self) -> None:
        """Everything that a snapshot may have run ahead of has come."""
        self.view.mirror.settle()

    def went_live(self) -> None:
        """Nothing is missing."""
        self._set_state(LiveState.LIVE)

    def interrupted(self) -> None:
        """The connection is gone."""
        if self.state is LiveState.LIVE:
            self._set_state(LiveState.STALE)

    def ended(self, code: str, message: str) -> None:
        """It cannot be followed."""
        self.error = SubscriptionRefusedError(self.spec.topic, code, message)
        self._set_state(LiveState.ENDED)

    def purge(self) -> None:
        """Forget all: access was lost."""
        update = self.view.cleared()
        self.position = None
        self._dirty.clear()
        self._tell(update, LiveState.LOADING)

    def queue_changed(self, record_ids: Iterable[str]) -> None:
        """Look again at records whose pending writes have changed."""
        self._tell(self.view.queue_changed(record_ids), self.state)

    def holds(self, pending: Pending) -> bool:
        """Whether the effect of a write is in the server's state as it is held."""
        return self.view.holds(pending)

    def take_dirty(self, *, with_position: bool = False) -> TopicChanges | None:
        """Give what the cache lacks, and count it as written; `with_position`: also where only that has moved."""
        if self.position is None or not (self._dirty or self._is_dirty_whole or with_position):
            return None
        held = self.view.mirror.records
        records: dict[str, Record | None] = (
            dict(held) if self._is_dirty_whole else {each: held.get(each) for each in self._dirty}
        )
        changes = TopicChanges(self.spec.collection, self.position, self._is_dirty_whole, records)
        self._dirty = set()
        self._is_dirty_whole = False
        return changes

    def not_written(self) -> None:
        """What was taken for the cache is not there: all of it is to be written next time."""
        self._is_dirty_whole = True

    def _tell(self, update: Update, state: LiveState) -> None:
        if update.effects:
            self._records = None
        if update.effects or update.is_reset:
            self.on_change.tell(update)
        self._set_state(state)
        self._wake()

    def _set_state(self, state: LiveState) -> None:
        if state is not self.state and self.state is not LiveState.ENDED:
            self.state = state
            self.on_state.tell(state)
        self._wake()

    def _wake(self) -> None:
        if not self._waiters:
            return
        is_over = self.state is LiveState.ENDED
        left = []
        for condition, future in self._waiters:
            if future.done():
                continue
            if is_over or condition(self):
                future.set_result(None)
            else:
                left.append((condition, future))
        self._waiters = left
