"""PURE. Who is on a topic, and what they do there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from branchline_client.message import PresenceNews


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody's connection. `state` is what it announced last, such as `{"record": id, "field": name, "version": n}`.

    `leases` are all such states that concern the topic: somebody may edit in several places.
    """

    connection_id: str
    user_id: str
    name: str
    branch_id: str | None
    state: Mapping[str, Any] | None
    leases: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class RosterUpdate:
    """What has changed. `is_roster`: this is the first news after subscribing, and replaces all."""

    joined: Sequence[Person] = ()
    left: Sequence[Person] = ()
    changed: Sequence[Person] = ()
    is_roster: bool = False


@dataclass(slots=True)
class Roster:
    """The people on one topic, by connection. `count` is how many there are: at most 200 are named at first."""

    people: dict[str, Person] = field(default_factory=dict)
    count: int = 0
    _is_fresh: bool = True

    def subscribed(self) -> None:
        """The topic was subscribed to: the next news is the roster."""
        self._is_fresh = True

    def take(self, news: PresenceNews) -> RosterUpdate:
        """Take news."""
        is_roster, self._is_fresh = self._is_fresh or news.count is not None, False
        if is_roster:
            self.people = {}
        joined = [person_from_json(each) for each in news.joined]
        changed = [person_from_json(each) for each in news.changed]
        left = [person_from_json(each) for each in news.left]
        for person in (*joined, *changed):
            self.people[person.connection_id] = person
        for person in left:
            self.people.pop(person.connection_id, None)
        if is_roster:
            self.count = len(self.people) if news.count is None else news.count
        else:
            self.count = max(self.count + len(joined) - len(left), len(self.people))
        return RosterUpdate(joined, left, changed, is_roster)

    def editing(self, record_id: str, field_name: str | None = None) -> list[Person]:
        """Give those who say that they edit a record, or one field of it."""
        return [
            person
            for person in self.people.values()
            if any(
                lease.get("record") == record_id and field_name in (None, lease.get("field"))
                for lease in person.leases
            )
        ]


def person_from_json(data: Mapping[str, Any]) -> Person:
    """Read a person's entry; what is missing is None or empty, since a leaver's may be short."""
    state = data.get("state")
    leases = data.get("leases") or ([state] if state and "record" in state else [])
    return Person(
        connection_id=data["connection_id"],
        user_id=data.get("user_id") or "",
        name=data.get("name") or "",
        branch_id=data.get("branch_id"),
        state=state,
        leases=tuple(leases),
    )
