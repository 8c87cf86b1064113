"""PURE. Writes deltas: what one view shows of a run of the log, as messages.

A delta ends where a database transaction ends, and says so by `to`. A transaction that is larger than a
delta may be comes in pages: all with the same `from` and `to`, and `more` in all but the last. `from` is
the `to` of the writer's last delta, so a run that shows nothing of itself costs nothing: the next delta
covers it.

Whoever could not keep up is sent the latest state of each record instead (`write_latest`).
"""

from collections.abc import Sequence

import orjson

from core.protocol import downstream
from core.protocol.change import LoggedChange
from core.protocol.conflation import conflate
from core.protocol.topic import MAX_CANONICAL_LENGTH
from core.protocol.view import View, change_for_view

MAX_DELTA_BYTES = 256 * 1024
"""Largest delta, but for one that holds a single change that alone is larger."""

_ROOM_BYTES = MAX_DELTA_BYTES - MAX_CANONICAL_LENGTH - 1024


class DeltaWriter:
    """Writes the deltas of one view in order, each going on where the last one ended.

    `from_offset` is the end of the last delta. `in_page` says that pages of a transaction were written and
    its last one was not. `written` counts the changes, `folded` those that a later one of the same record stands for.
    """

    __slots__ = ("_epoch", "_view", "folded", "from_offset", "in_page", "written")

    def __init__(self, view: View, epoch: str, from_offset: int, *, in_page: bool = False) -> None:
        self._view = view
        self._epoch = epoch
        self.from_offset = from_offset
        self.in_page = in_page
        self.written = 0
        self.folded = 0

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

    def write_latest(self, changes: Sequence[LoggedChange]) -> list[bytes]:
        """`write` for somebody who is behind: of each record what it came to, in place of each step.

        What belongs to a transaction that is not complete in these changes is written as it is, in pages.
        """
        ends = [place for place, each in enumerate(changes, 1) if each.offset == each.last_of_commit]
        first = (ends[0] if ends else len(changes)) if self.in_page else 0
        whole = max(first, ends[-1] if ends else 0)
        messages = self.write(changes[:first])
        messages += self._conflated(changes[first:whole])
        return messages + self.write(changes[whole:])

    def _conflated(self, changes: Sequence[LoggedChange]) -> list[bytes]:
        steps = [wire for change in changes if (wire := change_for_view(self._view, change)) is not None]
        latest = conflate(steps)
        if len(latest) == len(steps):
            return self.write(changes)
        self.folded += len(steps) - len(latest)
        pages: list[list[bytes]] = [[]]
        size = 0
        for each in latest:
            part = orjson.dumps(each)
            if pages[-1] and size + len(part) > _ROOM_BYTES:
                pages.append([])
                size = 0
            pages[-1].append(part)
            size += len(part) + 1
        to_offset = changes[-1].offset
        messages = [self._encode(page, to_offset, more=True, conflated=True) for page in pages[:-1]]
        messages.append(self._encode(pages[-1], to_offset, more=False, conflated=True))
        self.from_offset = to_offset
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

    def _encode(
        self, parts: Sequence[bytes], to_offset: int, *, more: bool, conflated: bool = False
    ) -> bytes:
        self.written += len(parts)
        return downstream.delta(
            topic=self._view.topic.canonical,
            epoch=self._epoch,
            from_offset=self.from_offset,
            to_offset=to_offset,
            changes=parts,
            more=more,
            conflated=conflated,
        )
