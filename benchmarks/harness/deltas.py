"""PURE. A delta as the load client sees it, and the marks by which it recognises its own writes."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_DUE = "due="


@dataclass(frozen=True, slots=True)
class Delta:
    """What a delta says. `offsets` and `due_ns` go together; 0 where a change is none of the benchmark's writes."""

    from_offset: int
    to_offset: int
    offsets: tuple[int, ...]
    due_ns: tuple[int, ...]
    records: tuple[tuple[str, dict[str, Any] | None], ...]
    more: bool
    conflated: bool

    @property
    def problem(self) -> str | None:
        """What is wrong with this delta in itself."""
        if self.to_offset < self.from_offset:
            return f"a delta goes from {self.from_offset} back to {self.to_offset}"
        bounds = (self.from_offset, *self.offsets)
        if not self.conflated and any(a >= b for a, b in pairwise(bounds)):
            return f"the offsets of a delta from {self.from_offset} do not rise: {list(self.offsets)[:10]}"
        if self.offsets and self.offsets[-1] > self.to_offset:
            return f"a delta to {self.to_offset} holds offset {self.offsets[-1]}"
        return None


def mark_due(due_ns: int) -> str:
    """Text for a record's `notes` that says when its write was due, on the monotonic clock of this machine."""
    return f"{_DUE}{due_ns:020d}"


def read_delta(message: dict[str, Any]) -> Delta:
    """Read a decoded message of type `delta`; raises KeyError, TypeError or ValueError if it is malformed."""
    changes = message["changes"]
    return Delta(
        from_offset=message["from"],
        to_offset=message["to"],
        offsets=tuple(change["offset"] for change in changes),
        due_ns=tuple(due_of(change["fields"]) for change in changes),
        records=tuple(_record_of(change) for change in changes),
        more=message.get("more", False),
        conflated=message.get("conflated", False),
    )


def due_of(fields: dict[str, Any]) -> int:
    """When the write of these fields was due; 0 if it was none of the benchmark's."""
    notes = fields.get("notes")
    if not isinstance(notes, str) or not notes.startswith(_DUE):
        return 0
    return int(notes[len(_DUE) : len(_DUE) + 20])


def _record_of(change: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The record's id, and what the change says of its fields; None where it leaves."""
    if change["operation"] in ("delete", "leave"):
        return change["id"], None
    return change["id"], change["fields"]
