"""PURE. Writes deltas: what one view shows of a run of the log, as messages.

A delta ends where a database transaction ends, and says so by `to`. A transaction that is larger than a
delta may be comes in pages: all with the same `from` and `to`, and `more` in all but the last. `from` is
the `to` of the writer's last delta, so a run that shows nothing of itself costs nothing: the next delta
covers it.
"""

from collections.abc import Sequence

import orjson

from core.protocol import downstream
from core.protocol.change import LoggedChange
from core.protocol.topic import MAX_CANONICAL_LENGTH
from core.protocol.view import View, change_for_view

MAX_DELTA_BYTES = 256 * 1024
"""Largest delta, but for one that holds a single change that alone is larger."""

_ROOM_BYTES = MAX_DELTA_BYTES - MAX_CANONICAL_LENGTH - 1024


class DeltaWriter:
    """Writes the deltas of one view in order, each going on where the last one ended.

    `from_offset` is the end of the last delta. `in_page` says that pages of a transaction were written and
    its last one was not. `written` counts the changes.
    """

    __slots__ = ("_epoch", "_view", "from_offset", "in_page", "written")

    def __init__(self, view: View, epoch: str, from_offset: int, *, in_page: bool = False) -> None:
        self._view = view
        self._epoch = epoch
        self.from_offset = from_offset
        self.in_page = in_page
        self.written = 0

    def write(self, changes: Sequence[LoggedChange]) -> list[bytes]:
        """Give the messages for changes that follow those written before, without a gap; often none."""
        messages: list[bytes] = []
        parts: list[bytes] = []
        size = 0
        # How many of the parts belong to transactions that are complete, and where the last of these ends.
        complete = 0
        complete_to = self.from_offset
        for change in changes:
            wire = change_for_view(self._view, change)
            if wire is not None:
                part = orjson.dumps(wire)
                if size + len(part) > _ROOM_BYTES and complete:
                    messages.append(self._delta(parts[:complete], complete_to))
                    del parts[:complete]
                    complete = 0
                    size = sum(map(len, parts)) + len(parts)
                if size + len(part) > _ROOM_BYTES and parts:
                    messages.append(self._page(parts, change.last_of_commit))
                    parts.clear()
                    size = 0
                parts.append(part)
                size += len(part) + 1
            if change.offset == change.last_of_commit:
                complete_to = change.offset
                complete = len(parts)
                if self.in_page:
                    messages.append(self._delta(parts, complete_to))
                    parts.clear()
                    complete = size = 0
        if complete:
            messages.append(self._delta(parts[:complete], complete_to))
            del parts[:complete]
        if parts:
            messages.append(self._page(parts, changes[-1].last_of_commit))
        return messages

    def reach(self, offset: int) -> bytes:
        """Give an empty delta up to `offset`, the end of a transaction."""
        return self._delta([], offset)

    def _delta(self, parts: Sequence[bytes], to_offset: int) -> bytes:
        message = self._encode(parts, to_offset, more=False)
        self.from_offset = to_offset
        self.in_page = False
        return message

    def _page(self, parts: Sequence[bytes], to_offset: int) -> bytes:
        self.in_page = True
        return self._encode(parts, to_offset, more=True)

    def _encode(self, parts: Sequence[bytes], to_offset: int, *, more: bool) -> bytes:
        self.written += len(parts)
        return downstream.delta(
            topic=self._view.topic.canonical,
            epoch=self._epoch,
            from_offset=self.from_offset,
            to_offset=to_offset,
            changes=parts,
            more=more,
        )
