"""PURE. One socket following one topic: from a choice, by a snapshot or a replay, to live; and back when it is slow.

    choosing ─▶ snapshot ─▶ behind ◀─▶ live        any ─▶ ended
        └────────────────────▲ ──────────▲

A subscription that is behind has a place in the log of its own, `cursor`, and no frames wait for it anywhere: what
comes after the cursor is read when it is its turn. A live one stands where the feed stands and its view's deltas go
to it. `next_step` says what takes a subscription forward; who reads and sends is in `gateway.catch_up`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from core.protocol.position import Since
from core.protocol.view import View
from gateway.delta import DeltaWriter
from gateway.feed import Feed
from gateway.tail import Tail


class Stage(Enum):
    """How far a subscription is."""

    CHOOSING = "choosing"
    """A position was given, and the log has to be asked whether it can go on from there."""
    SNAPSHOT = "snapshot"
    BEHIND = "behind"
    LIVE = "live"
    ENDED = "ended"


@dataclass(slots=True)
class SnapshotProgress:
    """How much of a snapshot was sent: `collections` are left, the first one is read after the record `after`."""

    collections: list[str]
    after: str | None = None


class Subscription:
    """What one socket is sent of one topic, and how far.

    `target` is the head that `subscribed` promised to reach: a delta that reaches it is sent even if it is empty.
    While the subscription is behind, everything up to `cursor` that the view shows was sent, `from_offset` is the end
    of the last delta, and `in_page` says that pages of a transaction were sent without its last. While it is live,
    these three are its view's.
    """

    __slots__ = (
        "conflates",
        "cursor",
        "failing_since",
        "from_offset",
        "in_page",
        "is_working",
        "progress",
        "request_id",
        "seat",
        "since",
        "stage",
        "target",
        "view",
        "with_presence",
    )

    def __init__(self, seat: Any, request_id: int, view: View, *, with_presence: bool = False) -> None:
        self.seat = seat
        self.request_id = request_id
        self.view = view
        self.with_presence = with_presence
        """Whether its client asked to be told who is here."""
        self.stage = Stage.CHOOSING
        self.since: Since | None = None
        self.progress: SnapshotProgress | None = None
        self.target = 0
        self.cursor = 0
        self.from_offset = 0
        self.in_page = False
        self.conflates = False
        """Whether it fell behind because its reader is slow: it is brought up with states, not with steps."""
        self.is_working = False
        """Whether something is being read for it."""
        self.failing_since: float | None = None
        """When the first of the reads in a row failed that have."""

    def begin_choosing(self, since: Since) -> None:
        """Keep a position until the log has said whether it can go on from there."""
        self.since = since
        self.stage = Stage.CHOOSING

    def begin_snapshot(self, head: int) -> None:
        """Stand at `head`; the records are read next, then what came after `head`."""
        self._stand_at(head, target=head)
        self.stage = Stage.SNAPSHOT
        self.progress = SnapshotProgress(sorted(self.view.fields))

    def begin_replay(self, since: Since, head: int) -> None:
        """Stand at a position; what came after it is sent next, at least up to `head`."""
        self._stand_at(since.offset, target=head)
        self.stage = Stage.BEHIND

    def begin_now(self, head: int) -> None:
        """Stand at `head`, with nothing to be sent up to there."""
        self._stand_at(head, target=head)
        self.stage = Stage.BEHIND

    def end_snapshot(self) -> None:
        """The records were sent: what came after the position they were announced at is next."""
        self.progress = None
        self.stage = Stage.BEHIND

    def fall_behind(self, writer: DeltaWriter, cursor: int, *, conflates: bool) -> None:
        """Leave the live stream where its view's writer stands, with everything up to `cursor` sent."""
        self.conflates = conflates
        self.from_offset = writer.from_offset
        self.in_page = writer.in_page
        self.cursor = cursor
        self.stage = Stage.BEHIND

    def go_live(self) -> None:
        """Join the live stream."""
        self.conflates = False
        self.stage = Stage.LIVE
        self.target = 0

    def end(self) -> None:
        """Be sent nothing more."""
        self.stage = Stage.ENDED
        self.progress = None

    def replay_writer(self, epoch: str) -> DeltaWriter:
        """Give a writer that goes on where this subscription's last delta ended."""
        return DeltaWriter(self.view, epoch, self.from_offset, in_page=self.in_page)

    def replayed(self, cursor: int, *, from_offset: int, in_page: bool) -> None:
        """Note that everything up to `cursor` was sent, and where the last delta of it ended."""
        self.cursor = cursor
        self.from_offset = from_offset
        self.in_page = in_page

    def _stand_at(self, offset: int, *, target: int) -> None:
        self.since = None
        self.cursor = offset
        self.from_offset = offset
        self.in_page = False
        self.target = target


class Step(Enum):
    """What takes a subscription forward."""

    NOTHING = "nothing"
    CHOOSE = "choose"
    READ_PAGE = "read_page"
    REPLAY = "replay"
    READ_LOG = "read_log"
    GO_LIVE = "go_live"
    AWAIT_FEED = "await_feed"


def next_step(subscription: Subscription, feed: Feed, tail: Tail) -> Step:
    """Say what takes a subscription forward, given where its organisation's feed stands and what its tail holds."""
    match subscription.stage:
        case Stage.CHOOSING:
            return Step.CHOOSE
        case Stage.SNAPSHOT:
            return Step.READ_PAGE
        case Stage.LIVE | Stage.ENDED:
            return Step.NOTHING
        case Stage.BEHIND:
            return _step_behind(subscription.cursor, feed, tail)


def _step_behind(cursor: int, feed: Feed, tail: Tail) -> Step:
    if cursor < feed.cursor:
        return Step.REPLAY if cursor >= tail.start else Step.READ_LOG
    # Live begins between two transactions only, so that all pages of one have the same `from`. And a client that was
    # on another gateway may know more than this one does yet.
    return Step.GO_LIVE if cursor == feed.cursor and feed.is_whole else Step.AWAIT_FEED
