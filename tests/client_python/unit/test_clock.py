"""The client's clock: the shared vectors, and what it promises when a device's clock is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline_client.clock import STEADY_MS, ClientClock, Clock, ClockError, parse_clock, shift, tick

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "clock.json").read_text())
ME = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"
NOW = 1_700_000_000_000

clocks = st.builds(
    Clock, st.integers(0, 9_999_999_999_999), st.integers(0, 0xFFFF), st.sampled_from([ME, OTHER])
)


@pytest.mark.parametrize("case", VECTORS["tick"])
def test_the_next_clock_is_as_in_the_vectors(case: dict[str, Any]) -> None:
    last = parse_clock(case["stored"]) if case["stored"] else None
    assert str(tick(last, case["now_ms"], "x")) == case["next"] + "-x"


def test_clocks_sort_as_text_as_they_do_as_moments() -> None:
    parsed = [parse_clock(text) for text in VECTORS["sorted"]]
    assert sorted(parsed) == parsed
    assert [str(each) for each in parsed] == VECTORS["sorted"]


@pytest.mark.parametrize("text", VECTORS["malformed"])
def test_what_is_no_clock_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ClockError, match="expected a clock"):
        parse_clock(text)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(NOW, NOW + 100_000), st.none() | clocks), min_size=1))
def test_stamps_rise_whatever_was_seen_and_however_the_device_jumps(
    steps: list[tuple[int, Clock | None]],
) -> None:
    clock = ClientClock(ME)
    stamps: list[str] = []
    for device_ms, seen in steps:
        if seen is not None and seen.ms < 9_999_999_999_998:
            clock = clock.see(str(seen))
        clock, stamp = clock.tick(device_ms)
        assert not stamps or stamp > stamps[-1]
        assert seen is None or seen.ms >= 9_999_999_999_998 or stamp[:18] > str(seen)[:18]
        stamps.append(stamp)


def test_a_device_that_is_an_hour_behind_wins_over_a_value_that_it_has_seen() -> None:
    clock = ClientClock(ME).see(f"{NOW:013d}-0007-{OTHER}")
    _, stamp = clock.tick(NOW - 3_600_000)
    assert stamp > f"{NOW:013d}-0007-{OTHER}"


@pytest.mark.parametrize("off_ms", [-3_600_000, 3_600_000, 365 * 86_400_000])
def test_a_device_whose_clock_is_wrong_stamps_in_the_servers_time(off_ms: int) -> None:
    clock, moved = ClientClock(ME).see_server_time(NOW, NOW + off_ms)
    assert moved == -off_ms
    _, stamp = clock.tick(NOW + off_ms + 250)
    assert parse_clock(stamp).ms == NOW + 250
    assert clock.now_ms(NOW + off_ms + 250) == NOW + 250


def test_stamps_made_before_the_server_was_heard_keep_their_order_when_moved() -> None:
    clock, first = ClientClock(ME).tick(NOW - 3_600_000)
    clock, second = clock.tick(NOW - 3_599_000)
    clock, moved = clock.see_server_time(NOW, NOW - 3_598_000)
    _, third = clock.tick(NOW - 3_597_000)
    assert shift(first, moved) < shift(second, moved) < third
    assert parse_clock(shift(second, moved)).ms == NOW - 1_000


def test_what_was_seen_stays_seen_when_the_time_is_moved_back() -> None:
    clock = ClientClock(ME).see(f"{NOW:013d}-0003-{OTHER}")
    clock, _ = clock.see_server_time(NOW - 2_000, NOW)
    _, stamp = clock.tick(NOW)
    assert stamp[:18] > f"{NOW:013d}-0003"


@settings(deadline=None)
@given(st.integers(-STEADY_MS, STEADY_MS), st.integers(0, 5_000))
def test_a_difference_that_the_way_explains_moves_nothing(difference_ms: int, round_trip_ms: int) -> None:
    clock = ClientClock(ME)
    assert clock.see_server_time(NOW + difference_ms, NOW, round_trip_ms) == (clock, 0)
