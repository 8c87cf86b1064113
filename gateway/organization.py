"""What a gateway holds of one organisation: its feed, the tail of its log, and who listens to what.

Everything here happens in one turn of the event loop. What takes longer, the reading of the log, of records and of
rights, is asked for through `Errands` and comes back by a call.
"""

from collections.abc import Sequence
from typing import Protocol

from core.protocol import downstream
from core.protocol.change import LoggedChange
from gateway.fan_out import FanOut
from gateway.feed import Feed, Gap, Known, OtherEpoch, Taken
from gateway.hub import Hub
from gateway.presence import Presence
from gateway.receipts import RecentCommits
from gateway.seat import Seat
from gateway.subscription import Stage, Subscription
from gateway.tail import Chunk, Tail

MEMBERS = "organization_members"
"""The collection whose changes are changes of rights."""


class Errands(Protocol):
    """What an organisation has done for it. All calls return at once."""

    def fill_gap(self, organization: "Organization") -> None:
        """Read the log after the feed's cursor, and give it to `extend`."""

    def renew(self, organization: "Organization") -> None:
        """Read epoch and head again, and give them to `restart`."""

    def advance(self, subscription: Subscription) -> None:
        """Take a subscription forward."""

    def review(self, organization: "Organization", user_ids: set[str]) -> None:
        """Read the rights of these people again; their seats are suspended until then."""


class Organization:
    """One organisation that has sockets on this gateway."""

    def __init__(
        self,
        organization_id: str,
        feed: Feed,
        fan_out: FanOut,
        presence: Presence,
        errands: Errands,
        *,
        tail_bytes: int,
    ) -> None:
        self.id = organization_id
        self.feed = feed
        self.fan_out = fan_out
        self.presence = presence
        self.tail = Tail(feed.cursor, tail_bytes)
        self.commits = RecentCommits()
        self.hub: Hub[Seat] = Hub()
        self.seats: set[Seat] = set()
        self.waiting: set[Subscription] = set()
        """Subscriptions that wait for the feed to reach them, or the end of a transaction."""
        self._errands = errands
        self._tail_bytes = tail_bytes

    def receive(
        self, epoch: str, changes: Sequence[LoggedChange], to_offset: int, publication: bytes
    ) -> None:
        """Take what was published."""
        match self.feed.take(epoch, changes, to_offset):
            case Taken(fresh):
                self._spread(fresh, publication)
            case Gap():
                self._errands.fill_gap(self)
            case OtherEpoch():
                self._errands.renew(self)
            case Known():
                pass

    def note_head(self, epoch: str, head: int) -> None:
        """Hear where the log's head is."""
        match self.feed.note_head(epoch, head):
            case Gap():
                self._errands.fill_gap(self)
            case OtherEpoch():
                self._errands.renew(self)
            case _:
                pass

    def restart(self, epoch: str, head: int) -> None:
        """Begin in another life of the log, or behind what can no longer be read: everybody subscribes again."""
        for seat in list(self.seats):
            for subscription in list(seat.subscriptions):
                self.drop(subscription, reason="epoch")
        self.feed = Feed(epoch, head)
        self.tail = Tail(head, self._tail_bytes)
        self.commits = RecentCommits()
        self.waiting.clear()
        self.presence.records.doubt()

    # Subscriptions.

    def go_live(self, subscription: Subscription) -> None:
        """Join a subscription that stands where the feed stands to the live stream."""
        seat: Seat = subscription.seat
        feed = self.feed
        live = self.hub.live_view(subscription.view.name)
        lowest = subscription.target if live is None else max(subscription.target, live.writer.from_offset)
        if subscription.from_offset < lowest:
            # The view's next delta begins there, or the client was promised to reach it: bring it so far.
            seat.send(subscription.replay_writer(feed.epoch).reach(feed.position))
            subscription.from_offset = feed.position
        self.hub.open(subscription.view, feed.epoch, subscription.from_offset)
        subscription.go_live()
        self.settle(seat)

    def fall_behind(self, seat: Seat, cursor: int, *, conflates: bool = False) -> None:
        """Take a seat out of the live stream; everything up to `cursor` that concerns it was sent or is pending.

        `conflates`: because it does not keep up.
        """
        for subscription in seat.subscriptions:
            if subscription.stage is Stage.LIVE:
                live = self.hub.live_view(subscription.view.name)
                assert live is not None
                subscription.fall_behind(live.writer, cursor, conflates=conflates)
        self.settle(seat)

    def settle(self, seat: Seat) -> None:
        """Put a seat into the lane of the views in which it is live."""
        views = [
            live
            for each in seat.subscriptions
            if each.stage is Stage.LIVE and (live := self.hub.live_view(each.view.name)) is not None
        ]
        old = seat.lane
        if old is not None and old.views == frozenset(views):
            return
        if old is not None:
            self.fan_out.flush_lane(old)
        seat.lane = None
        if views:
            # What is pending there was sent to this seat already, by its old lane or by a replay.
            seat.lane = lane = self.hub.lane_of(views)
            self.fan_out.flush_lane(lane)
            lane.members[seat] = seat.connection.writer
        # In before out, so that a view that both lanes have lives on.
        if old is not None:
            self.hub.leave(seat, old)

    def end(self, subscription: Subscription) -> None:
        """Follow a topic no longer."""
        seat: Seat = subscription.seat
        subscription.end()
        self.presence.unfollow(subscription)
        self.waiting.discard(subscription)
        if subscription in seat.subscriptions:
            seat.subscriptions.remove(subscription)
        self.settle(seat)

    def drop(self, subscription: Subscription, *, reason: downstream.UnsubscribedReason) -> None:
        """End a subscription and say so."""
        self.end(subscription)
        subscription.seat.send(
            downstream.unsubscribed(id=None, topic=subscription.view.topic.canonical, reason=reason)
        )

    def seats_of(self, user_ids: set[str]) -> list[Seat]:
        """Give the seats of these people, those that are being signed in among them."""
        return [seat for seat in self.seats if seat.claims is not None and seat.claims.user_id in user_ids]

    # The stream.

    def _spread(self, fresh: Sequence[LoggedChange], publication: bytes) -> None:
        self.commits.note(fresh)
        self.tail.append(Chunk(fresh[0].offset, fresh[-1].offset, publication))
        users = {str(each.record.get("user_id")) for each in fresh if each.collection == MEMBERS}
        if users:
            self._suspend(users, fresh[0].offset - 1)
        self.presence.changed(fresh)
        views = dict.fromkeys([*self.hub.concerned(fresh), *self.hub.unfinished()])
        for live in views:
            before = live.writer.written
            messages = live.writer.write(fresh)
            if messages:
                self.fan_out.post(live, messages, live.writer.written - before)
        if self.feed.is_whole and self.waiting:
            waiting, self.waiting = self.waiting, set()
            for subscription in waiting:
                self._errands.advance(subscription)

    def _suspend(self, user_ids: set[str], cursor: int) -> None:
        """Send nothing more to people whose rights have just changed until they were read again (I8)."""
        for seat in self.seats_of(user_ids):
            seat.is_suspended = True
            self.fall_behind(seat, cursor)
        self._errands.review(self, user_ids)
