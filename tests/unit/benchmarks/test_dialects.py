"""The client speaks the other systems' protocols, and notices there too what is lost, doubled or out of order."""

from collections.abc import Callable

import orjson
import pytest
from websockets.frames import Frame, Opcode

from benchmarks.harness.deltas import Delta, mark_due
from benchmarks.harness.dialect import Dialect, Ticket, Told
from benchmarks.harness.follower import Follower
from benchmarks.harness.reference import Reference
from benchmarks.peers.dialects import LiveQuery, Plain, SocketIo

TICKET = Ticket("bench", "client", "leads")


def record(number: int, key: str = "id") -> dict[str, str]:
    return {key: f"lead-{number}", "notes": mark_due(number) + " x"}


PACKETS: list[tuple[type[Dialect], Callable[[int], bytes]]] = [
    (Plain, lambda number: orjson.dumps(record(number))),
    (SocketIo, lambda number: b"42" + orjson.dumps(["lead", record(number)])),
    (
        LiveQuery,
        lambda number: orjson.dumps({"op": "create", "requestId": 1, "object": record(number, "objectId")}),
    ),
]


@pytest.mark.parametrize(("dialect", "packet"), PACKETS, ids=["plain", "socket.io", "livequery"])
def test_a_record_is_a_delta_whose_number_is_that_of_its_first_arrival(
    dialect: type[Dialect], packet: Callable[[int], bytes]
) -> None:
    spoken = dialect()
    deltas = [spoken.read(packet(number), TICKET) for number in (7, 3, 7)]
    assert [delta.to_offset for delta in deltas if isinstance(delta, Delta)] == [1, 2, 1]
    first = deltas[0]
    assert isinstance(first, Delta)
    assert (first.due_ns, first.contents[0][0], first.problem) == ((7,), "lead-7", None)


def test_each_signs_in_in_its_own_way() -> None:
    assert Plain().begin(TICKET) == Told(joined=True)
    socket_io = SocketIo()
    steps = [socket_io.read(packet, TICKET) for packet in (b'0{"sid":"a"}', b'40{"sid":"b"}', b"2")]
    assert (socket_io.begin(TICKET), *steps) == (
        Told(),
        Told(reply=b"40"),
        Told(joined=True),
        Told(reply=b"3"),
    )
    live_query = LiveQuery()
    assert b'"connect"' in (live_query.begin(TICKET).reply or b"")
    connected = live_query.read(b'{"op":"connected"}', TICKET)
    assert isinstance(connected, Told)
    assert b'"subscribe"' in (connected.reply or b"")
    assert live_query.read(b'{"op":"subscribed","requestId":1}', TICKET) == Told(joined=True)


@pytest.mark.parametrize("dialect", [SocketIo, LiveQuery])
def test_what_was_not_expected_is_a_problem(dialect: type[Dialect]) -> None:
    told = dialect().read(b'41{"op":"error"}' if dialect is SocketIo else b'{"op":"error"}', TICKET)
    assert isinstance(told, Told)
    assert told.problem is not None


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [([2, 1, 3], "gap"), ([1, 3], "gap"), ([1, 2], "never came"), ([1, 1, 2, 3], "again|differs|expected")],
    ids=["out of order", "lost", "the end is lost", "doubled"],
)
@pytest.mark.parametrize(("dialect", "packet"), PACKETS, ids=["plain", "socket.io", "livequery"])
def test_a_subscriber_that_was_not_sent_what_the_first_one_was_is_found_out(
    dialect: type[Dialect], packet: Callable[[int], bytes], numbers: list[int], complaint: str
) -> None:
    reference, spoken = Reference(), dialect()
    followers = [Follower(reference, spoken, TICKET, lambda _: None, lambda: None) for _ in range(2)]
    for follower, sent in zip(followers, ([1, 2, 3], numbers), strict=True):
        follower.begin()
        for number in sent:
            follower.receive(Frame(Opcode.TEXT, packet(number)).serialize(mask=False), 0)
    right, wrong = (follower.verify([1, 2, 3]) for follower in followers)
    assert right == []
    assert any(word in problem for problem in wrong for word in complaint.split("|")), wrong
