"""Deltas: where they begin and end, and how a large transaction is cut."""

from typing import Any

import orjson

from core.protocol.change import LoggedChange
from core.protocol.topic import parse_topic
from core.protocol.view import view_of
from gateway.delta import MAX_DELTA_BYTES, DeltaWriter
from tests.unit.protocol.catalogue import CATALOGUE, change, person, record


def writer(topic: str = "leads", from_offset: int = 0, **options: Any) -> DeltaWriter:
    return DeltaWriter(
        view_of(parse_topic(topic, CATALOGUE), person(), CATALOGUE), "e", from_offset, **options
    )


def run(*sizes: int, first: int = 1, **fields: Any) -> list[LoggedChange]:
    """Changes of transactions of these sizes."""
    changes = []
    offset = first
    for size in sizes:
        end = offset + size - 1
        for _ in range(size):
            changes.append(change(offset, after=record(id=str(offset), **fields), last_of_commit=end))
            offset += 1
    return changes


def written(messages: list[bytes]) -> list[tuple[int, int, list[int], bool]]:
    """Range, offsets and `more` of each message."""
    return [
        (each["from"], each["to"], [one["offset"] for one in each["changes"]], each.get("more", False))
        for each in map(orjson.loads, messages)
    ]


def test_whole_transactions_share_a_delta() -> None:
    assert written(writer().write(run(2, 1, 3))) == [(0, 6, [1, 2, 3, 4, 5, 6], False)]


def test_what_a_view_does_not_show_costs_nothing_and_is_covered_by_the_next() -> None:
    wins = writer("leads?status=won")
    assert wins.write(run(3)) == []
    assert written(wins.write(run(1, first=4, status="won"))) == [(0, 4, [4], False)]


def test_a_delta_never_ends_inside_a_transaction() -> None:
    one = writer()
    changes = run(1, 4)
    assert written(one.write(changes[:3])) == [(0, 1, [1], False), (1, 5, [2, 3], True)]
    assert written(one.write(changes[3:4])) == [(1, 5, [4], True)]
    assert written(one.write(changes[4:])) == [(1, 5, [5], False)]


def test_the_last_page_comes_even_if_it_is_empty() -> None:
    wins = writer("leads?status=won")
    changes = run(3, status="won")[:2] + run(3)[2:]
    assert written(wins.write(changes[:2])) == [(0, 3, [1, 2], True)]
    assert written(wins.write(changes[2:])) == [(0, 3, [], False)]
    assert not wins.in_page


def test_a_transaction_of_which_a_view_shows_nothing_has_no_pages() -> None:
    wins = writer("leads?status=won")
    changes = run(4)
    assert wins.write(changes[:2]) == []
    assert wins.write(changes[2:]) == []


def test_a_large_transaction_is_cut_into_pages_that_are_small_enough() -> None:
    messages = writer().write(run(1, 40, 1, notes="n" * 20_000))
    ranges = written(messages)
    assert all(len(message) <= MAX_DELTA_BYTES for message in messages)
    assert [offset for _, _, offsets, _ in ranges for offset in offsets] == list(range(1, 43))
    assert {(begin, end) for begin, end, _, more in ranges if more} == {(1, 41)}
    assert ranges[0][:2] == (0, 1)
    assert ranges[-1] == (41, 42, [42], False)


def test_a_change_that_alone_is_too_large_has_a_page_of_its_own() -> None:
    changes = run(1) + run(1, first=2, notes="n" * 300_000) + run(1, first=3)
    assert written(writer().write(changes)) == [(0, 1, [1], False), (1, 2, [2], False), (2, 3, [3], False)]


def test_a_replay_goes_on_amid_pages() -> None:
    first, second = run(3)[:1], run(3)[1:]
    one = writer()
    one.write(first)
    two = writer(from_offset=one.from_offset, in_page=one.in_page)
    assert written(two.write(second)) == [(0, 3, [2, 3], False)]


def test_an_empty_delta_reaches_an_offset() -> None:
    one = writer(from_offset=3)
    assert written([one.reach(9)]) == [(3, 9, [], False)]
    assert written(one.write(run(1, first=10))) == [(9, 10, [10], False)]


def conflated(messages: list[bytes]) -> list[bool]:
    return [orjson.loads(each).get("conflated", False) for each in messages]


def same(first: int, count: int, *, last_of_commit: int | None = None, **fields: Any) -> list[LoggedChange]:
    """Updates of one record, each a transaction of its own unless `last_of_commit` says where theirs ends."""
    return [
        change(offset, after=record(id="same", **fields), last_of_commit=last_of_commit or offset)
        for offset in range(first, first + count)
    ]


def test_one_who_is_behind_is_told_of_the_latest_states() -> None:
    one = writer()
    messages = one.write_latest(same(1, 5))
    assert written(messages) == [(0, 5, [5], False)]
    assert conflated(messages) == [True]
    assert (one.written, one.folded, one.from_offset) == (1, 4, 5)


def test_what_has_but_one_step_each_is_told_as_it_is() -> None:
    messages = writer().write_latest(run(2, 1))
    assert written(messages) == [(0, 3, [1, 2, 3], False)]
    assert conflated(messages) == [False]


def test_pages_that_were_begun_are_ended_before_anything_is_conflated() -> None:
    one = writer(in_page=True)
    messages = one.write_latest([*same(1, 2, last_of_commit=2), *same(3, 3), *same(6, 2, last_of_commit=9)])
    assert written(messages) == [(0, 2, [1, 2], False), (2, 5, [5], False), (5, 9, [6, 7], True)]
    assert conflated(messages) == [False, True, False]
    assert one.in_page


def test_a_transaction_without_its_end_is_not_conflated() -> None:
    one = writer()
    messages = one.write_latest(same(1, 3, last_of_commit=7))
    assert written(messages) == [(0, 7, [1, 2, 3], True)]


def test_many_states_come_in_pages() -> None:
    one = writer()
    large = "n" * (MAX_DELTA_BYTES // 2)
    changes = [
        change(
            offset, after=record(id=str(offset % 3), notes=large), operation="insert", last_of_commit=offset
        )
        for offset in range(1, 7)
    ]
    messages = one.write_latest(changes)
    assert written(messages) == [(0, 6, [4], True), (0, 6, [5], True), (0, 6, [6], False)]
    assert all(conflated(messages))
    assert all(len(each) <= MAX_DELTA_BYTES for each in messages)
    assert not one.in_page
