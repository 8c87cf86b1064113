"""PURE. A copy of what the server shows of one collection in one view: snapshot, then change upon change.

A snapshot's records may be newer than its position, so a change whose version is not above its record's is known
already and skipped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from branchline_client.change import Change, Record
from branchline_client.feed import TaggedRecord
from branchline_client.position import Position


class InconsistentError(Exception):
    """A change does not fit what is held: the view has to be read anew."""


@dataclass(slots=True)
class Mirror:
    """The records of a collection by id. A record is never changed in place: whoever holds one keeps what it was.

    Just after a snapshot, changes of records that it does not have may come: they were gone again when their page was
    read. Once the server has said by a `head` that everything is there, such a change means that something is missing.
    """

    collection: str
    records: dict[str, Record] = field(default_factory=dict)
    position: Position | None = None
    is_settled: bool = True

    def replace(self, records: Iterable[TaggedRecord], position: Position) -> set[str]:
        """Take a snapshot; give the ids of the records that are, or were, held."""
        before = self.records
        self.records = {record["id"]: record for name, record in records if name == self.collection}
        self.position = position
        self.is_settled = False
        return before.keys() | self.records.keys()

    def advance(self, changes: Sequence[Change], position: Position) -> dict[str, Change]:
        """Take all changes up to a position; give those that had an effect, the last one of each record.

        Raises InconsistentError where a change cannot be applied; the mirror is then to be replaced.
        """
        known = self.position
        if known is not None and known.epoch == position.epoch:
            changes = [change for change in changes if change.offset > known.offset]
        touched: dict[str, Change] = {}
        for change in changes:
            if change.collection == self.collection and self._apply(change):
                touched[change.id] = change
        if known is None or position.offset > known.offset or position.epoch != known.epoch:
            self.position = position
        return touched

    def settle(self) -> None:
        """Everything up to a head that is newer than the snapshot's pages has come."""
        self.is_settled = True

    def clear(self) -> set[str]:
        """Forget all; give the ids of the records that were held."""
        gone = set(self.records)
        self.records = {}
        self.position = None
        return gone

    def _apply(self, change: Change) -> bool:
        held = self.records.get(change.id)
        if held is not None and change.version <= held["version"]:
            return False
        match change.operation:
            case "insert" | "enter":
                self.records[change.id] = change.fields
                return True
            case "delete" | "leave":
                return self.records.pop(change.id, None) is not None
            case _:
                return self._update(change, held)

    def _update(self, change: Change, held: Record | None) -> bool:
        if held is None:
            if self.is_settled:
                raise InconsistentError(f"{change.collection}/{change.id} changed, and is not held")
            return False
        self.records[change.id] = {**held, **change.fields, "version": change.version}
        return True
