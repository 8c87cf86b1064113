"""Presence in one organisation: what its sockets here announce, what other gateways tell, and who is shown what.

Changes are collected for the rest of the event loop's turn, in a burst for `BURST_SECONDS`, and then told: to the
other gateways in one bulletin, and to each audience in one message, encoded once. So a socket that announces without
end costs others one small message in each burst. Those that cannot be told at the moment, because they do not read or
because their rights are in question, are told later what has changed since: nothing waits for them.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from core.protocol import downstream
from core.protocol.change import LoggedChange
from gateway.audience import Audience, News, Shown, audiences_concerned, keys_of
from gateway.bulletin import ENTRIES_AT_ONCE, Ask, Bulletin, Tell
from gateway.frame import text_frame
from gateway.jobs import Jobs
from gateway.metrics import Metrics
from gateway.records import ReadsRecords, Records
from gateway.roster import Entry, Key, Roster
from gateway.seat import Seat
from gateway.subscription import Subscription

BURST_SECONDS = 0.05
ENTRIES_IN_MESSAGE = 200
ORGANIZATION_ENTRIES = 10_000
"""Entries that an organisation may have, over all gateways."""
SETTLE_SECONDS = 0.25
"""Time that a first roster waits for what other gateways have to tell."""


class Presence:
    """Who is here in one organisation, and who looks on.

    `tell(bulletin)` sends a bulletin to the other gateways. `on_known` and `on_failed` hear of records that were read,
    for those who wait to announce something about them.
    """

    def __init__(
        self,
        organization_id: str,
        gateway_id: str,
        reader: ReadsRecords,
        jobs: Jobs,
        metrics: Metrics,
        *,
        tell: Callable[[Bulletin], None],
        on_known: Callable[[Sequence[Key]], None],
        on_failed: Callable[[Sequence[Key]], None],
    ) -> None:
        self.gateway_id = gateway_id
        self.roster = Roster(gateway_id, ORGANIZATION_ENTRIES)
        self.records = Records(organization_id, reader, jobs, on_known=self._known, on_failed=on_failed)
        self._metrics = metrics
        self._tell = tell
        self._on_known = on_known
        self._loop = asyncio.get_running_loop()
        self._audiences: dict[str, Audience[Subscription]] = {}
        self._index: dict[str, list[Audience[Subscription]]] = {}
        self._watched: dict[Subscription, Audience[Subscription]] = {}
        self._listeners: dict[str, set[Subscription]] = {}
        self._dirty: dict[Audience[Subscription], None] = {}
        self._outgoing: dict[tuple[str, str], Entry | None] = {}
        self._flushing: asyncio.Handle | None = None
        self._flushed_at = float("-inf")
        self._settling: asyncio.TimerHandle | None = self._loop.call_later(SETTLE_SECONDS, self.settle)
        self._waiting: set[Subscription] = set()

    def close(self) -> None:
        """End: nobody is left here."""
        for handle in (self._flushing, self._settling):
            if handle is not None:
                handle.cancel()

    # Announcing.

    def put(self, entry: Entry) -> bool:
        """Set an entry, of a socket here or of another gateway's; say whether there was room for it."""
        try:
            old = self.roster.put(entry, self._loop.time())
        except ValueError:
            return False
        if old is entry or old == entry:
            return True
        if entry.about is not None:
            self.records.hold(entry.about.key)
        self._changed(entry)
        if old is not None:
            self._dropped(old)
        return True

    def drop(self, gateway_id: str, connection_id: str, topic: str) -> None:
        """End an entry."""
        entry = self.roster.drop(gateway_id, connection_id, topic)
        if entry is not None:
            self._dropped(entry)

    def leave(self, connection_id: str) -> None:
        """End all entries of a socket here that is gone."""
        for entry in self.roster.drop_connection(self.gateway_id, connection_id):
            self._dropped(entry)

    def expire(self, seconds: float) -> None:
        """End the entries that other gateways have not told for so long."""
        for entry in self.roster.expire(self._loop.time() - seconds):
            self._dropped(entry)

    def state(self, answer: str | None = None) -> Iterable[Tell]:
        """Give all entries of sockets here, in parts; the last one says whom it answers."""
        entries = list(self.roster.own())
        parts = [entries[n : n + ENTRIES_AT_ONCE] for n in range(0, len(entries), ENTRIES_AT_ONCE)]
        for number, part in enumerate(parts or [[]], 1):
            yield Tell(put=part, answer=answer if number >= len(parts) else None)

    def ask(self) -> None:
        """Ask the other gateways for their entries."""
        self._tell(Ask())

    def settle(self) -> None:
        """Have those who wait for their roster get it: the others have told theirs, or take too long."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        waiting, self._waiting = self._waiting, set()
        for audience in {self._watched[each] for each in waiting}:
            self._send_news(audience)
        for subscription in waiting:
            self._welcome(subscription, self._watched[subscription])

    def changed(self, changes: Iterable[LoggedChange]) -> None:
        """Take changes of records from the feed."""
        self.records.changed(changes)

    # Looking on.

    def follow(self, subscription: Subscription, *, watch: bool) -> None:
        """Let a subscription that was answered hear signals and, to `watch`, see who is here."""
        topic = subscription.view.topic.canonical
        self._listeners.setdefault(topic, set()).add(subscription)
        if not watch:
            return
        view = subscription.view
        audience = self._audiences.get(view.name)
        if audience is None:
            audience = self._audiences[view.name] = Audience(view)
            for key in keys_of(view):
                self._index.setdefault(key, []).append(audience)
            concerned = self.roster.concerning(topic, view.topic.collection, view.topic.record_id)
            audience.dirty.update(dict.fromkeys(concerned))
            audience.take_news(self._look(audience), len(audience.dirty))
        else:
            self._send_news(audience)
        audience.members.add(subscription)
        self._watched[subscription] = audience
        if self._settling is None:
            self._welcome(subscription, audience)
        else:
            audience.behind[subscription] = None
            self._waiting.add(subscription)

    def unfollow(self, subscription: Subscription) -> None:
        """Let a subscription that has ended go."""
        topic = subscription.view.topic.canonical
        listeners = self._listeners.get(topic, set())
        listeners.discard(subscription)
        if not listeners:
            self._listeners.pop(topic, None)
        self._waiting.discard(subscription)
        audience = self._watched.pop(subscription, None)
        if audience is None:
            return
        audience.members.discard(subscription)
        audience.behind.pop(subscription, None)
        if not audience.members:
            del self._audiences[audience.view.name]
            self._dirty.pop(audience, None)
            for key in keys_of(audience.view):
                self._index[key].remove(audience)
                if not self._index[key]:
                    del self._index[key]

    def resume(self, seat: Seat) -> None:
        """Tell a seat that may be told again what it has missed."""
        for subscription in seat.subscriptions:
            audience = self._watched.get(subscription)
            if audience is not None and subscription in audience.behind:
                self._catch_up(audience, subscription)

    def listeners(self, topic: str) -> Iterable[Subscription]:
        """Give the subscriptions of a topic."""
        return self._listeners.get(topic, ())

    # What changes.

    def _dropped(self, entry: Entry) -> None:
        self._changed(entry)
        if entry.about is not None:
            self.records.let_go(entry.about.key)

    def _changed(self, entry: Entry) -> None:
        """Look at a connection again for those who may be shown this entry, and tell the others if it is ours."""
        for audience in audiences_concerned(self._index, entry):
            audience.dirty[entry.connection_id] = None
            self._dirty[audience] = None
        if entry.gateway_id == self.gateway_id:
            place = entry.connection_id, entry.topic
            self._outgoing[place] = self.roster.get(*place)
        if self._dirty or self._outgoing:
            self._flush_soon()

    def _known(self, keys: Sequence[Key]) -> None:
        """Look again at those who announced something about records, and let those go on who wait for them."""
        for key in keys:
            for entry in self.roster.about(key):
                for audience in audiences_concerned(self._index, entry):
                    audience.dirty[entry.connection_id] = None
                    self._dirty[audience] = None
        if self._dirty:
            self._flush_soon()
        self._on_known(keys)

    # Telling.

    def _flush_soon(self) -> None:
        if self._flushing is not None:
            return
        wait_seconds = self._flushed_at + BURST_SECONDS - self._loop.time()
        if wait_seconds <= 0:
            self._flushing = self._loop.call_soon(self._flush)
        else:
            self._flushing = self._loop.call_later(wait_seconds, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        self._flushed_at = self._loop.time()
        if self._outgoing:
            outgoing, self._outgoing = self._outgoing, {}
            put = [entry for entry in outgoing.values() if entry is not None]
            drop = [place for place, entry in outgoing.items() if entry is None]
            self._tell(Tell(put=put, drop=drop))
        for audience in list(self._dirty):
            self._send_news(audience)
        if self._dirty:
            self._flush_soon()

    def _send_news(self, audience: Audience[Subscription]) -> None:
        """Tell an audience its news, as much as goes into one message."""
        for subscription in audience.members:
            if subscription.seat.is_held and subscription not in audience.behind:
                audience.behind[subscription] = dict(audience.shown)
        news = audience.take_news(self._look(audience), ENTRIES_IN_MESSAGE)
        if not audience.dirty:
            self._dirty.pop(audience, None)
        if not news:
            return
        frames = _frames(audience, news)
        for subscription in audience.members:
            if subscription not in audience.behind:
                self._send(subscription, frames)

    def _look(self, audience: Audience[Subscription]) -> Callable[[str], Shown | None]:
        return lambda connection_id: audience.look(self.roster.of_connection(connection_id), self.records.get)

    def _welcome(self, subscription: Subscription, audience: Audience[Subscription]) -> None:
        """Send the roster, as soon as the seat may be told anything."""
        audience.behind[subscription] = None
        self._catch_up(audience, subscription)

    def _catch_up(self, audience: Audience[Subscription], subscription: Subscription) -> None:
        if subscription in self._waiting:
            return
        if audience.behind[subscription] is None and not subscription.seat.is_held:
            del audience.behind[subscription]
            roster, count = audience.roster(ENTRIES_IN_MESSAGE), len(audience.shown)
            message = downstream.presence(
                topic=audience.view.topic.canonical, joined=roster, left=(), changed=(), count=count
            )
            self._send(subscription, text_frame(message))
        while subscription in audience.behind and not subscription.seat.is_held:
            news = audience.missed(subscription, ENTRIES_IN_MESSAGE)
            if news:
                self._send(subscription, _frames(audience, news))

    def _send(self, subscription: Subscription, frames: bytes) -> None:
        subscription.seat.send_frames(frames)
        self._metrics.presence_messages += 1


def _frames(audience: Audience[Subscription], news: News) -> bytes:
    topic = audience.view.topic.canonical
    message = downstream.presence(topic=topic, joined=news.joined, left=news.left, changed=news.changed)
    return text_frame(message)
