"""PURE. One topic on one connection: what of it has arrived completely, and what has to be asked again.

    idle ─▶ asked ─▶ snapshot ─▶ catching up ─▶ live        any ─▶ interrupted (asked again) or ended
                └───────────────▲

Messages go in, facts come out. A feed never moves its position over a range that it did not get whole (I5): a delta
whose `from` is above the position is a gap, and pages of a transaction count when the last has come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from branchline_client.change import Change, Record
from branchline_client.message import Delta, Head, Rejected, SnapshotPage, Subscribed, Unsubscribed
from branchline_client.position import Position

Since: TypeAlias = Position | Literal["now"] | None
TaggedRecord: TypeAlias = tuple[str, Record]
"""A record and the collection that it is of."""


class Phase(Enum):
    """How far a feed is."""

    IDLE = "idle"
    ASKED = "asked"
    SNAPSHOT = "snapshot"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Replaced:
    """The topic's records as of `position`; what was known before is void. Records may be newer than that."""

    records: Sequence[TaggedRecord]
    position: Position


@dataclass(frozen=True, slots=True)
class Advanced:
    """All changes after the feed's last position up to `position`: often none."""

    changes: Sequence[Change]
    position: Position
    conflated: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """The topic has to be asked for again, from `since`; `later`: not at once, the server cannot just now."""

    since: Since
    why: str
    later: bool = False


@dataclass(frozen=True, slots=True)
class WentLive:
    """Nothing is missing up to the head that the server named when it was asked."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The topic cannot be followed, for a reason that asking again does not mend."""

    code: str
    message: str


Fact = Replaced | Advanced | Ask | WentLive | Ended


class Feed:
    """The state of one topic. `collection` is what its records are of, None for `*`.

    `first` is where it begins while it has no position: with a snapshot (None) or `now`.
    """

    def __init__(self, topic: str, collection: str | None, first: Since = None) -> None:
        self.topic = topic
        self.collection = collection
        self.first: Since = first
        self.canonical: str | None = None
        """The topic as the server writes it, known while it is subscribed."""
        self.last_canonical = topic
        """The same, as it was last known."""
        self.phase = Phase.IDLE
        self.position: Position | None = first if isinstance(first, Position) else None
        self.request_id: int | None = None
        self._view = ""
        self._target = 0
        self._records: list[TaggedRecord] = []
        self._pages: list[Change] = []
        self._page_offsets: set[int] = set()
        self._page_range: tuple[int, int] | None = None
        self._progressed = True

    @property
    def since(self) -> Since:
        """From where to ask."""
        return self.first if self.position is None else self.position

    @property
    def is_subscribed(self) -> bool:
        """Whether the server has said that it sends this topic."""
        return self.canonical is not None

    def asked(self, request_id: int) -> None:
        """Note that it was asked for; only the answer with this id counts."""
        self._interrupt()
        self.request_id = request_id
        self.phase = Phase.ASKED

    def disconnected(self) -> None:
        """The socket is gone: what is half received is worthless, the position stays."""
        self._interrupt()
        if self.phase is not Phase.ENDED:
            self.phase = Phase.IDLE

    def forget(self) -> None:
        """The position is worth nothing any more. Only a snapshot goes on from there: `now` would skip in silence."""
        if self.position is not None:
            self.position = None
            self.first = None

    def resume_at(self, position: Position) -> None:
        """Take over a position at which somebody else has brought this topic's listeners."""
        self.position = position

    # Messages.

    def subscribed(self, message: Subscribed) -> list[Fact]:
        """Take the answer to the last question."""
        if message.id != self.request_id:
            return []
        self.canonical = self.last_canonical = message.topic
        self._view = message.view
        self._target = message.offset
        if message.mode == "snapshot":
            self.phase = Phase.SNAPSHOT
            return []
        self.phase = Phase.CATCHING_UP
        if self.position is None:
            self.position = Position(message.epoch, message.offset, message.view)
            return [Advanced((), self.position), *self._settle()]
        return self._settle()

    def snapshot(self, page: SnapshotPage) -> list[Fact]:
        """Take a page of a snapshot; with the last one, all of them count."""
        if self.phase is not Phase.SNAPSHOT:
            return []
        collection = page.collection or self.collection or ""
        self._records.extend((collection, record) for record in page.records)
        if not page.last:
            return []
        records, self._records = self._records, []
        self.position = Position(page.epoch, page.offset, self._view)
        self.phase = Phase.CATCHING_UP
        self._progressed = True
        return [Replaced(records, self.position), *self._settle()]

    def delta(self, delta: Delta) -> list[Fact]:
        """Take a delta, or a page of one."""
        if self.phase is Phase.SNAPSHOT:
            return self._ask_again("a delta came amid a snapshot")
        position = self.position
        if self.phase not in (Phase.CATCHING_UP, Phase.LIVE) or position is None:
            return []
        if delta.epoch != position.epoch:
            return self._ask_again("the log is another one")
        if delta.from_offset > position.offset:
            return self._ask_again(f"offsets {position.offset + 1} to {delta.from_offset} did not come")
        span = (delta.from_offset, delta.to_offset)
        if self._page_range is not None and self._page_range != span:
            return self._ask_again("the last page of a transaction did not come")
        # A transaction whose pages began to come may come again as a whole.
        held = self._page_offsets
        fresh = [c for c in delta.changes if c.offset > position.offset and c.offset not in held]
        if delta.more:
            self._page_range = span
            self._pages.extend(fresh)
            held.update(change.offset for change in fresh)
            return []
        changes = [*self._pages, *fresh]
        self._forget_pages()
        return self._advance(delta.to_offset, changes, conflated=delta.conflated)

    def head(self, head: Head) -> list[Fact]:
        """Take the news that everything up to a head has come."""
        position = self.position
        if self.phase not in (Phase.CATCHING_UP, Phase.LIVE) or position is None:
            return []
        if head.epoch != position.epoch:
            return self._ask_again("the log is another one")
        if self._page_range is not None:
            return self._ask_again("the last page of a transaction did not come")
        return self._advance(head.offset, [])

    # The same by HTTP, where there is no socket.

    def fetched(self, records: Sequence[TaggedRecord] | None, position: Position) -> list[Fact]:
        """Take all records as of a position, or (None) begin at a position without any."""
        self._interrupt()
        self.position = position
        self.phase = Phase.LIVE
        self._progressed = True
        if records is None:
            return [Advanced((), position), WentLive()]
        return [Replaced(records, position), WentLive()]

    def pulled(self, delta: Delta) -> list[Fact]:
        """Take what was fetched after the position."""
        if self.phase in (Phase.IDLE, Phase.ASKED):
            self._interrupt()
            self.phase = Phase.CATCHING_UP
            self._target = delta.to_offset
        return self.delta(delta)

    # The socket again.

    def unsubscribed(self, message: Unsubscribed) -> list[Fact]:
        """Take the end of the subscription; asked for, it is nobody's business here."""
        if message.reason == "asked" or not self.is_subscribed:
            return []
        if message.reason == "revoked":
            # What was seen may not be held any more; what may still be read is told by a snapshot.
            self.forget()
        self._interrupt()
        self.phase = Phase.IDLE
        return [Ask(self.since, message.reason)]

    def rejected(self, message: Rejected, reaction: str) -> list[Fact]:
        """Take a refusal of the last question."""
        if message.id != self.request_id or self.phase is not Phase.ASKED:
            return []
        self._interrupt()
        self.phase = Phase.IDLE
        if reaction == "give_up":
            self.phase = Phase.ENDED
            return [Ended(message.code, message.message)]
        if reaction == "resnapshot":
            self.forget()
        return [Ask(self.since, message.code, later=reaction != "resnapshot")]

    # What follows.

    def _advance(self, offset: int, changes: Sequence[Change], *, conflated: bool = False) -> list[Fact]:
        assert self.position is not None
        facts: list[Fact] = []
        if offset > self.position.offset:
            self.position = self.position.at(offset)
            self._progressed = True
            facts.append(Advanced(changes, self.position, conflated))
        return [*facts, *self._settle()]

    def _settle(self) -> list[Fact]:
        if (
            self.phase is Phase.CATCHING_UP
            and self.position is not None
            and self.position.offset >= self._target
        ):
            self.phase = Phase.LIVE
            return [WentLive()]
        return []

    def _ask_again(self, why: str) -> list[Fact]:
        if not self._progressed:
            # Asked from here before, and it led to the same gap: a snapshot does not depend on it.
            self.forget()
        self._progressed = False
        self._interrupt()
        self.phase = Phase.IDLE
        return [Ask(self.since, why)]

    def _interrupt(self) -> None:
        self.canonical = None
        self.request_id = None
        self._records = []
        self._forget_pages()

    def _forget_pages(self) -> None:
        self._pages, self._page_offsets, self._page_range = [], set(), None
