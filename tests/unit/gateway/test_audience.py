"""An audience: what a view shows of a roster, and what those who look on are told of it."""

from collections.abc import Mapping
from typing import Any

import pytest

from core.protocol.topic import parse_topic
from core.protocol.view import View, view_of
from gateway.audience import Audience, Shown, topic_is_readable
from gateway.roster import About, Entry, Person
from tests.unit.protocol.catalogue import CATALOGUE, LEAD, NORTH, SOUTH, person, record

RITA = person("agent", "own", frozenset({SOUTH}))
BEN = person("agent")


def view(topic: str, reader: Any = None) -> View:
    return view_of(parse_topic(topic, CATALOGUE), reader or person(), CATALOGUE)


def entry(topic: str, about: About | None = None, connection: str = "c", **state: Any) -> Entry:
    return Entry("g", Person(connection, "u", "Ana", None), topic, state, about)


def lease(topic: str = "leads", field: str | None = "name") -> Entry:
    return entry(topic, About("leads", LEAD, field, is_lease=True), record=LEAD, field=field)


def look(view: View, *entries: Entry, at: dict[str, Any] | None = None) -> Any:
    shown = Audience[str](view).look(entries, lambda _: at)
    return None if shown is None else shown["state"]


@pytest.mark.parametrize("topic", ["*", "leads", f"leads/{LEAD}", "leads?status=new"])
def test_a_lease_is_shown_on_every_topic_that_contains_its_record(topic: str) -> None:
    assert look(view(topic), lease("leads?status=won"), at=record()) == {"record": LEAD, "field": "name"}


@pytest.mark.parametrize("topic", ["branches", f"leads/{NORTH}", "leads?status=won"])
def test_a_lease_is_not_shown_where_its_record_is_not(topic: str) -> None:
    assert look(view(topic), lease(), at=record()) is None


def test_a_lease_is_shown_on_its_own_topic_whatever_that_filters_by() -> None:
    assert look(view("leads?status=won"), lease("leads?status=won"), at=record()) is not None


def test_what_is_no_lease_is_shown_on_its_own_topic_only() -> None:
    about = About("leads", LEAD)
    assert look(view(f"leads/{LEAD}"), entry(f"leads/{LEAD}", about), at=record()) == {}
    assert look(view("leads"), entry(f"leads/{LEAD}", about), at=record()) is None
    assert look(view("leads"), entry("leads")) == {}
    assert look(view("leads"), entry("branches")) is None


@pytest.mark.parametrize("topic", ["*", "leads", f"leads/{LEAD}"])
def test_a_record_of_a_branch_that_one_may_not_read_is_shown_nowhere(topic: str) -> None:
    entries = [lease(topic), entry(f"leads/{LEAD}", About("leads", LEAD))]
    for each in entries:
        assert look(view(topic, RITA), each, at=record(branch_id=NORTH)) is None
    assert look(view(topic, RITA), lease(topic), at=record(branch_id=SOUTH)) is not None
    assert look(view(topic, RITA), lease(topic), at=record(branch_id=None)) is not None


def test_a_record_that_is_not_known_is_shown_to_nobody() -> None:
    assert look(view("leads"), lease()) is None


def test_a_field_that_one_may_not_read_is_not_named() -> None:
    assert look(view("leads", BEN), lease(field="margin"), at=record()) is None
    assert look(view("leads"), lease(field="margin"), at=record()) is not None


def test_a_topic_of_other_branches_only_tells_nothing() -> None:
    topic = f"leads?branch_id={NORTH}"
    assert look(view(topic, RITA), entry(topic)) is None
    assert look(view(topic), entry(topic)) == {}
    assert topic_is_readable(view(f"leads?branch_id={NORTH},{SOUTH}", RITA))
    assert topic_is_readable(view(f"leads?branch_id={NORTH},~", RITA))
    assert not topic_is_readable(view(f"leads?branch_id={NORTH}&status=new", RITA))


def test_the_newest_lease_goes_before_others_and_before_what_is_none() -> None:
    older, newer = lease("leads/1", "name"), lease("leads/2", "notes")
    shown = Audience[str](view("leads")).look([older, newer, entry("leads")], lambda _: record())
    assert shown is not None
    assert shown["state"] == newer.state
    assert shown["leases"] == [newer.state, older.state]


def news(audience: Audience[str], now: Mapping[str, Shown | None], most: int = 10) -> tuple[Any, Any, Any]:
    audience.dirty.update(dict.fromkeys(now))
    told = audience.take_news(now.get, most)
    return told.joined, told.left, told.changed


def shown(name: str, **state: Any) -> Shown:
    return {"connection_id": name, "state": state}


def test_news_are_what_differs_from_what_was_told() -> None:
    audience = Audience[str](view("leads"))
    assert news(audience, {"a": shown("a"), "b": shown("b")}) == ([shown("a"), shown("b")], [], [])
    assert news(audience, {"a": shown("a"), "b": None, "c": None}) == (
        [],
        [{"connection_id": "b", "state": None}],
        [],
    )
    assert news(audience, {"a": shown("a", x=1)}) == ([], [], [shown("a", x=1)])
    assert audience.shown == {"a": shown("a", x=1)}


def test_no_more_goes_into_one_message_than_may() -> None:
    audience = Audience[str](view("leads"))
    now: dict[str, Shown | None] = {str(n): shown(str(n)) for n in range(5)}
    assert len(news(audience, now, 3)[0]) == 3
    assert len(audience.dirty) == 2
    assert len(audience.take_news(now.get, 3)) == 2


def test_who_was_behind_is_told_what_they_missed_and_no_more() -> None:
    audience = Audience[str](view("leads"))
    news(audience, {"stays": shown("stays"), "goes": shown("goes"), "moves": shown("moves")})
    audience.behind["m"] = dict(audience.shown)
    news(
        audience,
        {"goes": None, "moves": shown("moves", x=1), "came": shown("came"), "blinked": shown("blinked")},
    )
    news(audience, {"blinked": None})
    parts = []
    while "m" in audience.behind:
        parts.append(audience.missed("m", 1))
    assert [each for part in parts for each in part.joined] == [shown("came")]
    assert [each["connection_id"] for part in parts for each in part.left] == ["goes"]
    assert [each for part in parts for each in part.changed] == [shown("moves", x=1)]


def test_a_roster_that_is_too_long_names_leases_first() -> None:
    audience = Audience[str](view("leads"))
    news(audience, {str(n): shown(str(n)) for n in range(5)} | {"l": shown("l", record=LEAD)})
    assert audience.roster(2)[0] == shown("l", record=LEAD)
    assert len(audience.roster(2)) == 2
