"""Views: who shares one, and what each shows of a change."""

from dataclasses import replace
from typing import Any

import pytest

from core.principal import Principal
from core.protocol.collection import Catalogue, Collection, Field
from core.protocol.topic import TopicError, parse_topic
from core.protocol.view import View, change_for_view, view_of
from tests.unit.protocol.catalogue import CATALOGUE, LEAD, LEADS, NORTH, SOUTH, change, person, record

NARROW = person("agent", "own", frozenset({SOUTH}))


def view(topic: str, reader: Principal | None = None, catalogue: Catalogue = CATALOGUE) -> View:
    return view_of(parse_topic(topic, catalogue), reader or person(), catalogue)


def shown(seen: View, **arguments: Any) -> dict[str, Any] | None:
    return change_for_view(seen, change(**arguments))


def test_readers_with_the_same_rights_share_a_view() -> None:
    assert view("leads", person("manager")).name == view("leads", person("owner")).name


def test_branches_fields_and_topic_each_make_another_view() -> None:
    names = {
        view("leads").name,
        view("leads", person("agent")).name,
        view("leads", NARROW).name,
        view("leads", person("agent", "own", frozenset({NORTH}))).name,
        view("leads?status=new").name,
        view("*").name,
    }
    assert len(names) == 6


def test_branches_make_no_difference_where_there_are_none() -> None:
    assert view("branches", NARROW).name == view("branches", person("agent")).name


def test_a_new_column_makes_another_view_and_is_shown_to_nobody_before_it_is_known() -> None:
    wider = Catalogue("2", {"leads": replace(LEADS, fields={**LEADS.fields, "iban": Field("iban", "text")})})
    assert view("leads", catalogue=wider).name != view("leads").name
    wire = shown(view("leads"), after=record(iban="secret"))
    assert wire is not None
    assert "iban" not in wire["fields"]


def test_everything_is_what_the_reader_may_read() -> None:
    assert set(view("*").fields) == {"leads", "branches"}
    assert set(view("*", person("owner")).fields) == {"leads", "branches", "salaries"}


@pytest.mark.parametrize(
    ("topic", "reader"),
    [("salaries", person()), ("leads?margin=7", person("agent"))],
    ids=["collection", "field"],
)
def test_what_one_may_not_read_one_may_not_ask_for(topic: str, reader: Principal) -> None:
    with pytest.raises(TopicError) as refused:
        view(topic, reader)
    assert refused.value.code == "forbidden"


def test_an_insert_shows_the_record_without_hidden_fields() -> None:
    wire = shown(view("leads", person("agent")))
    assert wire is not None
    assert wire["operation"] == "insert"
    assert wire["fields"] == {name: value for name, value in record().items() if name != "margin"}


def test_an_update_shows_changed_fields_with_time_and_author_nulls_among_them() -> None:
    wire = shown(view("leads"), operation="update", after=record(name=None), previous={"name": "Ines"})
    assert wire is not None
    assert (wire["operation"], wire["fields"]) == (
        "update",
        {"name": None, "updated_at": "t1", "updated_by": "u"},
    )


def test_an_update_of_hidden_fields_alone_still_moves_the_version() -> None:
    wire = shown(
        view("leads", person("agent")),
        operation="update",
        after=record(version=2),
        previous={"margin": "1.00"},
    )
    assert wire is not None
    assert (wire["version"], wire["fields"]) == (2, {"updated_at": "t1", "updated_by": "u"})


def test_a_delete_of_a_record_in_the_view_is_a_delete_without_fields() -> None:
    wire = shown(view("leads?status=new"), operation="delete")
    assert wire is not None
    assert (wire["operation"], wire["fields"]) == ("delete", {})
    assert shown(view("leads?status=won"), operation="delete") is None


@pytest.mark.parametrize(
    ("before", "after", "operation"),
    [
        ("new", "new", "update"),
        ("new", "won", "leave"),
        ("won", "new", "enter"),
        ("won", "lost", None),
        (None, "new", "enter"),
        ("new", None, "leave"),
    ],
)
def test_an_update_moves_records_in_and_out(
    before: str | None, after: str | None, operation: str | None
) -> None:
    previous = {"status": before} if before != after else {"name": "x"}
    wire = shown(view("leads?status=new"), operation="update", after=record(status=after), previous=previous)
    assert (wire and wire["operation"]) == operation
    if operation == "enter":
        assert wire is not None
        assert wire["fields"]["name"] == "Ines"
    if operation == "leave":
        assert wire is not None
        assert wire["fields"] == {}


@pytest.mark.parametrize(
    ("before", "after", "operation"),
    [
        (SOUTH, SOUTH, "update"),
        (None, SOUTH, "update"),
        (NORTH, SOUTH, "enter"),
        (NORTH, None, "enter"),
        (SOUTH, NORTH, "leave"),
        (None, NORTH, "leave"),
        (NORTH, NORTH, None),
    ],
)
def test_a_narrowed_reader_sees_their_branches_and_records_of_none(
    before: str | None, after: str | None, operation: str | None
) -> None:
    previous = {"branch_id": before} if before != after else {"name": "x"}
    wire = shown(view("leads", NARROW), operation="update", after=record(branch_id=after), previous=previous)
    assert (wire and wire["operation"]) == operation


def test_one_record_shows_its_own_changes_only() -> None:
    assert shown(view(f"leads/{LEAD}")) is not None
    assert shown(view(f"leads/{NORTH}")) is None


def test_a_collection_that_is_not_in_the_view_shows_nothing() -> None:
    assert shown(view("*"), collection="salaries") is None
    assert shown(view("branches")) is None


@pytest.mark.parametrize(
    ("topic", "values", "passes"),
    [
        ("leads?rank=7", {"rank": 7}, True),
        ("leads?rank=7", {"rank": None}, False),
        ("leads?is_hot=false", {"is_hot": False}, True),
        ("leads?worth=1.5", {"worth": "1.50"}, True),
        ("leads?worth=1.5,~", {"worth": None}, True),
        ("leads?worth=1.5", {"worth": "1.51"}, False),
        ("leads?name=", {"name": ""}, True),
        ("leads?name=", {"name": None}, False),
        ("leads?name=ines", {"name": "Ines"}, False),
        ("leads?status=new&rank=1", {"rank": 1}, True),
        ("leads?status=new&rank=1", {"rank": 2}, False),
        ("leads?rank=~", {}, True),
    ],
)
def test_filters_compare_values_as_the_database_does(
    topic: str, values: dict[str, Any], passes: bool
) -> None:
    assert view(topic).shows("leads", record(**values)) is passes


def test_overwritten_values_are_shown_to_those_who_could_read_them() -> None:
    overwrote = [
        {"field": "name", "value": "x", "by": "u", "at_ms": 1},
        {"field": "margin", "value": "1", "by": "u", "at_ms": 1},
    ]
    seen = view("leads", person("agent", "own", frozenset({SOUTH})))
    wire = shown(seen, operation="update", previous={"name": "x"}, overwrote=overwrote)
    assert wire is not None
    assert [each["field"] for each in wire["overwrote"]] == ["name"]
    entering = shown(
        seen,
        operation="update",
        after=record(branch_id=SOUTH),
        previous={"branch_id": NORTH, "name": "x"},
        overwrote=overwrote,
    )
    assert entering is not None
    assert entering["operation"] == "enter"
    assert "overwrote" not in entering


def test_a_collection_without_branches_is_shown_to_narrowed_readers() -> None:
    notes = Collection("notes", {"id": Field("id", "uuid")})
    seen = view_of(
        parse_topic("notes", Catalogue("1", {"notes": notes})), NARROW, Catalogue("1", {"notes": notes})
    )
    assert seen.shows("notes", {"id": "1"})
