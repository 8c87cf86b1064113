"""Streams: each change once, in order, whatever is slow, forgotten or broken."""

import asyncio
import gc
import json
from collections.abc import Callable, Sequence

import pytest

from branchline_client import stream as streams
from branchline_client.backoff import RetryPolicy
from branchline_client.change import Change
from branchline_client.errors import ClosedError, SubscriptionRefusedError
from branchline_client.feed import TaggedRecord
from branchline_client.message import Delta, Rejected, SnapshotPage, Subscribed, decode
from branchline_client.position import Position
from branchline_client.stream import Buffer, Stream
from branchline_client.subscriptions import Subscriptions, TopicSpec

SPEC = TopicSpec("leads", "leads")


class Server:
    """Answers subscriptions of one topic, from a log of `head` changes."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.head = 0
        self.fetched: list[Callable[[Sequence[TaggedRecord]], None]] = []
        self.subscriptions = Subscriptions(self.send, self, RetryPolicy())

    def send(self, message: bytes) -> bool:
        self.asked.append(json.loads(message))
        return True

    def fetch(self, spec: TopicSpec, at: Position, done: Callable[[Sequence[TaggedRecord]], None]) -> None:
        self.fetched.append(done)

    def last(self) -> object:
        """The type of the last message."""
        return self.asked[-1]["type"]

    def answer(self) -> None:
        """Answer the last question: live from now, or a replay up to the head."""
        last = self.asked[-1]
        since = last.get("since")
        mode = "live" if since == "now" else ("replay" if since else "snapshot")
        request_id = last["id"]
        assert isinstance(request_id, int)
        self.subscriptions.subscribed(Subscribed(request_id, "leads", "v", mode, "e", self.head))  # type: ignore[arg-type]
        if isinstance(since, dict):
            self.deliver(int(since["offset"]))

    def deliver(self, after: int) -> None:
        changes = tuple(
            Change(n, "leads", f"r{n}", "update", n, {"n": n}) for n in range(after + 1, self.head + 1)
        )
        self.subscriptions.delta(Delta("leads", "e", after, self.head, changes))

    def write(self, count: int = 1) -> None:
        before = self.head
        self.head += count
        self.deliver(before)


@pytest.fixture
async def server() -> Server:
    return Server()


def open_stream(server: Server, since: Position | None = None, *, wants_snapshot: bool = False) -> Stream:
    return Stream(
        Buffer(server.subscriptions, SPEC, since, wants_snapshot=wants_snapshot), lambda buffer: None
    )


async def take(stream: Stream, count: int) -> list[int]:
    return [(await anext(stream)).offset for _ in range(count)]


async def test_changes_come_once_and_in_order_and_the_position_is_of_what_was_taken(server: Server) -> None:
    stream = open_stream(server)
    server.answer()
    server.write(3)
    assert stream.position == Position("e", 0, "v")
    assert await take(stream, 2) == [1, 2]
    assert stream.position == Position("e", 0, "v")
    server.write()
    assert await take(stream, 2) == [3, 4]
    server.subscriptions.disconnected()
    server.head = 6
    server.subscriptions.connected()
    server.answer()
    assert await take(stream, 2) == [5, 6]


async def test_two_streams_of_one_topic_share_it_at_their_own_positions(server: Server) -> None:
    first = open_stream(server)
    server.answer()
    server.write(5)
    second = open_stream(server, Position("e", 2, "v"))
    # The topic is asked for from the older position; the first skips what it has.
    assert server.asked[-1]["since"] == {"epoch": "e", "offset": 2, "view": "v"}
    server.answer()
    server.write()
    assert await take(first, 6) == [1, 2, 3, 4, 5, 6]
    assert await take(second, 4) == [3, 4, 5, 6]
    first.close()
    assert server.last() == "subscribe"
    second.close()
    assert server.last() == "unsubscribe"


async def test_a_reader_that_is_slow_leaves_and_comes_back_without_a_gap(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_WAITING", 8)
    stream = open_stream(server)
    server.answer()
    server.write(10)
    assert server.asked[-1]["type"] == "unsubscribe"
    server.head = 15
    assert await take(stream, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert await take(stream, 1) == [8]
    assert server.asked[-1]["since"] == {"epoch": "e", "offset": 10, "view": "v"}
    server.answer()
    assert await take(stream, 7) == [9, 10, 11, 12, 13, 14, 15]


async def test_what_cannot_be_continued_is_told_by_a_reset(server: Server) -> None:
    stream = open_stream(server)
    server.answer()
    server.write(2)
    assert await take(stream, 1) == [1]
    server.subscriptions.disconnected()
    server.subscriptions.connected()
    request_id = server.asked[-1]["id"]
    assert isinstance(request_id, int)
    server.subscriptions.subscribed(Subscribed(request_id, "leads", "v2", "snapshot", "e2", 1))
    page = SnapshotPage("leads", None, [{"id": "a", "version": 1}], True, "e2", 1)
    server.subscriptions.snapshot(page)
    told = [await anext(stream) for _ in range(2)]
    assert [(each.operation, each.id) for each in told] == [("reset", ""), ("enter", "a")]


async def test_a_stream_from_the_records_joins_one_that_is_under_way(server: Server) -> None:
    first = open_stream(server)
    server.answer()
    server.write(2)
    stream = open_stream(server, wants_snapshot=True)
    [done] = server.fetched
    # What comes while the records are fetched follows them.
    server.write()
    done([("leads", {"id": "a", "version": 1})])
    told = [await anext(stream) for _ in range(3)]
    assert [(each.operation, each.offset) for each in told] == [("reset", 2), ("enter", 2), ("update", 3)]
    assert await take(first, 3) == [1, 2, 3]


async def test_a_stream_that_nobody_holds_any_more_is_closed(server: Server) -> None:
    stream = open_stream(server)
    server.answer()
    del stream
    gc.collect()
    assert server.asked[-1]["type"] == "unsubscribe"


async def test_a_closed_stream_ends_and_a_failed_one_raises(server: Server) -> None:
    stream = open_stream(server)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    failing = Buffer(server.subscriptions, SPEC, None, wants_snapshot=False)
    stream = Stream(failing, lambda buffer: None)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    failing.fail(ClosedError("closed"))
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        await stream.begun()


async def test_a_refused_topic_ends_its_streams(server: Server) -> None:
    stream = open_stream(server)
    request_id = server.asked[-1]["id"]
    rejected = decode(
        f'{{"type":"rejected","id":{request_id},"code":"forbidden","message":"no","reaction":"give_up"}}'
    )
    assert isinstance(rejected, Rejected)
    assert server.subscriptions.rejected(rejected)
    with pytest.raises(SubscriptionRefusedError, match="no"):
        await anext(stream)
