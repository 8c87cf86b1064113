"""Whatever is lost, repeated, late or slow: who follows a topic ends equal to the log, each change once, without a gap.

The gateway's own feed, hub, fan-out, catch-up and intake, with a log, a socket and a database of a few lines in the
places of the real ones, driven by steps that hypothesis chooses.
"""

import asyncio
import struct
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import hypothesis
import hypothesis.strategies as st
import orjson
import pytest

from core.principal import Principal
from core.protocol.change import LoggedChange, Operation
from core.protocol.publication import Publication, encode_publication
from core.protocol.topic import parse_topic
from core.protocol.upstream import SincePosition, Subscribe
from core.protocol.view import View, change_for_view, view_of
from core.tokens import Claims
from gateway.catch_up import CatchUp
from gateway.connection import Stage
from gateway.conversation import Phase
from gateway.fan_out import FanOut
from gateway.feed import Feed
from gateway.following import Following
from gateway.intake import Intake
from gateway.jobs import Jobs
from gateway.log_reader import chunk_of
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.organization import Organization
from gateway.presence import Presence
from gateway.seat import Seat
from gateway.snapshot import Page
from gateway.subscription import Subscription
from gateway.tail import Chunk
from tests.gateways import Replica
from tests.unit.protocol.catalogue import CATALOGUE, NORTH, SOUTH, person

ORGANIZATION = "o"
EPOCH = "e"
IDS = [f"00000000-0000-0000-0000-0000000000{number:02}" for number in range(10, 16)]
TOPICS = ["leads", "leads?status=new", f"leads?branch_id=~,{NORTH}", f"leads/{IDS[0]}", "*"]
PEOPLE = [person("owner"), person("agent"), person("agent", "own", frozenset({SOUTH}))]
# Who follows what; some share a view.
CLIENTS = [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (3, 0), (4, 2)]
BLOCK = 5


class Log:
    """The log and the rows of an organisation. Reads fail as often as `failing` says."""

    def __init__(self) -> None:
        self.changes: list[LoggedChange] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.failing = 0

    def commit(self, writes: list[tuple[int, str | None, str | None]]) -> None:
        """Write records (by number): a status and a branch, or None as status to delete."""
        first = len(self.changes) + 1
        last = first + len(writes) - 1
        for offset, (number, status, branch) in enumerate(writes, first):
            self.changes.append(self._change(offset, last, IDS[number], status, branch))

    def _change(
        self, offset: int, last: int, record_id: str, status: str | None, branch: str | None
    ) -> LoggedChange:
        old = self.rows.get(record_id)
        version = self.versions[record_id] = self.versions.get(record_id, 0) + 1
        new = {
            "id": record_id,
            "branch_id": branch,
            "status": status,
            "margin": str(offset),
            "version": version,
            "updated_at": f"t{offset}",
            "updated_by": "u",
        }
        if status is None and old is not None:
            del self.rows[record_id]
            operation: Operation = "delete"
            record, previous = old, {}
        else:
            new["status"] = status or "new"
            self.rows[record_id] = new
            operation, record = ("insert" if old is None else "update"), new
            previous = (
                {}
                if old is None
                else {name: old[name] for name in ("branch_id", "status", "margin") if old[name] != new[name]}
            )
        return LoggedChange(
            offset, "leads", record_id, operation, version, record, tuple(previous), previous, "c", None, None,
            f"t{last}", 1, None, last,
        )  # fmt: skip

    @property
    def head(self) -> int:
        return len(self.changes)

    async def _read(self) -> None:
        await asyncio.sleep(0)
        if self.failing:
            self.failing -= 1
            raise OSError("the database is away")

    async def fetch_head(self, organization_id: str) -> tuple[str, int]:
        await self._read()
        return EPOCH, self.head

    async def fetch_after(self, organization_id: str, after: int) -> list[LoggedChange]:
        await self._read()
        return self.changes[after : after + BLOCK]

    async def fetch_chunk(self, organization_id: str, epoch: str, after: int) -> Chunk | None:
        await self._read()
        block = self.changes[after - after % BLOCK : after - after % BLOCK + BLOCK]
        return chunk_of(ORGANIZATION, block) if block and block[-1].offset > after else None

    async def fetch_page(
        self,
        view: View,
        collection: str,
        organization_id: str,
        epoch: str,
        *,
        after: str | None,
        at: int,
        now: int,
    ) -> Page:
        await self._read()
        rows = (
            [self.rows[key] for key in sorted(self.rows) if key > (after or "")]
            if collection == "leads"
            else []
        )
        shown = [row for row in rows if view.shows("leads", row)]
        page = [orjson.dumps(view.strip("leads", row)) for row in shown[:2]]
        return Page(list(page), shown[1]["id"] if len(shown) > 2 else None, now, 0)


class Wire:
    """A socket in memory: what was written, and whether its reader is slow."""

    def __init__(self) -> None:
        self.stage = Stage.OPEN
        self.is_slow = False
        self.written: list[dict[str, Any]] = []
        self.code: int | None = None

    @property
    def writer(self) -> "Wire":
        """What the fan-out writes to."""
        return self

    def write(self, frames: bytes) -> None:
        assert self.stage is Stage.OPEN
        self.written.extend(_messages(frames))

    def close(self, code: int, reason: str = "") -> None:
        self.stage, self.code = Stage.CLOSED, code


def _messages(frames: bytes) -> Iterator[dict[str, Any]]:
    at = 0
    while at < len(frames):
        length, at = frames[at + 1], at + 2
        if length == 126:
            (length,), at = struct.unpack_from("!H", frames, at), at + 2
        elif length == 127:
            (length,), at = struct.unpack_from("!Q", frames, at), at + 8
        yield orjson.loads(frames[at : at + length])
        at += length


class Client:
    """A client of one topic, whose socket may end and begin again."""

    def __init__(self, topic: str, principal: Principal) -> None:
        self.replica = Replica(parse_topic(topic, CATALOGUE).canonical)
        self.topic = topic
        self.principal = principal
        self.view = view_of(parse_topic(topic, CATALOGUE), principal, CATALOGUE)
        self.seat: Seat | None = None
        self.start = 0
        self.promised = 0
        self.folded: list[range] = []
        """Offsets of which the latest state of each record came, in place of each step."""
        self.is_rejected = False
        """Whether it is to ask again, because the log could not be read."""

    @property
    def wire(self) -> Wire:
        assert self.seat is not None
        wire: Any = self.seat.connection
        assert isinstance(wire, Wire)
        return wire

    def read(self) -> None:
        """Take what was written to the socket."""
        for message in self.wire.written:
            if message["type"] == "rejected":
                assert message["reaction"] == "retry"
                self.is_rejected = True
                continue
            assert message["type"] in ("subscribed", "snapshot", "delta"), message
            self.replica.take(message)
            if message.get("conflated"):
                self.folded.append(range(message["from"] + 1, message["to"] + 1))
            if message["type"] == "subscribed":
                self.promised = message["offset"]
                if message["mode"] == "snapshot":
                    self.start = message["offset"]
        self.wire.written.clear()


class World:
    """A gateway without its rims."""

    def __init__(self) -> None:
        self.log = Log()
        self.metrics = Metrics()
        self.jobs = Jobs()
        self.fan_out = FanOut(self.metrics)
        log: Any = self.log
        options = Options(tail_bytes_per_organization=6_000)
        self.intake = Intake(log, self.jobs, self.fan_out, self.metrics, options, self._never, self._never)
        self.catch_up = CatchUp(log, log, self.metrics)
        self.following = Following(self.catch_up, self.metrics, options, CATALOGUE)
        self.organization = Organization(
            ORGANIZATION,
            Feed(EPOCH, 0),
            self.fan_out,
            self._presence(),
            self,
            tail_bytes=options.tail_bytes_per_organization,
        )
        self.intake.organizations[ORGANIZATION] = self.organization
        self.clients = [Client(TOPICS[topic], PEOPLE[who]) for topic, who in CLIENTS]
        self.published = 0

    def _presence(self) -> Presence:
        """The presence of an organisation in which nobody announces anything."""
        log: Any = self.log
        return Presence(
            ORGANIZATION,
            "gateway",
            log,
            self.jobs,
            self.metrics,
            tell=self._never,
            on_known=self._never,
            on_failed=self._never,
        )

    def _never(self, *_: object) -> Any:
        raise AssertionError("there is one organisation, and nobody announces anything")

    def fill_gap(self, organization: Organization) -> None:
        self.intake.fill_gap(organization)

    def renew(self, organization: Organization) -> None:
        self.intake.renew(organization)

    def advance(self, subscription: Subscription) -> None:
        self.catch_up.advance(subscription)

    def review(self, organization: Organization, user_ids: set[str]) -> None:
        raise AssertionError("nobody's rights change")

    # Steps.

    def publish(self, *, lost: bool, again: int, pages: int) -> None:
        """Publish the next transaction: or lose it, or the last few again before it, in pages."""
        if self.published == self.log.head:
            return
        first = max(0, self.published - again)
        first = next(
            (c.offset - 1 for c in self.log.changes[first:] if self._begins(c.offset)), self.published
        )
        end = self.log.changes[self.published].last_of_commit
        while first < end:
            to = self.log.changes[first].last_of_commit
            if not (lost and to == end):
                for start in range(first, to, pages):
                    self._send(self.log.changes[start : min(start + pages, to)], first, to)
            first = to
        self.published = end

    def _begins(self, offset: int) -> bool:
        return offset == 1 or self.log.changes[offset - 2].last_of_commit == offset - 1

    def _send(self, changes: list[LoggedChange], after: int, to: int) -> None:
        data = encode_publication(
            Publication(0, 1, ORGANIZATION, EPOCH, after, to, 0, False, 0, tuple(changes))
        )
        self.intake.on_message(f"branchline:{{{ORGANIZATION}}}", data)

    def connect(self, client: Client, how: str) -> None:
        """Have a client subscribe on a socket of its own, with the position that it has, or anew."""
        self.disconnect(client)
        client.is_rejected = False
        wire: Any = Wire()
        seat = client.seat = Seat(wire, Claims("u", ORGANIZATION, "s", 2**40))
        seat.principal, seat.organization = client.principal, self.organization
        seat.conversation.phase = Phase.READY
        self.organization.seats.add(seat)
        since: Any = None
        if how == "position" and client.replica.position is not None:
            since = SincePosition(**client.replica.since)
        self.following.follow(seat, Subscribe(type="subscribe", id=1, topic=client.topic, since=since))

    def disconnect(self, client: Client) -> None:
        if client.seat is None:
            return
        client.read()
        client.replica._pages.clear()
        for subscription in list(client.seat.subscriptions):
            self.organization.end(subscription)
        self.organization.seats.discard(client.seat)
        client.wire.stage = Stage.CLOSED
        client.seat = None

    def slow(self, client: Client) -> None:
        if client.seat is not None and not client.wire.is_slow:
            client.wire.is_slow = True
            self.following.slowed(client.seat)

    def drain(self, client: Client) -> None:
        if client.seat is not None and client.wire.is_slow:
            client.wire.is_slow = False
            self.following.drained(client.seat)

    # The end.

    async def settle(self) -> None:
        """Heal everything, and wait until everybody is live."""
        self.log.failing = 0
        for client in self.clients:
            if client.seat is not None:
                client.read()
            if client.seat is None or client.is_rejected:
                self.connect(client, "position")
            self.drain(client)
        async with asyncio.timeout(20):
            while not self._is_settled():
                self.organization.note_head(EPOCH, self.log.head)
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    def _is_settled(self) -> bool:
        return self.organization.feed.cursor == self.log.head and all(
            client.seat is not None and client.seat.is_up_to_date and client.seat.subscriptions
            for client in self.clients
        )

    def check(self) -> None:
        """Compare every client with the log."""
        for client in self.clients:
            client.read()
            replica = client.replica
            expected = {
                ("leads", key): client.view.strip("leads", row)
                for key, row in self.log.rows.items()
                if client.view.shows("leads", row)
            }
            assert replica.records == expected
            assert replica.position is not None
            assert replica.position >= client.promised
            concerned = [
                change.offset
                for change in self.log.changes
                if change.offset > client.start and change_for_view(client.view, change) is not None
            ]
            assert replica.offsets == sorted(set(replica.offsets) & set(concerned))
            missing = set(concerned) - set(replica.offsets)
            assert all(any(offset in folded for folded in client.folded) for offset in missing)


_WRITES = st.tuples(
    st.integers(0, len(IDS) - 1), st.sampled_from([None, "new", "won"]), st.sampled_from([None, NORTH, SOUTH])
)
_CLIENT = st.integers(0, len(CLIENTS) - 1)
_STEPS = st.one_of(
    st.tuples(st.just("commit"), st.lists(_WRITES, min_size=1, max_size=6)),
    st.tuples(st.just("publish"), st.booleans(), st.integers(0, 6), st.integers(1, 4)),
    st.tuples(st.just("publish"), st.just(False), st.just(0), st.just(9)),
    st.tuples(st.just("connect"), _CLIENT, st.sampled_from(["anew", "position"])),
    st.tuples(st.just("disconnect"), _CLIENT),
    st.tuples(st.just("slow"), _CLIENT),
    st.tuples(st.just("drain"), _CLIENT),
    st.tuples(st.just("turns"), st.integers(1, 12)),
    st.tuples(st.just("fail"), st.integers(1, 3)),
)


async def _take(world: World, step: tuple[Any, ...]) -> None:
    match step:
        case ("commit", writes):
            world.log.commit(writes)
        case ("publish", lost, again, pages):
            world.publish(lost=lost, again=again, pages=pages)
        case ("connect", client, how):
            world.connect(world.clients[client], how)
        case ("disconnect", client):
            world.disconnect(world.clients[client])
        case ("slow", client):
            world.slow(world.clients[client])
        case ("drain", client):
            world.drain(world.clients[client])
        case ("turns", turns):
            for _ in range(turns):
                await asyncio.sleep(0)
        case ("fail", times):
            world.log.failing = times
    for each in world.clients:
        if each.seat is not None:
            each.read()


async def _live_through(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    async with world.jobs:
        working = asyncio.create_task(world.catch_up.run())
        try:
            for step in steps:
                await _take(world, step)
            await world.settle()
            world.check()
        finally:
            working.cancel()
            await asyncio.wait([working])


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries at once and in silence: a failing database is not what takes time here."""
    monkeypatch.setattr("gateway.catch_up._log", Mock())
    monkeypatch.setattr("gateway.catch_up.RETRY_SECONDS", 0)
    monkeypatch.setattr("gateway.intake.RETRY_SECONDS", 0)


def _run(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(_live_through(steps))


@pytest.mark.usefixtures("_impatient")
@hypothesis.settings(
    max_examples=150, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(st.lists(_STEPS, min_size=15, max_size=60))
def test_everybody_ends_equal_to_the_log(steps: list[tuple[Any, ...]]) -> None:
    _run(steps)


@pytest.mark.long
@pytest.mark.usefixtures("_impatient")
@hypothesis.settings(
    max_examples=3_000, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(st.lists(_STEPS, min_size=40, max_size=150))
def test_everybody_ends_equal_to_the_log_after_long_lives(steps: list[tuple[Any, ...]]) -> None:
    _run(steps)
