"""Topics on the wire: which are followed, by whom here, and what has to be asked again.

Several listeners may share a topic, each at its own position. A feed is never ahead of one of its listeners, so what
one of them has seen already it skips, and none misses anything.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from branchline_client import message as messages
from branchline_client.backoff import RetryPolicy
from branchline_client.change import Change
from branchline_client.codes import reaction_to_rejection
from branchline_client.feed import (
    Advanced,
    Ask,
    Ended,
    Fact,
    Feed,
    Phase,
    Replaced,
    Since,
    TaggedRecord,
    WentLive,
)
from branchline_client.message import Delta, Head, Rejected, SnapshotPage, Subscribed, Unsubscribed
from branchline_client.mirror import InconsistentError
from branchline_client.position import Position
from branchline_client.topic import Conditions

_log = logging.getLogger("branchline_client")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic, and what it is made of."""

    topic: str
    collection: str
    conditions: Conditions = field(default_factory=dict)
    record_id: str | None = None


class Listener(Protocol):
    """Who follows a topic here. All calls return at once. `position` is up to where it has been told everything."""

    position: Position | None
    wants_snapshot: bool
    """Whether, without a position, it begins with all records; else with what comes from now on."""

    def replaced(self, records: Sequence[TaggedRecord], position: Position) -> None:
        """Take a snapshot."""

    def advanced(self, changes: Sequence[Change], position: Position) -> None:
        """Take all changes up to a position. Raises InconsistentError: then it is given a snapshot."""

    def settled(self) -> None:
        """Everything that a snapshot may have run ahead of has come."""

    def went_live(self) -> None:
        """Nothing is missing."""

    def interrupted(self) -> None:
        """The connection is gone."""

    def ended(self, code: str, message: str) -> None:
        """The topic cannot be followed."""


@dataclass(slots=True, eq=False)
class Entry:
    """A topic that is followed."""

    spec: TopicSpec
    feed: Feed
    listeners: list[Listener] = field(default_factory=list)
    joining: dict[int, list[Advanced]] = field(default_factory=dict)
    """What has come for listeners whose snapshot is being fetched, by their `id()`."""
    with_presence: bool = False
    heads_since_snapshot: int = 0
    timer: asyncio.TimerHandle | None = None
    tries: int = 0


class Snapshots(Protocol):
    """Fetches snapshots by HTTP."""

    def fetch(self, spec: TopicSpec, at: Position, done: Callable[[Sequence[TaggedRecord]], None]) -> None:
        """Fetch a topic's records, none older than `at`, and give them to `done`; tries until it has them."""


class Subscriptions:
    """All topics of a client. `send` says whether there was a live socket to send to."""

    def __init__(self, send: Callable[[bytes], bool], snapshots: Snapshots, policy: RetryPolicy) -> None:
        self._send = send
        self._snapshots = snapshots
        self._policy = policy
        self._entries: dict[str, Entry] = {}
        self._request_id = 0
        self.on_fact: Callable[[TopicSpec, Fact], None] | None = None
        """Told of everything that arrives, before the listeners: for tests and tools."""
        self.on_subscribed: Callable[[str, str], None] | None = None
        """Told of each topic that is followed anew, as asked for and as the server writes it."""

    @property
    def entries(self) -> list[Entry]:
        """What is followed."""
        return list(self._entries.values())

    def follow(
        self, spec: TopicSpec, listener: Listener | None, since: Since = "now", *, presence: bool = False
    ) -> Entry:
        """Follow a topic; a listener's own `position` and `wants_snapshot` say where it begins."""
        entry = self._entries.get(spec.topic)
        collection = None if spec.collection == "*" else spec.collection
        if entry is None:
            entry = self._entries[spec.topic] = Entry(spec, Feed(spec.topic, collection, since))
            is_new = True
        else:
            is_new = entry.feed.phase is Phase.ENDED
        if listener is not None:
            entry.listeners.append(listener)
        if presence and not entry.with_presence:
            entry.with_presence = is_new = True
        if is_new:
            self._ask(entry)
        elif entry.feed.position is None and listener is not None and listener.wants_snapshot:
            if entry.feed.first == "now":
                entry.feed.first = None
                self._ask(entry)
        else:
            self._reconcile(entry)
        return entry

    def unfollow(self, topic: str, listener: Listener | None) -> None:
        """Follow a topic no longer, unless somebody else does. Without a listener: its presence."""
        entry = self._entries.get(topic)
        if entry is None:
            return
        if listener is None:
            entry.with_presence = False
        elif listener in entry.listeners:
            entry.listeners.remove(listener)
            entry.joining.pop(id(listener), None)
        if entry.listeners or entry.with_presence:
            return
        del self._entries[topic]
        _cancel(entry)
        canonical = entry.feed.canonical
        if canonical is not None and not self._of(canonical):
            self._send(messages.unsubscribe(self._next_id(), canonical))

    def restart(self, entry: Entry) -> None:
        """Ask for a topic again from where it stands."""
        self._ask(entry)

    # The socket.

    def connected(self) -> None:
        """Ask for everything."""
        for entry in self.entries:
            if entry.feed.phase is not Phase.ENDED:
                self._ask(entry)

    def disconnected(self) -> None:
        """Nothing is subscribed any more."""
        for entry in self.entries:
            entry.feed.disconnected()
            _cancel(entry)
            for listener in entry.listeners:
                listener.interrupted()

    def subscribed(self, message: Subscribed) -> None:
        """Take an answer to a question."""
        for entry in self.entries:
            if entry.feed.request_id == message.id:
                entry.tries = 0
                self._take(entry, entry.feed.subscribed(message))
                if self.on_subscribed is not None:
                    self.on_subscribed(entry.spec.topic, message.topic)

    def snapshot(self, page: SnapshotPage) -> None:
        """Take a page of a snapshot."""
        for entry in self._of(page.topic):
            entry.heads_since_snapshot = 0
            self._take(entry, entry.feed.snapshot(page))

    def delta(self, delta: Delta) -> None:
        """Take a delta."""
        for entry in self._of(delta.topic):
            self._take(entry, entry.feed.delta(delta))

    def head(self, head: Head) -> None:
        """Take a head: it moves every topic."""
        for entry in self.entries:
            self._take(entry, entry.feed.head(head))
            entry.heads_since_snapshot += 1
            # The gateway itself may have been behind the pages that it read: the second head is past them.
            if entry.heads_since_snapshot == 2:
                for listener in entry.listeners:
                    listener.settled()

    def unsubscribed(self, message: Unsubscribed) -> None:
        """Take the end of a subscription."""
        for entry in self._of(message.topic):
            self._take(entry, entry.feed.unsubscribed(message))

    def rejected(self, message: Rejected) -> bool:
        """Take a refusal; say whether it was of a topic."""
        reaction = reaction_to_rejection(message.code, message.reaction)
        for entry in self.entries:
            if message.id is not None and entry.feed.request_id == message.id:
                self._take(entry, entry.feed.rejected(message, reaction))
                return True
        return False

    # Facts.

    def take(self, entry: Entry, facts: Iterable[Fact]) -> None:
        """Take what has come of a topic by another way than the socket."""
        self._take(entry, facts)

    def _take(self, entry: Entry, facts: Iterable[Fact]) -> None:
        for fact in facts:
            if self.on_fact is not None:
                self.on_fact(entry.spec, fact)
            match fact:
                case Replaced():
                    entry.joining.clear()
                    for listener in list(entry.listeners):
                        listener.replaced(fact.records, fact.position)
                case Advanced():
                    for listener in list(entry.listeners):
                        self._advance(entry, listener, fact)
                    self._reconcile(entry)
                case WentLive():
                    for listener in list(entry.listeners):
                        if id(listener) not in entry.joining:
                            listener.went_live()
                case Ask():
                    _log.info("topic %s is asked for again: %s", entry.spec.topic, fact.why)
                    self._ask(entry, later=fact.later)
                case Ended():
                    for listener in list(entry.listeners):
                        listener.ended(fact.code, fact.message)

    def _advance(self, entry: Entry, listener: Listener, fact: Advanced) -> None:
        held = entry.joining.get(id(listener))
        if held is not None:
            held.append(fact)
            return
        known = listener.position
        if known is None or known.epoch != fact.position.epoch or known.offset >= fact.position.offset:
            return
        fresh = [change for change in fact.changes if change.offset > known.offset]
        try:
            listener.advanced(fresh, fact.position)
        except InconsistentError as error:
            _log.warning("topic %s is read anew: %s", entry.spec.topic, error)
            listener.position = None
            self._join(entry, listener)

    def _reconcile(self, entry: Entry) -> None:
        """Bring listeners that stand elsewhere than the feed to where it stands, or it to them."""
        at = entry.feed.position
        if at is None:
            return
        lowest = at
        for listener in list(entry.listeners):
            own = listener.position
            if id(listener) in entry.joining:
                continue
            if own is None and not listener.wants_snapshot:
                listener.advanced((), at)
            elif own is None or (own.epoch, own.view) != (at.epoch, at.view):
                self._join(entry, listener)
            elif own.offset < lowest.offset:
                lowest = own
        if lowest is not at:
            entry.feed.resume_at(lowest)
            self._ask(entry)

    def _join(self, entry: Entry, listener: Listener) -> None:
        """Fetch a snapshot for one listener while the others go on; what comes meanwhile is kept for it."""
        at = entry.feed.position
        if at is None:
            # A snapshot is on its way for everybody.
            return
        held: list[Advanced] = []
        entry.joining[id(listener)] = held

        def done(records: Sequence[TaggedRecord]) -> None:
            if entry.joining.get(id(listener)) is not held:
                return
            del entry.joining[id(listener)]
            listener.replaced(records, at)
            for fact in held:
                self._advance(entry, listener, fact)
            if entry.feed.phase is Phase.LIVE:
                listener.went_live()

        self._snapshots.fetch(entry.spec, at, done)

    # Asking.

    def _ask(self, entry: Entry, *, later: bool = False) -> None:
        _cancel(entry)
        if later:
            entry.tries += 1
            delay_ms = self._policy.delay_ms(entry.tries, random.random())
            loop = asyncio.get_running_loop()
            entry.timer = loop.call_later(delay_ms / 1000, self._ask, entry)
            return
        request_id = self._next_id()
        message = messages.subscribe(
            request_id, entry.spec.topic, entry.feed.since, presence=entry.with_presence
        )
        if self._send(message):
            entry.feed.asked(request_id)

    def _of(self, canonical: str) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.feed.canonical == canonical]

    def _next_id(self) -> int:
        self._request_id += 1
        return self._request_id


def _cancel(entry: Entry) -> None:
    if entry.timer is not None:
        entry.timer.cancel()
        entry.timer = None
