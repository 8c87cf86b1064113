"""PURE. Receipts: how long after its commit a change was on somebody's screen.

A client's word is measured against what the gateway knows: a receipt counts if its change came here lately and the
time that it says can be. Everything else is ignored, for a reason that is counted.
"""

from collections import deque
from collections.abc import Iterable
from typing import Literal

from core.protocol.change import LoggedChange

RECENT_CHANGES = 2_000
LONGEST_WAY_MS = 60_000
"""A receipt that says more is of a tab that was asleep, or of a clock that is wrong."""
CLOCK_ERROR_MS = 1_000
"""How far a client's clock may be off, since it only knows the server's from messages that took their time."""

Ignored = Literal["unknown_offset", "repeated", "clock", "too_long"]
IGNORED: tuple[Ignored, ...] = ("unknown_offset", "repeated", "clock", "too_long")


class RecentCommits:
    """When the last changes of one organisation were committed, by offset."""

    __slots__ = ("_commits", "_first")

    def __init__(self) -> None:
        self._commits: deque[int] = deque(maxlen=RECENT_CHANGES)
        self._first = 0

    def note(self, changes: Iterable[LoggedChange]) -> None:
        """Remember changes; one that does not follow on the last begins anew."""
        for change in changes:
            if change.offset != self._first + len(self._commits):
                self._commits.clear()
                self._first = change.offset
            elif len(self._commits) == RECENT_CHANGES:
                self._first += 1
            self._commits.append(change.committed_at_ms)

    def committed_at_ms(self, offset: int) -> int | None:
        """Give when a change was committed; None if it did not come lately."""
        place = offset - self._first
        return self._commits[place] if 0 <= place < len(self._commits) else None


def way_ms(*, committed_at_ms: int | None, shown_at_ms: int, now_ms: int) -> float | Ignored:
    """Give the milliseconds from commit to screen, not below 0 nor later than now, or why they do not count."""
    if committed_at_ms is None:
        return "unknown_offset"
    if shown_at_ms > now_ms + CLOCK_ERROR_MS or shown_at_ms < committed_at_ms - CLOCK_ERROR_MS:
        return "clock"
    way = max(0, min(shown_at_ms, now_ms) - committed_at_ms)
    return way if way <= LONGEST_WAY_MS else "too_long"
