"""PURE. What a set of accepted writes comes to, in whatever order they are taken: the law that all replicas obey (I7).

It knows no versions, no order of arrival and no SQL: a record is a field each with its greatest clock
(`core.clock.merge_fields`), the greatest clock of a delete, and the greatest clock of any write. The record lives if
the last of these is the greater.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from core.clock import Stamp, merge_fields


@dataclass(frozen=True, slots=True)
class Write:
    """An accepted write: `fields` are all of the record's for an insert, the changed ones for an update."""

    record: str
    operation: str
    clock: str
    author: str | None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Folded:
    """A record as its writes make it. `clocks` has clock and author of each field."""

    values: dict[str, Any] = field(default_factory=dict)
    clocks: dict[str, Stamp] = field(default_factory=dict)
    written: str = ""
    deleted: str = ""

    @property
    def lives(self) -> bool:
        """Whether the record exists. A delete and a write of the same moment: it does not."""
        return self.written > self.deleted

    def take(self, write: Write) -> None:
        """Fold one more write in."""
        if write.operation == "delete":
            self.deleted = max(self.deleted, write.clock)
            return
        if not write.fields:
            return  # it says nothing, so it changes nothing
        merge = merge_fields(self.values, self.clocks, write.fields, write.clock, None, write.author, 0)
        self.values |= merge.winners
        self.clocks = merge.clocks
        self.written = max(self.written, write.clock)

    @property
    def stamps(self) -> dict[str, tuple[str, str | None]]:
        """Clock and author of each field."""
        return {name: (stamp[0], stamp[2]) for name, stamp in self.clocks.items()}


def fold(writes: Iterable[Write]) -> dict[str, Folded]:
    """All records that the writes made, the deleted ones among them."""
    records: dict[str, Folded] = {}
    for write in writes:
        records.setdefault(write.record, Folded()).take(write)
    return records
