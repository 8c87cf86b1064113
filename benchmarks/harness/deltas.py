"""PURE. A delta as the load client sees it, and the marks by which it recognises its own writes."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import orjson

_DUE = "due="

Content: TypeAlias = tuple[str, dict[str, Any] | None]
"""A record's id, and what a change says of its fields; None where it leaves."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What a delta says. `offsets`, `due_ns` and `contents` go together; `due_ns` is 0 where a change is none of the
    benchmark's writes.
    """

    from_offset: int
    to_offset: int
    offsets: tuple[int, ...]
    due_ns: tuple[int, ...]
    contents: tuple[Content, ...]
    more: bool
    conflated: bool

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def problem(self) -> str | None:
        """What is wrong with this delta in itself."""
        if self.to_offset < self.from_offset:
            return f"a delta goes from {self.from_offset} back to {self.to_offset}"
        bounds = (self.from_offset, *self.offsets)
        if any(a >= b for a, b in pairwise(bounds)):
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
        contents=tuple(_content_of(change) for change in changes),
        more=message.get("more", False),
        conflated=message.get("conflated", False),
    )


def due_of(fields: dict[str, Any]) -> int:
    """When the write of these fields was due; 0 if it was none of the benchmark's."""
    notes = fields.get("notes")
    if not isinstance(notes, str) or not notes.startswith(_DUE):
        return 0
    return int(notes[len(_DUE) : len(_DUE) + 20])


def digest_of(content: Content) -> int:
    """A number of 64 bits that is the same, in this process, for the same content."""
    return hash((content[0], orjson.dumps(content[1], option=orjson.OPT_SORT_KEYS)))


def add_up(contents: Iterable[Content]) -> dict[str, dict[str, Any] | None]:
    """What changes, in order, come to: for each record its fields, or None if it is gone."""
    records: dict[str, dict[str, Any] | None] = {}
    for record_id, fields in contents:
        before = records.get(record_id)
        records[record_id] = fields if before is None or fields is None else {**before, **fields}
    return records


def _content_of(change: dict[str, Any]) -> Content:
    if change["operation"] in ("delete", "leave"):
        return change["id"], None
    return change["id"], change["fields"]
