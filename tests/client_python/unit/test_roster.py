"""The roster holds who is there."""

from typing import Any

from branchline_client.message import PresenceNews, decode
from branchline_client.roster import Roster
from tests.protocol.frames import frame


def person(connection_id: str, **state: Any) -> dict[str, Any]:
    return {
        "connection_id": connection_id,
        "user_id": "u",
        "name": "N",
        "branch_id": None,
        "state": state or None,
    }


def news(**kinds: Any) -> PresenceNews:
    return PresenceNews(
        "leads", kinds.get("joined", ()), kinds.get("left", ()), kinds.get("changed", ()), kinds.get("count")
    )


def test_the_first_news_is_the_roster_and_replaces_all() -> None:
    roster = Roster()
    assert roster.take(news(joined=[person("a"), person("b")], count=250)).is_roster
    assert (set(roster.people), roster.count) == ({"a", "b"}, 250)
    roster.subscribed()
    roster.take(news(joined=[person("c")], count=1))
    assert (set(roster.people), roster.count) == ({"c"}, 1)


def test_people_come_go_and_change() -> None:
    roster = Roster()
    roster.take(news(joined=[person("a")], count=1))
    roster.take(news(joined=[person("b")], changed=[person("a", record="r", field="phone")]))
    assert roster.count == 2
    assert [each.connection_id for each in roster.editing("r", "phone")] == ["a"]
    assert roster.editing("r", "name") == []
    roster.take(news(left=[{"connection_id": "a"}]))
    assert (set(roster.people), roster.count) == ({"b"}, 1)


def test_somebody_may_edit_in_several_places() -> None:
    roster = Roster()
    first, second = {"record": "r1", "field": "name"}, {"record": "r2", "field": "phone"}
    roster.take(news(joined=[{**person("a", **second), "leases": [second, first]}], count=1))
    assert [each.connection_id for each in roster.editing("r1")] == ["a"]
    assert [each.connection_id for each in roster.editing("r2", "phone")] == ["a"]
    assert roster.editing("r2", "name") == []


def test_golden_news_is_taken() -> None:
    roster = Roster()
    for name in ("presence-roster", "presence"):
        message = decode(frame("down", name).text)
        assert isinstance(message, PresenceNews)
        roster.take(message)
    assert [each.state for each in roster.people.values()] == [{}]
