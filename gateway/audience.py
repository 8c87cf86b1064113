"""PURE. Those who asked for presence and have the same view: what it shows of a roster, and what they were told of it.

Which entries a view shows (I8):

- An entry on the view's own topic, unless the topic names only branches that the reader may not read.
- If it is about a record, only to those who may read the record's branch, and the field that it names.
- A lease on another topic as well, if the view contains its record.

A record that is not known, because it is being read or is gone, is shown to nobody.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from core.protocol.change import Record
from core.protocol.view import BRANCH, View
from gateway.roster import About, Entry, Key

Member = TypeVar("Member")
Shown = Mapping[str, Any]
"""An entry as clients get it."""
RecordOf = Callable[[Key], Record | None]


@dataclass(slots=True)
class News:
    """Who came, went, or does something else."""

    joined: list[Shown] = field(default_factory=list)
    left: list[Shown] = field(default_factory=list)
    changed: list[Shown] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.joined) + len(self.left) + len(self.changed)

    def note(self, before: Shown | None, after: Shown | None) -> None:
        """Add what has become of one connection."""
        if before == after:
            return
        if before is None:
            assert after is not None
            self.joined.append(after)
        elif after is None:
            self.left.append({**before, "state": None})
        else:
            self.changed.append(after)


class Audience(Generic[Member]):
    """The members that share one view. `shown` is what they were told, by connection.

    `behind` are members that could not be told for a while, each with what it was told last; None if that is nothing
    yet. `dirty` are connections of which something has changed since the last news.
    """

    __slots__ = ("_is_readable", "behind", "dirty", "members", "shown", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.members: set[Member] = set()
        self.behind: dict[Member, dict[str, Shown] | None] = {}
        self.shown: dict[str, Shown] = {}
        self.dirty: dict[str, None] = {}
        self._is_readable = topic_is_readable(view)

    def look(self, entries: Iterable[Entry], record_of: RecordOf) -> Shown | None:
        """Give what the view shows of one connection, by all of its entries, the newest last; None for nothing.

        A connection is shown once: with its newest lease, or else with what it announced on the topic. Where more
        leases than one are shown, `leases` has all of their states, the newest first.
        """
        leases = []
        plain = None
        for entry in entries:
            if self._sees(entry, record_of):
                if entry.about is not None and entry.about.is_lease:
                    leases.append(entry)
                else:
                    plain = entry
        if not leases:
            return None if plain is None else shown_of(plain)
        leases.reverse()
        shown = shown_of(leases[0])
        if len(leases) > 1:
            shown["leases"] = [entry.state for entry in leases]
        return shown

    def take_news(self, look: Callable[[str], Shown | None], most: int) -> News:
        """Look again at no more than `most` of the dirty connections; what has changed is counted as told."""
        news = News()
        for connection_id in list(self.dirty)[:most]:
            del self.dirty[connection_id]
            after = look(connection_id)
            news.note(self.shown.get(connection_id), after)
            if after is None:
                self.shown.pop(connection_id, None)
            else:
                self.shown[connection_id] = after
        return news

    def missed(self, member: Member, most: int) -> News:
        """Give at most `most` of what a member that was behind has missed, and count it as told.

        A member that has missed nothing more is not behind any longer.
        """
        told = self.behind[member]
        assert told is not None
        news = News()
        for connection_id in list({**told, **self.shown}):
            if len(news) == most:
                return news
            after = self.shown.get(connection_id)
            news.note(told.get(connection_id), after)
            if after is None:
                del told[connection_id]
            else:
                told[connection_id] = after
        del self.behind[member]
        return news

    def roster(self, most: int) -> list[Shown]:
        """Give the first news of a new member: at most `most` entries, leases before others."""
        if len(self.shown) <= most:
            return list(self.shown.values())
        return sorted(self.shown.values(), key=lambda each: "record" not in each["state"])[:most]

    def _sees(self, entry: Entry, record_of: RecordOf) -> bool:
        about = entry.about
        record = None if about is None else record_of(about.key)
        if entry.topic == self.view.topic.canonical:
            return self._is_readable and (about is None or may_read(self.view, about, record))
        if about is None or not about.is_lease or record is None:
            return False
        return may_read(self.view, about, record) and self.view.shows(about.collection, record)


def may_read(view: View, about: About, record: Record | None) -> bool:
    """Whether a record, and the field of it that is named, may be read by whom a view was made for."""
    shown = view.fields.get(about.collection)
    return (
        record is not None
        and shown is not None
        and (about.field is None or about.field in shown)
        and view.branch_is_readable(about.collection, record)
    )


def topic_is_readable(view: View) -> bool:
    """Whether a view's topic may hold anything for its reader: not if it names only branches that they may not read."""
    branches = view.branches
    if branches is None:
        return True
    return all(
        each.field != BRANCH or any(value is None or value in branches for value in each.values)
        for each in view.topic.filters
    )


def shown_of(entry: Entry) -> dict[str, Any]:
    """Give an entry as clients get it."""
    person = entry.person
    return {
        "connection_id": person.connection_id,
        "user_id": person.user_id,
        "name": person.name,
        "branch_id": person.branch_id,
        "state": entry.state,
    }


def audiences_concerned(
    index: Mapping[str, Collection[Audience[Member]]], entry: Entry
) -> Iterable[Audience[Member]]:
    """Find the audiences that may be shown an entry, some more than once. For the keys see `keys_of`."""
    yield from index.get(f"topic {entry.topic}", ())
    if entry.about is not None and entry.about.is_lease:
        yield from index.get("everything", ())
        yield from index.get(f"collection {entry.about.collection}", ())
        yield from index.get(f"record {entry.about.record_id}", ())


def keys_of(view: View) -> tuple[str, str]:
    """Give the keys under which an audience is found: its topic, and what leases its view may contain."""
    topic = view.topic
    if topic.collection is None:
        wider = "everything"
    elif topic.record_id is not None:
        wider = f"record {topic.record_id}"
    else:
        wider = f"collection {topic.collection}"
    return f"topic {topic.canonical}", wider
