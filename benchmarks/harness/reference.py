"""PURE. The stream of deltas that the sockets share, read and checked once.

Sockets with the same view are sent the same bytes. So the first socket that gets a frame has it decoded and checked,
and for all others it is enough to compare bytes, which C does at gigabytes a second: each delivery is checked whole,
and a million a second fit one core.
"""

from bisect import bisect_left
from typing import Any

from benchmarks.harness.deltas import Content, Delta, add_up, digest_of


class Reference:
    """Frames of deltas in order, each whole, and what is in them.

    Frame n has the bytes `stream[ends[n - 1]:ends[n]]` and holds the changes `changes_before[n]` up to
    `changes_before[n + 1]` of `offsets`, `due_ns` and `contents`; with it a client's position is `positions[n]`.
    No frame is conflated: the reference has every step.
    """

    def __init__(self) -> None:
        self.stream = bytearray()
        self.ends: list[int] = []
        self.positions: list[int] = []
        self.to_offset: int | None = None
        self.changes_before: list[int] = [0]
        self.offsets: list[int] = []
        self.due_ns: list[int] = []
        self.contents: list[Content] = []
        self.problems: list[str] = []
        self._frame_from: dict[int, int] = {}
        self._in_page = False
        self._digests: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """What all changes add up to: the fields of each record that there is."""
        added_up = add_up(self.contents)
        return {record_id: fields for record_id, fields in added_up.items() if fields is not None}

    def begin(self, frame: int) -> int:
        """Where a frame begins in the stream."""
        return self.ends[frame - 1] if frame else 0

    def find(self, from_offset: int) -> int | None:
        """The first frame whose delta begins at this offset; len(self) if the next one does; else None."""
        if self.to_offset is None or (self.to_offset == from_offset and not self._in_page):
            return len(self.ends)
        return self._frame_from.get(from_offset)

    def holds(self, frame: int, data: bytes) -> bool:
        """Whether a frame is there and has exactly these bytes."""
        return frame < len(self.ends) and self.stream[self.begin(frame) : self.ends[frame]] == data

    def digest_at(self, offset: int) -> int | None:
        """The digest of the change with this offset; None if it is not here."""
        index = bisect_left(self.offsets, offset)
        if index == len(self.offsets) or self.offsets[index] != offset:
            return None
        if index not in self._digests:
            self._digests[index] = digest_of(self.contents[index])
        return self._digests[index]

    def extend(self, frame: bytes, delta: Delta) -> None:
        """Append a frame and its delta, which is that of the frame's payload; what is wrong with it is noted."""
        if (problem := delta.problem) is not None:
            self.problems.append(problem)
        if self.to_offset is not None and delta.from_offset > self.to_offset:
            self.problems.append(
                f"a delta from {delta.from_offset} follows one to {self.to_offset}: a gap (I5)"
            )
        if self.offsets and delta.offsets and delta.offsets[0] <= self.offsets[-1]:
            self.problems.append(f"offset {delta.offsets[0]} follows offset {self.offsets[-1]}")
        self._frame_from.setdefault(delta.from_offset, len(self.ends))
        self.stream += frame
        self.ends.append(len(self.stream))
        self.offsets += delta.offsets
        self.due_ns += delta.due_ns
        self.changes_before.append(len(self.offsets))
        self.contents += delta.contents
        self._in_page = delta.more
        if not delta.more:
            # While pages come, the position is still that before them.
            self.to_offset = delta.to_offset
        elif self.to_offset is None:
            self.to_offset = delta.from_offset
        self.positions.append(self.to_offset)
