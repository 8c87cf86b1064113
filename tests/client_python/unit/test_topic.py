"""Topics written by the client are those that the server takes for canonical."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline_client.topic import Where, admits, conditions_of, covers, write_topic
from core.protocol.collection import Catalogue, Collection, Field
from core.protocol.topic import parse_topic

FIELDS = {
    "branch_id": Field("branch_id", "uuid", filterable=True),
    "status": Field("status", "text", filterable=True),
    "score": Field("score", "integer", filterable=True),
    "is_primary": Field("is_primary", "boolean", filterable=True),
    "amount": Field("amount", "numeric", filterable=True),
}
CATALOGUE = Catalogue("1", {"leads": Collection("leads", FIELDS)})


@pytest.mark.parametrize(
    ("where", "topic"),
    [
        (None, "leads"),
        ({}, "leads"),
        ({"status": "new"}, "leads?status=new"),
        ({"status": ["won", "new", "new"]}, "leads?status=new,won"),
        ({"status": [None, "~", "a,b&c"]}, "leads?status=~,a%2Cb%26c,%7E"),
        ({"status": "Émile Zola"}, "leads?status=%C3%89mile%20Zola"),
        ({"score": [2, 10], "is_primary": True}, "leads?is_primary=true&score=10,2"),
        ({"amount": Decimal("1.5")}, "leads?amount=1.5"),
    ],
)
def test_a_topic_is_written_in_the_servers_canonical_form(where: Where | None, topic: str) -> None:
    written = write_topic("leads", conditions_of(where))
    assert written == topic
    assert parse_topic(written, CATALOGUE).canonical == topic


@settings(deadline=None)
@given(
    st.dictionaries(
        st.just("status"), st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), min_size=1)
    )
)
def test_any_text_arrives_as_it_was_meant(where: dict[str, list[str]]) -> None:
    try:
        "".join(where.get("status", [])).encode()
    except UnicodeEncodeError:
        return
    written = write_topic("leads", conditions_of(where))
    if len(written) > 2_048 or len(where.get("status", [])) > 100:
        return
    parsed = parse_topic(written, CATALOGUE)
    values = parsed.filters[0].values if parsed.filters else ()
    assert set(values) == set(where.get("status", []))
    assert parsed.canonical == written


def test_one_record_and_everything_are_topics() -> None:
    record = "019b2053-93f6-7b25-9044-e6a9e18654c5"
    assert write_topic("leads", None, record) == f"leads/{record}"
    assert write_topic("*") == "*"


def test_a_filter_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a value for the filter on 'status'"):
        conditions_of({"status": []})


@pytest.mark.parametrize(
    ("where", "record", "passes"),
    [
        ({"status": ["new", "won"]}, {"status": "won"}, True),
        ({"status": ["new", "won"]}, {"status": "lost"}, False),
        ({"status": None}, {"status": None}, True),
        ({"status": None}, {}, True),
        ({"status": "None"}, {"status": None}, False),
        ({"score": 10}, {"score": 10}, True),
        ({"amount": Decimal("5400")}, {"amount": "5400.00"}, True),
        ({"amount": 5400}, {"amount": "none"}, False),
        ({"is_primary": True}, {"is_primary": True}, True),
        ({"is_primary": True}, {"is_primary": 1}, True),
        ({"is_primary": False}, {"is_primary": None}, False),
    ],
)
def test_a_record_passes_a_filter_as_on_the_server(
    where: Where, record: dict[str, Any], passes: bool
) -> None:
    assert admits(conditions_of(where), record) is passes


def test_a_topic_covers_its_records() -> None:
    assert covers("*", "leads", "a")
    assert covers("leads", "leads", "a")
    assert covers("leads/a", "leads", "a")
    assert not covers("leads/b", "leads", "a")
    assert not covers("deals", "leads", "a")
