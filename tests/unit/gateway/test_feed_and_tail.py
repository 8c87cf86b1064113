"""A feed takes what goes on where it stands; a tail keeps the end of it."""

import pytest

from core.protocol.change import LoggedChange
from gateway.feed import Feed, Gap, Known, OtherEpoch, Taken
from gateway.log_reader import changes_of, chunk_of
from gateway.tail import Chunk, Tail
from tests.unit.gateway.test_delta import run
from tests.unit.protocol.catalogue import change


def test_what_goes_on_is_taken() -> None:
    feed = Feed("e", 0)
    changes = run(2)
    assert feed.take("e", changes, 2) == Taken(changes)
    assert (feed.position, feed.cursor, feed.is_whole) == (2, 2, True)


def test_what_is_known_is_dropped_and_the_rest_taken() -> None:
    feed = Feed("e", 0)
    changes = run(1, 1, 1)
    feed.take("e", changes[:2], 2)
    assert feed.take("e", changes[:2], 2) == Known()
    assert feed.take("e", changes, 3) == Taken(changes[2:])


def test_what_leaves_something_out_is_a_gap() -> None:
    feed = Feed("e", 0)
    assert feed.take("e", run(1, first=3), 3) == Gap()
    assert feed.is_behind
    assert (feed.position, feed.cursor) == (0, 0)
    assert feed.take("e", run(1, 1, 1)[::2], 3) == Gap()


def test_changes_that_cannot_be_had_are_a_gap_until_they_are_known() -> None:
    feed = Feed("e", 4)
    assert feed.take("e", [], 5) == Gap()
    assert feed.take("e", [], 4) == Known()


def test_a_page_moves_the_cursor_and_the_last_page_the_position() -> None:
    feed = Feed("e", 0)
    changes = run(1, 4)
    feed.take("e", changes[:3], 5)
    assert (feed.position, feed.cursor, feed.is_whole) == (1, 3, False)
    feed.take("e", changes[1:], 5)
    assert (feed.position, feed.cursor, feed.is_whole) == (5, 5, True)


def test_a_head_is_a_gap_or_known() -> None:
    feed = Feed("e", 4)
    assert feed.note_head("e", 4) == Known()
    assert feed.note_head("e", 6) == Gap()
    assert feed.note_head("other", 4) == OtherEpoch()
    assert feed.take("other", run(1, first=5), 5) == OtherEpoch()


def chunk(first: int, last: int, size: int = 100) -> Chunk:
    return Chunk(first, last, b"x" * (size - 200))


def test_a_tail_gives_the_chunks_from_an_offset_on() -> None:
    tail = Tail(10, 10_000)
    chunks = [chunk(11, 12), chunk(13, 13), chunk(14, 19)]
    for each in chunks:
        tail.append(each)
    assert (tail.start, tail.end) == (10, 19)
    assert tail.run(10, 3) == chunks[:2]
    assert tail.run(11, 1) == chunks[:1]
    assert tail.run(12, 100) == chunks[1:]
    assert tail.run(18, 1) == chunks[2:]
    assert tail.run(19, 9) == tail.run(9, 9) == []


def test_a_tail_forgets_the_oldest_where_there_is_no_room() -> None:
    tail = Tail(0, 1_000)
    for number in range(1, 8):
        tail.append(chunk(number, number, 300))
    assert tail.used_bytes <= 1_000
    assert (tail.start, tail.end) == (4, 7)
    tail.shrink(0)
    assert (tail.start, tail.used_bytes, tail.run(6, 1)) == (7, 0, [])


def test_a_chunk_too_large_for_a_tail_leaves_it_empty() -> None:
    tail = Tail(0, 1_000)
    tail.append(chunk(1, 1, 5_000))
    assert (tail.start, tail.end) == (1, 1)
    tail.append(chunk(2, 2))
    assert tail.run(1, 1) != []


def test_a_tail_has_no_holes() -> None:
    tail = Tail(5, 1_000)
    with pytest.raises(ValueError, match="expected a chunk from 6"):
        tail.append(chunk(7, 7))


def test_a_chunk_gives_back_its_changes_and_none_before_its_first() -> None:
    changes: list[LoggedChange] = run(3)
    made = chunk_of("o", changes)
    assert changes_of(made) == tuple(changes)
    assert changes_of(Chunk(2, 3, made.publication)) == tuple(changes[1:])


def test_a_feed_is_complete_as_of_a_moment_once_it_has_reached_the_head_of_then() -> None:
    feed = Feed("e", 5)
    feed.note_time(5, 100)
    assert feed.complete_at_ms == 100
    for moment in (200, 300, 400):
        feed.note_time(6 if moment == 200 else 7, moment)
    assert feed.complete_at_ms == 100
    feed.take("e", [change(6, last_of_commit=6)], 6)
    assert feed.complete_at_ms == 200
    # A page of a transaction is not its end.
    feed.take("e", [change(7, last_of_commit=8)], 8)
    assert feed.complete_at_ms == 200
    feed.take("e", [change(8, last_of_commit=8)], 8)
    assert feed.complete_at_ms == 400


def test_a_head_that_was_none_leaves_no_moment_to_wait_for() -> None:
    feed = Feed("e", 5)
    feed.note_time(9, 100)
    feed.retract_head()
    feed.note_time(5, 200)
    assert feed.complete_at_ms == 200
