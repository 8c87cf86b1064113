"""PURE. A live collection: the mirror of a view, its author's pending writes on top, in an order.

Every way in returns the effects on what is visible, so that a screen changes exactly what changed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from branchline_client.change import Change, Record
from branchline_client.feed import TaggedRecord
from branchline_client.mirror import Mirror
from branchline_client.ordering import Sort, key_of
from branchline_client.position import Position
from branchline_client.queue import Pending, Queue
from branchline_client.rebase import visible_record
from branchline_client.topic import Conditions, admits

_SYSTEM_FIELDS = frozenset({"version", "updated_at", "updated_by"})


@dataclass(frozen=True, slots=True)
class Effect:
    """One visible record appeared, changed or went. `change` is the server's change behind it, None for an own write.

    `index` is its place afterwards, `previous_index` its place before, counted while the effects are applied in order;
    None where it has none. `fields` are the names of the fields that differ, the system's own aside.
    """

    kind: Literal["added", "changed", "removed"]
    id: str
    before: Record | None
    after: Record | None
    index: int | None
    previous_index: int | None
    change: Change | None = None

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields that differ."""
        before, after = self.before or {}, self.after or {}
        names = (before.keys() | after.keys()) - _SYSTEM_FIELDS
        return frozenset(name for name in names if before.get(name) != after.get(name))


@dataclass(frozen=True, slots=True)
class Update:
    """What became of a live collection in one go. `is_reset`: a snapshot replaced what was there."""

    effects: tuple[Effect, ...] = ()
    is_reset: bool = False


@dataclass(slots=True)
class LiveView:
    """The state of one live collection."""

    collection: str
    conditions: Conditions
    sort: Sort
    queue: Queue
    defaults: Mapping[str, Any] = field(default_factory=dict)
    mirror: Mirror = field(init=False)
    visible: dict[str, Record] = field(default_factory=dict)
    _keys: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _order: list[tuple[tuple[Any, ...], str]] = field(default_factory=list)
    _confirmed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.mirror = Mirror(self.collection)

    @property
    def position(self) -> Position | None:
        """Up to where the server's state is held."""
        return self.mirror.position

    def ids(self) -> list[str]:
        """The ids of the visible records, in order."""
        return [record_id for _, record_id in self._order]

    def index_of(self, record_id: str) -> int | None:
        """The place of a visible record."""
        key = self._keys.get(record_id)
        return None if key is None else bisect_left(self._order, (key, record_id))

    def replaced(self, records: Iterable[TaggedRecord], position: Position) -> Update:
        """Take a snapshot."""
        touched = self.mirror.replace(records, position) | set(self.queue.records_of(self.collection))
        return Update(self._refresh(touched, {}), is_reset=True)

    def advanced(self, changes: Sequence[Change], position: Position) -> Update:
        """Take all changes up to a position. Raises InconsistentError: then the view needs a snapshot."""
        touched = self.mirror.advance(changes, position)
        stale = self._confirm(changes)
        return Update(self._refresh(touched.keys() | stale, touched))

    def queue_changed(self, record_ids: Iterable[str]) -> Update:
        """Look again at records whose pending writes have changed."""
        return Update(self._refresh(record_ids, {}))

    def cleared(self) -> Update:
        """Forget all: access was lost."""
        gone = self.mirror.clear()
        return Update(self._refresh(gone | self.visible.keys(), {}), is_reset=True)

    def holds(self, pending: Pending) -> bool:
        """Whether the mirror has the effect of a write, so that it need not be shown on top."""
        mutation = pending.mutation
        if mutation.mutation_id in self._confirmed:
            return True
        answer, position = pending.answer, self.mirror.position
        if answer is None or position is None:
            return False
        if answer.epoch != position.epoch or answer.offset <= position.offset:
            return True
        held = self.mirror.records.get(mutation.id)
        return held is not None and answer.version is not None and held["version"] >= answer.version

    def released(self, pending: Iterable[Pending]) -> None:
        """Forget what was remembered of writes that have left the queue."""
        self._confirmed.difference_update(each.mutation.mutation_id for each in pending)

    def _confirm(self, changes: Iterable[Change]) -> set[str]:
        """Note which pending writes the changes hold; give the records of these, and of those that answers settled."""
        touched = set()
        for change in changes:
            for mutation_id in change.mutation_ids:
                pending = self.queue.get(mutation_id)
                if pending is not None and pending.mutation.collection == self.collection:
                    self._confirmed.add(mutation_id)
                    touched.add(pending.mutation.id)
        return touched | set(self.queue.records_of(self.collection))

    def _refresh(self, record_ids: Iterable[str], changes: Mapping[str, Change]) -> tuple[Effect, ...]:
        found = []
        for record_id in dict.fromkeys(record_ids):
            before = self.visible.get(record_id)
            after = self._visible(record_id)
            if before is not after and before != after:
                found.append((record_id, before, after))
        if len(found) > max(64, len(self._order) // 4):
            return self._reorder(found, changes)
        return tuple(self._move(*each, changes.get(each[0])) for each in found)

    def _visible(self, record_id: str) -> Record | None:
        server = self.mirror.records.get(record_id)
        pending = self.queue.of_record(self.collection, record_id)
        if not pending:
            return server
        on_top = [each.written for each in pending if not self.holds(each)]
        if not on_top:
            return server
        record = visible_record(server, on_top, self.defaults)
        return record if record is not None and admits(self.conditions, record) else None

    def _move(
        self, record_id: str, before: Record | None, after: Record | None, change: Change | None
    ) -> Effect:
        previous_index = self._take_out(record_id) if before is not None else None
        index = self._put_in(record_id, after) if after is not None else None
        return Effect(_kind(before, after), record_id, before, after, index, previous_index, change)

    def _take_out(self, record_id: str) -> int:
        index = bisect_left(self._order, (self._keys.pop(record_id), record_id))
        del self._order[index]
        del self.visible[record_id]
        return index

    def _put_in(self, record_id: str, record: Record) -> int:
        entry = (key_of(self.sort, record), record_id)
        index = bisect_left(self._order, entry)
        self._order.insert(index, entry)
        self._keys[record_id] = entry[0]
        self.visible[record_id] = record
        return index

    def _reorder(
        self, found: Sequence[tuple[str, Record | None, Record | None]], changes: Mapping[str, Change]
    ) -> tuple[Effect, ...]:
        """Apply many effects by sorting once; places are those before and after all of them."""
        places = {record_id: index for index, (_, record_id) in enumerate(self._order)}
        for record_id, _, after in found:
            self.visible.pop(record_id, None)
            self._keys.pop(record_id, None)
            if after is not None:
                self.visible[record_id] = after
                self._keys[record_id] = key_of(self.sort, after)
        self._order = sorted((key, record_id) for record_id, key in self._keys.items())
        places_after = {record_id: index for index, (_, record_id) in enumerate(self._order)}
        return tuple(
            Effect(
                _kind(before, after),
                record_id,
                before,
                after,
                places_after.get(record_id),
                places.get(record_id),
                changes.get(record_id),
            )
            for record_id, before, after in found
        )


def _kind(before: Record | None, after: Record | None) -> Literal["added", "changed", "removed"]:
    if before is None:
        return "added"
    return "removed" if after is None else "changed"
