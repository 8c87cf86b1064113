"""Records are in the order in which the API lists them."""

import json
from pathlib import Path
from typing import Any

import pytest

from branchline_client.ordering import key_of, parse_sort, sort_key

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "sort_key.json").read_text())


@pytest.mark.parametrize(("text", "key"), VECTORS["keys"].items())
def test_the_sort_key_is_as_in_the_vectors(text: str, key: str) -> None:
    assert sort_key(text) == key


def ordered(sort: str | list[str], *records: dict[str, Any]) -> list[str]:
    fields = parse_sort(sort)
    return [each["id"] for each in sorted(records, key=lambda record: key_of(fields, record))]


def test_text_is_in_the_vectors_order() -> None:
    records = [{"id": f"{n:02d}", "name": name} for n, name in enumerate(VECTORS["sorted"])]
    assert ordered("name", *reversed(records)) == [each["id"] for each in records]


def test_null_is_last_either_way_and_the_id_decides_between_equals() -> None:
    records: list[dict[str, Any]] = [
        {"id": "b", "n": 1},
        {"id": "a", "n": 1},
        {"id": "c", "n": None},
        {"id": "d", "n": 2},
    ]
    assert ordered("n", *records) == ["a", "b", "d", "c"]
    assert ordered("-n", *records) == ["d", "b", "a", "c"]


def test_decimal_numbers_sort_by_value_where_that_is_said() -> None:
    records = [{"id": "a", "v": "10.00"}, {"id": "b", "v": "9.5"}]
    assert ordered("v", *records) == ["a", "b"]
    assert ordered("v:numeric", *records) == ["b", "a"]


def test_several_fields_sort_one_after_the_other() -> None:
    records = [{"id": "a", "s": "x", "n": 1}, {"id": "b", "s": "X", "n": 2}, {"id": "c", "s": "w", "n": 0}]
    assert ordered(["s", "-n"], *records) == ["c", "b", "a"]


@pytest.mark.parametrize("sort", ["", "-", "n:number"])
def test_what_cannot_be_sorted_by_is_refused(sort: str) -> None:
    with pytest.raises(ValueError, match="expected a field"):
        parse_sort(sort)
