"""The load client counts what comes, and notices whatever is lost, doubled, out of order or changed."""

import random
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from websockets.frames import Frame, Opcode

from benchmarks.harness.deltas import mark_due
from benchmarks.harness.dialect import BranchlineDialect, Ticket
from benchmarks.harness.follower import Follower
from benchmarks.harness.latencies import Latencies
from benchmarks.harness.reference import Reference
from core.protocol import downstream

MS = 1_000_000


def frame(message: bytes) -> bytes:
    return Frame(Opcode.TEXT, message).serialize(mask=False)


def change(
    offset: int, *, record: str | None = None, due_ms: int | None = None, name: str | None = None
) -> bytes:
    due_ns = (offset if due_ms is None else due_ms) * MS
    return orjson.dumps(
        {
            "offset": offset,
            "collection": "leads",
            "id": record or f"lead-{offset}",
            "operation": "insert",
            "fields": {"name": name or f"n{offset}", "notes": mark_due(due_ns) + " x"},
        }
    )


def delta(from_offset: int, to_offset: int, offsets: Sequence[int] | None = None, **more: Any) -> bytes:
    offsets = range(from_offset + 1, to_offset + 1) if offsets is None else offsets
    return delta_of(from_offset, to_offset, *map(change, offsets), **more)


def delta_of(from_offset: int, to_offset: int, *changes: bytes, **more: Any) -> bytes:
    return frame(
        downstream.delta(
            topic="leads",
            epoch="e",
            from_offset=from_offset,
            to_offset=to_offset,
            changes=list(changes),
            **more,
        )
    )


def head(offset: int) -> bytes:
    return frame(downstream.head(epoch="e", offset=offset, at_ms=1))


class Client:
    """A follower with a reference that it may share, subscribed at `start`."""

    def __init__(self, reference: Reference | None = None, start: int = 0, mode: str = "live") -> None:
        self.reference = Reference() if reference is None else reference
        self.sent: list[bytes] = []
        self.joined = 0
        self.latencies = Latencies()
        self.follower = Follower(
            self.reference,
            BranchlineDialect(),
            Ticket("token", "client", "leads"),
            self.sent.append,
            self._join,
            self.latencies,
        )
        self.follower.begin()
        self.feed(frame(orjson.dumps({"type": "ready"})))
        told = {"type": "subscribed", "offset": start, "mode": mode, "epoch": "e", "view": "v"}
        self.feed(frame(orjson.dumps(told)))

    def _join(self) -> None:
        self.joined += 1

    def feed(self, data: bytes, now_ms: int = 0) -> None:
        self.follower.receive(data, now_ms * MS)

    def verify(self, last: int, first: int = 1) -> list[str]:
        return self.follower.verify(list(range(first, last + 1))) + self.reference.problems


def test_it_signs_in_subscribes_and_answers_pings() -> None:
    client = Client()
    client.feed(Frame(Opcode.PING, b"now").serialize(mask=False))
    authenticate, subscribe, pong = client.sent
    assert (b'"authenticate"' in authenticate, b'"subscribe"' in subscribe) == (True, True)
    assert pong.endswith(b"now")
    assert client.joined == 1


def test_a_head_that_came_before_the_subscription_says_nothing_of_it() -> None:
    client = Client()
    client.feed(head(4))
    client.feed(
        frame(orjson.dumps({"type": "subscribed", "offset": 0, "mode": "replay", "epoch": "e", "view": "v"}))
    )
    client.feed(delta(0, 4))
    assert client.verify(4) == []


def test_two_clients_with_the_same_frames_have_all_deliveries() -> None:
    one = Client()
    other = Client(one.reference)
    data = delta(0, 2) + delta(2, 3) + delta(3, 6)
    one.feed(data)
    other.feed(data)
    for client in (one, other):
        assert (client.follower.deliveries, client.follower.position) == (6, 6)
        assert client.verify(6) == []
    assert len(one.reference) == 3
    assert sorted(one.reference.records) == [f"lead-{n}" for n in range(1, 7)]


@pytest.mark.parametrize("seed", range(30))
def test_it_does_not_matter_how_the_bytes_are_cut_or_where_heads_and_empty_deltas_stand(seed: int) -> None:
    chance = random.Random(seed)
    reference = Reference()
    clients = [Client(reference, start=chance.choice([0, 0, 1, 2])) for _ in range(6)]
    streams = []
    for client in clients:
        at = client.follower.start
        if at == 1 and chance.random() < 0.5:
            # Caught up by itself.
            stream, at = delta(1, 2), 2
        else:
            stream = b""
        for start in range(2 if at else 0, 60, 2):
            if start + 2 > at:
                # Begins where the others' delta begins, also if this client knows a part of it.
                stream += (
                    delta(max(start, at), start + 2) if at == 1 and start == 0 else delta(start, start + 2)
                )
            if chance.random() < 0.2:
                stream += head(start + 2)
            if chance.random() < 0.1:
                stream += delta(start + 2, start + 2, [])
        streams.append(stream)
    positions = [0] * len(clients)
    while any(position < len(stream) for position, stream in zip(positions, streams, strict=True)):
        n = chance.randrange(len(clients))
        size = chance.choice([1, 7, 100, 1_000, 100_000])
        clients[n].feed(streams[n][positions[n] : positions[n] + size])
        positions[n] += size
    for client in clients:
        if client.follower.start != 1:
            assert client.verify(60) == []
            assert client.follower.deliveries == 60 - client.follower.start
            assert client.follower.position == 60


def test_latency_runs_from_the_due_time_to_the_arrival_of_the_whole_frame() -> None:
    one = Client()
    other = Client(one.reference)
    data = delta(0, 2)
    one.feed(data, now_ms=4)
    other.feed(data[:-1], now_ms=5)
    assert other.latencies.counted().histogram().count == 0
    other.feed(data[-1:], now_ms=12)
    histogram = other.latencies.counted().histogram()
    assert (histogram.count, round(histogram.max_ms, 1), round(histogram.percentile_ms(50), 1)) == (
        2,
        11.0,
        10.0,
    )
    assert round(one.latencies.counted().histogram().max_ms, 1) == 3.0


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "beside one that has it right"])
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        pytest.param(delta(0, 2) + delta(3, 4), "gap", id="a delta is lost"),
        pytest.param(delta(0, 2, [1]) + delta(2, 4), "expected offsets|never came", id="a change is lost"),
        pytest.param(delta(0, 2), "never came", id="the end is lost"),
        pytest.param(delta(0, 2) + delta(0, 2) + delta(2, 4), "again|follows", id="a delta is doubled"),
        pytest.param(delta(0, 2, [1, 1, 2]) + delta(2, 4), "do not rise", id="a change is doubled"),
        pytest.param(delta(0, 2, [2, 1]) + delta(2, 4), "do not rise", id="changes are out of order"),
        pytest.param(delta(2, 4) + delta(0, 2), "gap", id="deltas are out of order"),
        pytest.param(delta(0, 2, [1, 2, 3]) + delta(3, 4), "holds offset", id="a change is beyond its delta"),
        pytest.param(head(4) + delta(0, 4), "again|announced before", id="a head overtakes a delta"),
    ],
)
def test_it_notices(data: bytes, complaint: str, shared: bool) -> None:
    reference = Reference()
    if shared:
        right = Client(reference)
        right.feed(delta(0, 2) + delta(2, 4))
        assert right.verify(4) == []
    client = Client(reference)
    client.feed(data)
    assert any(word in problem for problem in client.verify(4) for word in complaint.split("|")), (
        client.verify(4)
    )


def test_a_close_and_a_rejection_are_problems() -> None:
    client = Client()
    client.feed(frame(downstream.rejected(id=1, code="forbidden", message="no")))
    client.feed(Frame(Opcode.CLOSE, b"\x0f\xa8too slow").serialize(mask=False))
    rejected, closed = client.follower.problems
    assert "rejected" in rejected
    assert "4008 too slow" in closed


def test_pages_of_a_transaction_move_the_position_with_the_last() -> None:
    client = Client()
    client.feed(delta(0, 4, [1, 2], more=True))
    assert client.follower.position == 0
    client.feed(delta(0, 4, [3, 4]))
    assert client.follower.position == 4
    assert client.verify(4) == []


def test_a_snapshot_counts_as_joined_with_its_last_page() -> None:
    client = Client(start=5, mode="snapshot")
    page = {"topic": "leads", "collection": "leads", "epoch": "e", "offset": 5}
    client.feed(frame(downstream.snapshot(records=[b'{"id":"a"}'], last=False, **page)))  # type: ignore[arg-type]  # a row of keywords
    assert client.joined == 0
    client.feed(frame(downstream.snapshot(records=[b'{"id":"b"}'], last=True, **page)))  # type: ignore[arg-type]  # a row of keywords
    assert (client.joined, client.follower.snapshot_records) == (1, 2)
    client.feed(delta(5, 6))
    assert client.verify(6, first=3) == []


@pytest.mark.parametrize("before", [0, 9], ids=["between frames", "within a frame"])
def test_more_may_come_after_it_was_verified(before: int) -> None:
    client = Client()
    client.feed(delta(0, 1) + delta(1, 2)[:before])
    assert client.verify(1) == []
    client.feed(delta(1, 2)[before:])
    assert client.verify(2) == []


def test_who_comes_back_with_a_position_goes_on_from_there_and_knows_what_it_is_caught_up_to() -> None:
    reference = Reference()
    before = Client(reference)
    before.feed(delta(0, 2))
    sent: list[bytes] = []
    epoch, view = before.follower.place
    since = {"epoch": epoch, "offset": before.follower.position, "view": view}
    ticket = Ticket("token", "client", "leads", since)
    after = Follower(reference, BranchlineDialect(), ticket, sent.append, lambda: None)
    after.begin()
    after.receive(frame(orjson.dumps({"type": "ready"})), 0)
    assert b'"since":{"epoch":"e","offset":2,"view":"v"}' in sent[-1]
    told = {"type": "subscribed", "offset": 5, "mode": "replay", "epoch": "e", "view": "v"}
    after.receive(frame(orjson.dumps(told)), 0)
    assert (after.start, after.position, after.target) == (2, 2, 5)
    after.receive(delta(2, 5), 0)
    assert after.position == 5
    assert after.verify([1, 2, 3, 4, 5]) == []


@pytest.mark.parametrize("first", [True, False], ids=["who has it right was first", "was second"])
def test_it_notices_that_a_socket_is_told_something_else(first: bool) -> None:
    reference = Reference()
    clients = [Client(reference), Client(reference)]
    right = clients[0 if first else 1]
    for client in clients:
        client.feed(delta(0, 2) if client is right else delta_of(0, 2, change(1), change(2, name="Leak")))
    found = [problem for client in clients for problem in client.verify(2)]
    assert found == ["change 2 said something else than at another socket"]


def states(*last: tuple[str, int]) -> list[bytes]:
    return [change(offset, record=record, due_ms=0) for record, offset in last]


STEPS = [change(1, record="a", due_ms=0), change(2, record="b", due_ms=0), change(3, record="a", due_ms=0)]


@pytest.mark.parametrize(
    ("last", "complaint"),
    [
        pytest.param([("b", 2), ("a", 3)], None, id="the states are right"),
        pytest.param([("a", 3)], "is not what its changes come to", id="a record is missing"),
        pytest.param([("b", 2), ("a", 1)], "do not rise", id="states are out of order"),
        pytest.param([("b", 2), ("a", 4)], "holds offset 4", id="a state is beyond its delta"),
    ],
)
def test_states_in_place_of_steps_are_held_against_the_steps(
    last: list[tuple[str, int]], complaint: str | None
) -> None:
    reference = Reference()
    Client(reference).feed(delta_of(0, 3, *STEPS) + delta(3, 5))
    slow = Client(reference)
    slow.feed(delta_of(0, 3, *states(*last), conflated=True) + delta(3, 5))
    assert slow.follower.position == 5
    found = slow.verify(5)
    assert found == [] if complaint is None else any(complaint in problem for problem in found)


def test_after_a_conflated_delta_the_rest_has_to_come_all_the_same() -> None:
    reference = Reference()
    Client(reference).feed(delta_of(0, 3, *STEPS) + delta(3, 5))
    slow = Client(reference)
    slow.feed(delta_of(0, 3, *states(("b", 2), ("a", 3)), conflated=True))
    assert slow.verify(5) == ["2 changes of 5 never came"]
    slow.feed(delta(3, 5, [5]))
    assert slow.verify(5) == ["expected offsets [4, 5] …, got [5] …"]
