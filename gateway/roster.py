"""PURE. Who is here, in one organisation: on which topic, with which state, by which gateway.

An **entry** is what one connection has announced on one topic. Entries of this gateway's own sockets stay until they
are dropped. Those of other gateways are told again every few seconds, and one that is not is dropped by `expire`: so
a gateway that was killed leaves no ghosts.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""Collection and id of a record."""


@dataclass(frozen=True, slots=True)
class About:
    """The record that an announcement or a signal is about.

    `is_lease`: the announced state names the record, so that it is shown on every topic whose view contains it.
    """

    collection: str
    record_id: str
    field: str | None = None
    is_lease: bool = False

    @property
    def key(self) -> Key:
        """Collection and id."""
        return self.collection, self.record_id


@dataclass(frozen=True, slots=True)
class Person:
    """A connection, and who sits there. `branch_id` is the person's if they have exactly one."""

    connection_id: str
    user_id: str
    name: str
    branch_id: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a connection has announced on a topic (in canonical form)."""

    gateway_id: str
    person: Person
    topic: str
    state: Mapping[str, Any]
    about: About | None = None

    @property
    def connection_id(self) -> str:
        """Whose entry it is."""
        return self.person.connection_id


class Roster:
    """All entries of one organisation, at most `limit` of them.

    Methods that change something give what they changed, so that those who look on can be told. `now` is in seconds
    of any clock that does not go back.
    """

    def __init__(self, gateway_id: str, limit: int) -> None:
        self._gateway_id = gateway_id
        self._limit = limit
        self._count = 0
        self._by_connection: dict[str, dict[str, Entry]] = {}
        self._by_topic: dict[str, dict[str, Entry]] = {}
        self._leases: dict[str, dict[tuple[str, str], Entry]] = {}
        self._by_record: dict[Key, dict[tuple[str, str], Entry]] = {}
        self._refreshed_at: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another entry."""
        return self._count >= self._limit

    def get(self, connection_id: str, topic: str) -> Entry | None:
        """Find an entry."""
        return self._by_connection.get(connection_id, {}).get(topic)

    def of_connection(self, connection_id: str) -> Collection[Entry]:
        """Give a connection's entries, the one that was announced last at the end."""
        return self._by_connection.get(connection_id, {}).values()

    def own(self) -> Iterable[Entry]:
        """Give the entries of this gateway's sockets."""
        for entries in self._by_connection.values():
            for entry in entries.values():
                if entry.gateway_id == self._gateway_id:
                    yield entry

    def about(self, key: Key) -> Collection[Entry]:
        """Give the entries that are about a record."""
        return self._by_record.get(key, {}).values()

    def concerning(self, topic: str, collection: str | None, record_id: str | None) -> Iterable[str]:
        """Give the connections that a view of a topic may show something of, some more than once.

        `collection` and `record_id` are the topic's.
        """
        yield from self._by_topic.get(topic, {})
        if record_id is not None and collection is not None:
            for entry in self.about((collection, record_id)):
                yield entry.connection_id
        elif collection is not None:
            for connection_id, _ in self._leases.get(collection, {}):
                yield connection_id
        else:
            for leases in self._leases.values():
                for connection_id, _ in leases:
                    yield connection_id

    # Changes.

    def put(self, entry: Entry, now: float) -> Entry | None:
        """Set what a connection announces on a topic; give the entry that it replaces, None if it is new.

        An entry like the one that is there is given back itself: nothing has changed, but it is fresh again. Raises
        ValueError if it is new and the roster is full, or if the connection is another gateway's.
        """
        place = entry.connection_id, entry.topic
        old = self.get(*place)
        if old is None and self.is_full:
            raise ValueError(f"expected at most {self._limit} entries")
        if old is not None and old.gateway_id != entry.gateway_id:
            raise ValueError("expected an entry of the gateway that holds the connection")
        if entry.gateway_id != self._gateway_id:
            self._refreshed_at[place] = now
        if old == entry:
            return old
        if old is not None:
            self._remove(old)
        self._count += 1
        # A new key goes to the end of each, so what was announced last is last.
        self._by_connection.setdefault(entry.connection_id, {})[entry.topic] = entry
        self._by_topic.setdefault(entry.topic, {})[entry.connection_id] = entry
        if entry.about is not None:
            self._by_record.setdefault(entry.about.key, {})[place] = entry
            if entry.about.is_lease:
                self._leases.setdefault(entry.about.collection, {})[place] = entry
        return old

    def drop(self, gateway_id: str, connection_id: str, topic: str) -> Entry | None:
        """Take out an entry of a gateway, and give it; None if it has none there."""
        entry = self.get(connection_id, topic)
        if entry is None or entry.gateway_id != gateway_id:
            return None
        self._remove(entry)
        self._refreshed_at.pop((connection_id, topic), None)
        return entry

    def drop_connection(self, gateway_id: str, connection_id: str) -> list[Entry]:
        """Take out all entries of a connection."""
        topics = list(self._by_connection.get(connection_id, ()))
        dropped = [self.drop(gateway_id, connection_id, topic) for topic in topics]
        return [entry for entry in dropped if entry is not None]

    def expire(self, before: float) -> list[Entry]:
        """Take out other gateways' entries that were last told before a moment."""
        late = [place for place, at in self._refreshed_at.items() if at < before]
        dropped = []
        for place in late:
            del self._refreshed_at[place]
            entry = self.get(*place)
            assert entry is not None
            self._remove(entry)
            dropped.append(entry)
        return dropped

    def _remove(self, entry: Entry) -> None:
        self._count -= 1
        place = entry.connection_id, entry.topic
        _discard(self._by_connection, entry.connection_id, entry.topic)
        _discard(self._by_topic, entry.topic, entry.connection_id)
        if entry.about is not None:
            _discard(self._by_record, entry.about.key, place)
            if entry.about.is_lease:
                _discard(self._leases, entry.about.collection, place)


def _discard(index: dict[Any, dict[Any, Entry]], outer: Any, inner: Any) -> None:
    """Take one out of an index, and its shelf with the last of them."""
    shelf = index[outer]
    del shelf[inner]
    if not shelf:
        del index[outer]
