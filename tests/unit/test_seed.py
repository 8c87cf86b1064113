"""The demo data: the same every time, plausible, and within what the schema allows."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cli.seed_data.draw import LAST_ID_AT, Draw, plain
from cli.seed_data.generate import COUNTS, Generator, Row, Staff

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
BRANCHES = {slug: str(UUID(int=number)) for number, slug in enumerate(("north", "south", "harbour"), 1)}
STAFF = Staff(
    organization_id=str(UUID(int=10)),
    branch_ids=BRANCHES,
    manager="ana",
    agents={"north": ("ben",), "south": ("carla", "rita"), "harbour": ()},
)


def draw_all(now: datetime = NOW) -> dict[str, list[Row]]:
    return dict(Generator(STAFF, now).tables())


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Row]]:
    return draw_all()


def test_there_are_about_ten_thousand_records(tables: dict[str, list[Row]]) -> None:
    assert {name: len(rows) for name, rows in tables.items()} == COUNTS
    assert 9_500 <= sum(COUNTS.values()) <= 10_500


def test_two_draws_are_equal(tables: dict[str, list[Row]]) -> None:
    assert draw_all() == tables


def test_on_another_day_only_the_dates_differ(tables: dict[str, list[Row]]) -> None:
    def timeless(rows: list[Row]) -> list[dict[str, Any]]:
        dates = ("_at", "_on")
        return [{name: value for name, value in row.items() if not name.endswith(dates)} for row in rows]

    later = draw_all(NOW + timedelta(days=100))
    assert all(timeless(later[name]) == timeless(rows) for name, rows in tables.items())


def test_ids_are_of_version_7_and_sort_by_age(tables: dict[str, list[Row]]) -> None:
    for rows in tables.values():
        ids = [UUID(row["id"]) for row in rows]
        assert all(each.version == 7 for each in ids)
        assert len(set(ids)) == len(ids)
        milliseconds = [each.int >> 80 for each in ids]
        assert milliseconds == sorted(milliseconds)
        assert milliseconds[-1] <= LAST_ID_AT.timestamp() * 1000
        assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)


def test_every_reference_is_to_an_older_table(tables: dict[str, list[Row]]) -> None:
    known: dict[str, set[str]] = {}
    for name, rows in tables.items():
        for parent in known:
            column = parent.removesuffix("s") + "_id"
            assert {row[column] for row in rows if row.get(column)} <= known[parent]
        known[name] = {row["id"] for row in rows}


def test_branches_stages_and_customers_are_skewed(tables: dict[str, list[Row]]) -> None:
    by_branch = Counter(row["branch_id"] for row in tables["leads"])
    order = ("north", "south", "harbour", None)
    counts = [by_branch[BRANCHES[slug] if slug else None] for slug in order]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 0
    assert Counter(row["status"] for row in tables["leads"]).most_common(1)[0][0] == "new"
    deals_of = Counter(row["client_id"] for row in tables["deals"]).most_common()
    assert deals_of[0][1] > 20
    assert deals_of[-1][1] == 1


def test_values_keep_to_the_schema(tables: dict[str, list[Row]]) -> None:
    for lead in tables["leads"]:
        assert lead["name"]
        assert 0 <= lead["score"] <= 100
        assert lead["estimated_value"] is None or lead["estimated_value"] > 0
    for deal in tables["deals"]:
        assert (deal["closed_at"] is not None) == (deal["stage"] in ("won", "lost"))
        assert 0 <= deal["probability"] <= 100
        assert len(deal["name"]) <= 200
    for task in tables["tasks"]:
        assert (task["completed_at"] is not None) == (task["status"] == "done")
    assert all(len(client["country"]) == 2 for client in tables["clients"])
    primaries = Counter(contact["client_id"] for contact in tables["contacts"] if contact["is_primary"])
    assert set(primaries.values()) == {1}


def test_everything_happened_between_its_record_and_now(tables: dict[str, list[Row]]) -> None:
    for rows in tables.values():
        for row in rows:
            assert row["created_at"] <= NOW
            for column in ("closed_at", "completed_at", "occurred_at"):
                assert row.get(column) is None or row["created_at"] <= row[column] <= NOW


def test_some_names_carry_accents(tables: dict[str, list[Row]]) -> None:
    accented = [lead["name"] for lead in tables["leads"] if not lead["name"].isascii()]
    assert 0.2 < len(accented) / len(tables["leads"]) < 0.8


def test_nobody_real_can_be_reached(tables: dict[str, list[Row]]) -> None:
    for rows in tables.values():
        for row in rows:
            assert row.get("email") is None or row["email"].endswith(".example")
            assert row.get("website") is None or row["website"].endswith(".example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Łukasz", "lukasz"), ("Søren & Sons", "soren-sons"), ("O’Brien", "obrien"), ("Évora", "evora")],
)
def test_plain_gives_what_a_domain_may_hold(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_a_skewed_draw_favours_the_first() -> None:
    draw = Draw(1)
    picks = Counter(draw.skewed(range(100)) for _ in range(2_000))
    assert sum(picks[number] for number in range(10)) > sum(picks[number] for number in range(50, 100))
