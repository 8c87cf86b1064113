"""PURE. How far one organisation's log has come to this gateway, and what follows from what arrives.

Publications may come twice, out of date or not at all; only what goes on exactly where the feed stands is
taken. All else is either known already or a gap, to be filled from the log (I3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.protocol.change import LoggedChange


@dataclass(frozen=True, slots=True)
class Taken:
    """These changes go on where the feed stood; it stands behind them now."""

    changes: Sequence[LoggedChange]


@dataclass(frozen=True, slots=True)
class Known:
    """Nothing of this is new."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something between the feed and what came is missing: the log is to be read after the feed's `cursor`."""


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """What came belongs to another life of the log: epoch and head are to be read again."""


Outcome = Taken | Known | Gap | OtherEpoch


class Feed:
    """One organisation's place in its log.

    `cursor` is the last offset that came. `position` is the last one of them that ends a transaction:
    subscribers are told of positions only. `known_head` is the newest offset that anybody spoke of. `complete_at_ms`
    is the moment up to which nothing is missing at `position`: whatever was committed until then has come.
    """

    __slots__ = ("_claims", "complete_at_ms", "cursor", "epoch", "known_head", "position")

    def __init__(self, epoch: str, head: int) -> None:
        self.epoch = epoch
        self.position = head
        self.cursor = head
        self.known_head = head
        self.complete_at_ms = 0
        self._claims: list[tuple[int, int]] = []

    @property
    def is_whole(self) -> bool:
        """Whether the feed stands between two transactions."""
        return self.position == self.cursor

    @property
    def is_behind(self) -> bool:
        """Whether the log is known to hold more."""
        return self.cursor < self.known_head

    def take(self, epoch: str, changes: Sequence[LoggedChange], to_offset: int) -> Outcome:
        """Take changes in the order of their offsets, up to a transaction that ends at `to_offset`."""
        if epoch != self.epoch:
            return OtherEpoch()
        self.known_head = max(self.known_head, to_offset)
        fresh = [change for change in changes if change.offset > self.cursor]
        if not fresh:
            # Changes at `to_offset` were announced and are not here.
            return Gap() if not changes and to_offset > self.cursor else Known()
        if any(change.offset != offset for offset, change in enumerate(fresh, self.cursor + 1)):
            return Gap()
        self.cursor = fresh[-1].offset
        for change in reversed(fresh):
            if change.offset == change.last_of_commit:
                self.position = change.offset
                self._settle_claims()
                break
        return Taken(fresh)

    def note_time(self, head: int, at_ms: int) -> None:
        """Hear that the log ended at `head` at a moment: once that is reached, all is complete as of then.

        Two such claims are kept: the oldest, which is reached first, and the newest.
        """
        self._claims[1:] = [(head, at_ms)]
        self._settle_claims()

    def retract_head(self) -> None:
        """Whoever spoke of a higher head than the cursor was wrong."""
        self.known_head = self.cursor
        self._claims.clear()

    def _settle_claims(self) -> None:
        while self._claims and self._claims[0][0] <= self.position:
            self.complete_at_ms = max(self.complete_at_ms, self._claims.pop(0)[1])

    def note_head(self, epoch: str, head: int) -> Outcome:
        """Hear of a head: Known if it has been reached, Gap if not."""
        if epoch != self.epoch:
            return OtherEpoch()
        self.known_head = max(self.known_head, head)
        return Gap() if head > self.cursor else Known()
