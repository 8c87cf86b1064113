"""The clock and the merge, held to the vectors that SQL reads too; what they guarantee for any input."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import AHEAD_LIMIT_MS, Clock, ClockError, effective_clocks, merge_fields, parse_clock, tick
from core.sort_key import sort_key

VECTORS = Path(__file__).parents[2] / "vectors"
CLOCKS = json.loads((VECTORS / "clock.json").read_text())
MERGES = json.loads((VECTORS / "merge.json").read_text())
KEYS = json.loads((VECTORS / "sort_key.json").read_text())

clocks = st.builds(
    Clock,
    st.integers(0, 9_999_999_999_999),
    st.integers(0, 0xFFFF),
    st.sampled_from(["00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"]),
)


@pytest.mark.parametrize("case", CLOCKS["tick"])
def test_the_next_clock_is_as_in_the_vectors(case: dict[str, Any]) -> None:
    last = parse_clock(case["stored"]) if case["stored"] else None
    assert str(tick(last, case["now_ms"], "x")) == case["next"] + "-x"


def test_clocks_sort_as_text_as_they_do_as_moments() -> None:
    parsed = [parse_clock(text) for text in CLOCKS["sorted"]]
    assert sorted(parsed) == parsed
    assert [str(c) for c in parsed] == CLOCKS["sorted"]


@given(clocks, clocks)
def test_text_and_moment_agree_on_the_order(a: Clock, b: Clock) -> None:
    assert (a < b) == (str(a) < str(b))


@pytest.mark.parametrize("text", CLOCKS["malformed"])
def test_what_is_no_clock_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ClockError, match="expected a clock"):
        parse_clock(text)


@given(st.lists(clocks, max_size=20), st.integers(-(10**11), 10**11), st.integers(10**12, 2 * 10**12))
def test_effective_clocks_are_never_far_ahead_and_keep_each_clients_order(
    given_clocks: list[Clock], skew_ms: int, now_ms: int
) -> None:
    effective = effective_clocks(given_clocks, skew_ms, now_ms)
    assert all(c.ms <= now_ms + AHEAD_LIMIT_MS for c in effective)
    for i, a in enumerate(given_clocks):
        for j, b in enumerate(given_clocks):
            if a.client_id == b.client_id and a < b and a.ms - skew_ms > 0:
                assert effective[i] < effective[j]


def test_a_clock_a_year_ahead_is_clamped_to_a_minute() -> None:
    now = 1_700_000_000_000
    year = Clock(now + 365 * 86_400_000, 3, "c")
    assert effective_clocks([year], 0, now) == [Clock(now + AHEAD_LIMIT_MS, 0, "c")]


def test_the_skew_of_a_client_is_taken_off() -> None:
    now = 1_700_000_000_000
    assert effective_clocks([Clock(now + 3_600_000, 0, "c")], 3_600_000, now) == [Clock(now, 0, "c")]


@pytest.mark.parametrize("case", MERGES, ids=lambda c: c["name"])
def test_the_merge_is_as_in_the_vectors(case: dict[str, Any]) -> None:
    merge = merge_fields(
        case["record"],
        {k: tuple(v) for k, v in case["clocks"].items()},
        case["fields"],
        case["clock"],
        case["base_version"],
        case["author"],
        case["version"],
    )
    assert merge.winners == case["winners"]
    assert merge.lost == case["lost"]
    assert merge.overwrote == case["overwrote"]
    assert {k: list(v) for k, v in merge.clocks.items()} == case["clocks_after"]


@given(st.permutations(range(5)), st.data())
def test_replicas_that_saw_the_same_writes_are_equal_in_whatever_order(
    order: list[int], data: st.DataObject
) -> None:
    """I7, for the merge by field."""
    names = st.sampled_from(["a", "b", "c"])
    writes = [
        (str(data.draw(clocks)), data.draw(st.dictionaries(names, st.integers(0, 3), min_size=1)))
        for _ in range(5)
    ]
    # One client does not use one clock for two different writes.
    writes = [
        (clock, fields) for n, (clock, fields) in enumerate(writes) if clock not in [c for c, _ in writes[:n]]
    ]

    def replica(sequence: list[int]) -> dict[str, Any]:
        record: dict[str, Any] = {"a": None, "b": None, "c": None}
        stamps: dict[str, Any] = {}
        for version, index in enumerate(i for i in sequence if i < len(writes)):
            clock, fields = writes[index]
            merge = merge_fields(record, stamps, fields, clock, None, None, version + 2)
            record |= merge.winners
            stamps = merge.clocks
        return record

    assert replica(order) == replica(list(range(5)))


@pytest.mark.parametrize(("text", "key"), KEYS["keys"].items())
def test_the_sort_key_is_as_in_the_vectors(text: str, key: str) -> None:
    assert sort_key(text) == key


def test_text_sorts_as_in_the_vectors() -> None:
    assert sorted(KEYS["sorted"], key=sort_key) == KEYS["sorted"]
