"""Presence, signals and editing leases on a topic. All of it is of the moment: nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from branchline_client import message as messages
from branchline_client.callbacks import Callbacks
from branchline_client.message import PresenceNews, Signal
from branchline_client.roster import Person, Roster, RosterUpdate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from branchline_client.subscriptions import Subscriptions, TopicSpec

State = Mapping[str, Any]


class Presence:
    """Who is on a topic. Others are shown as long as this is open; oneself from the first `announce`."""

    def __init__(self, spec: TopicSpec, desk: PresenceDesk) -> None:
        self.spec = spec
        self.on_change: Callbacks[[RosterUpdate]] = Callbacks()
        self.on_signal: Callbacks[[Signal]] = Callbacks()
        self.roster = Roster()
        self.state: State | None = None
        """What was announced last."""
        self._desk = desk

    @property
    def people(self) -> list[Person]:
        """Everybody who is named on the topic, oneself among them."""
        return list(self.roster.people.values())

    @property
    def others(self) -> list[Person]:
        """Everybody but this connection."""
        mine = self._desk.connection_id()
        return [person for person in self.roster.people.values() if person.connection_id != mine]

    def editing_others(self, record_id: str, field: str | None = None) -> list[Person]:
        """Those others who edit a record, or one field of it."""
        mine = self._desk.connection_id()
        return [each for each in self.roster.editing(record_id, field) if each.connection_id != mine]

    def announce(self, state: State | None) -> None:
        """Say what one does here, now and after each reconnection; None leaves."""
        self.state = state
        self._desk.announce(self.spec.topic, state)

    def signal(self, event: str, payload: Any = None) -> bool:
        """Tell the others something. Whether there was a connection to tell it on: it is not sent later."""
        return self._desk.send(messages.signal(self.spec.topic, event, payload))

    @asynccontextmanager
    async def editing(self, record_id: str, field: str, version: int | None = None) -> AsyncIterator[None]:
        """Hold an advisory lease: others see that one edits this field, of the record at this version."""
        before = self.state
        state: dict[str, Any] = {"record": record_id, "field": field}
        if version is not None:
            state["version"] = version
        self.announce(state)
        try:
            yield
        finally:
            if self.state is state:
                self.announce(before)

    def close(self) -> None:
        """Leave."""
        if self.state is not None:
            self.announce(None)
        self._desk.close(self)

    async def __aenter__(self) -> Presence:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class PresenceDesk:
    """All presences of a client."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        send: Callable[[bytes], bool],
        connection_id: Callable[[], str | None],
    ) -> None:
        self.send = send
        self.connection_id = connection_id
        self._subscriptions = subscriptions
        self._open: dict[str, list[Presence]] = {}
        self._canonical: dict[str, str] = {}
        self._states: dict[str, State] = {}

    def open(self, spec: TopicSpec) -> Presence:
        """Ask for presence on a topic."""
        presence = Presence(spec, self)
        self._open.setdefault(spec.topic, []).append(presence)
        self._subscriptions.follow(spec, None, presence=True)
        return presence

    def close(self, presence: Presence) -> None:
        """Leave a topic, unless another presence is open on it."""
        topic = presence.spec.topic
        left = [each for each in self._open.get(topic, ()) if each is not presence]
        if left:
            self._open[topic] = left
        elif self._open.pop(topic, None):
            self._subscriptions.unfollow(topic, None)

    def announce(self, topic: str, state: State | None) -> None:
        """Announce a state, and keep it for the next connection."""
        if state is None:
            self._states.pop(topic, None)
        else:
            self._states[topic] = state
        self.send(messages.announce(topic, state))

    def subscribed(self, topic: str, canonical: str) -> None:
        """The topic is followed anew: a roster comes, and nobody has heard of oneself yet."""
        self._canonical[canonical] = topic
        for presence in self._open.get(topic, ()):
            presence.roster.subscribed()
        state = self._states.get(topic)
        if state is not None:
            self.send(messages.announce(topic, state))

    def news(self, news: PresenceNews) -> None:
        """Take news of who is there."""
        for presence in self._of(news.topic):
            presence.on_change.tell(presence.roster.take(news))

    def signalled(self, signal: Signal) -> None:
        """Take a signal."""
        for presence in self._of(signal.topic):
            presence.on_signal.tell(signal)

    def disconnected(self) -> None:
        """Nobody can be seen."""
        for presences in self._open.values():
            for presence in presences:
                left = presence.people
                presence.roster.people = {}
                presence.roster.count = 0
                if left:
                    presence.on_change.tell(RosterUpdate(left=left))

    def _of(self, canonical: str) -> list[Presence]:
        return list(self._open.get(self._canonical.get(canonical, canonical), ()))
