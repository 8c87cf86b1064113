"""Clients and a server in memory, driven by chance: broken lines, lost answers, processes that die, wrong clocks.

Everything that a client decides is its own pure code; what is simulated is time, the wire, the disk and the server.
"""

import random
from collections import deque
from dataclasses import dataclass, field, replace

from branchline_client.clock import DATE_MS, ClientClock
from branchline_client.feed import Advanced, Ask, Fact, Feed, Phase, Replaced
from branchline_client.message import Delta, Downstream, Head, SnapshotPage, Subscribed
from branchline_client.mirror import InconsistentError
from branchline_client.mutation import Mutation, Result
from branchline_client.position import Position
from branchline_client.queue import Pending, Queue, Stage
from branchline_client.topic import conditions_of, write_topic
from branchline_client.view import LiveView
from tests.checker import Acknowledged, ChangesSeen, Closed, Read, SnapshotSeen, Trace, Wrote
from tests.client_python.model import COLLECTION, EPOCH, REFUSED_VALUE, ModelServer, Record, make_view

VALUES = ("a", "b", "c", "d", "e", "f", "g", REFUSED_VALUE)
STATUSES = ("new", "won", "lost")
PAGE_RECORDS = 3


@dataclass
class Line:
    """One subscription on one socket, as the gateway keeps it: what was sent, and what is under way."""

    wire: deque[Downstream] = field(default_factory=deque)
    sent_to: int = 0
    snapshot_at: int | None = None
    pages_after: str | None = None
    has_lost: bool = False
    """Whether a delta was lost: the gateway then never says `head`, which would be a lie nobody can see through."""


@dataclass
class Disk:
    """What survives a crash: kept writes, and a copy of the records with its position."""

    queue: dict[str, Pending] = field(default_factory=dict)
    clock: ClientClock | None = None
    cache: tuple[dict[str, Record], Position] | None = None


class SimulatedClient:
    """One person's client. `skew_ms` is how wrong the device's clock is."""

    def __init__(
        self, server: ModelServer, chance: random.Random, name: str, status: str | None, skew_ms: int
    ) -> None:
        self.server = server
        self.chance = chance
        self.name = name
        self.skew_ms = skew_ms
        self.conditions = conditions_of({"status": status} if status else None)
        self.topic = write_topic(COLLECTION, self.conditions)
        self.server_view = make_view(name, self.topic)
        self.disk = Disk()
        self.traces: list[Trace] = []
        self.sessions: list[list[Wrote | Closed | Read]] = []
        self.acknowledged: dict[str, Acknowledged] = {}
        self.refused: list[str] = []
        self.lost: list[tuple[str, str]] = []
        self.typed: list[str] = []
        self.crashes = 0
        self.conflicts = 0
        self.clock = ClientClock(f"00000000-0000-4000-8000-{chance.getrandbits(48):012x}")
        self._requests = 0
        self._begin()

    # Life.

    def _begin(self) -> None:
        self.queue = Queue()
        self.line: Line | None = None
        self.on_its_way: tuple[list[Pending], list[Result], int] | None = None
        self.feed = Feed(self.topic, COLLECTION)
        self.view = LiveView(COLLECTION, self.conditions, (), self.queue)
        self.session: list[Wrote | Closed | Read] = []
        self.sessions.append(self.session)
        self.trace = Trace(self.name, self.server_view)
        self.traces.append(self.trace)
        self._open: dict[str, Pending] = {}
        for pending in sorted(self.disk.queue.values(), key=lambda each: each.sequence):
            stage = Stage.QUEUED if pending.answer is None else Stage.ANSWERED
            restored = self.queue.add(pending.mutation, stage=stage, sequence=pending.sequence)
            restored.written, restored.answer = pending.written, pending.answer
            self._note_written(restored)
        if self.disk.clock is not None:
            self.clock = self.disk.clock
        self.queue.shift_clocks(self.clock.offset_ms)
        if self.disk.cache is not None:
            records, position = self.disk.cache
            self.view.replaced([(COLLECTION, each) for each in records.values()], position)
            self.view.mirror.settle()
            self.feed.resume_at(position)
            self.trace.begun_at = position.offset

    def crash(self) -> None:
        """Die, and start again with what the disk has."""
        self.crashes += 1
        self.disconnect()
        self._begin()

    def save_cache(self) -> None:
        """Write records and position together, as they are now."""
        position = self.view.position
        if position is not None and self.view.mirror.is_settled:
            self.disk.cache = (dict(self.view.mirror.records), position)
            released = self.queue.release(self._is_on_disk)
            self.view.released(released)
            for each in released:
                self.disk.queue.pop(each.mutation.mutation_id, None)

    def _is_on_disk(self, pending: Pending) -> bool:
        assert self.disk.cache is not None
        assert pending.answer is not None
        return self.view.holds(pending) and self.disk.cache[1].offset >= pending.answer.offset

    # Typing.

    def type(self) -> None:
        """Write something."""
        ids = [*self.view.visible, *(row for row, each in self.server.rows.items() if each.is_dead)]
        operation = self.chance.choice(["insert", "update", "update", "update", "delete"])
        if operation == "insert" or not ids:
            record_id = f"r{self.chance.randrange(6)}"
            self._write(
                "insert",
                record_id,
                {"name": self.chance.choice(VALUES), "status": self.chance.choice(STATUSES)},
            )
        elif operation == "delete":
            self._write("delete", self.chance.choice(ids), {})
        else:
            names = self.chance.sample(["name", "phone", "status"], self.chance.randint(1, 2))
            fields = {n: self.chance.choice(STATUSES if n == "status" else VALUES) for n in names}
            self._write("update", self.chance.choice(ids), fields)

    def _write(self, operation: str, record_id: str, fields: Record) -> None:
        held = self.view.mirror.records.get(record_id)
        floor = "" if self.clock.seen is None else str(self.clock.seen)
        self.clock, stamp = self.clock.tick(self.device_ms)
        mutation = Mutation(
            mutation_id=f"{self.name}-{len(self.typed)}",
            collection=COLLECTION,
            id=record_id,
            operation=operation,  # type: ignore[arg-type]  # one of the three, by `type`
            fields=fields,
            base_version=self.queue.seen_version(
                COLLECTION, record_id, None if held is None else held["version"]
            ),
            mode=self.chance.choice([None, None, "merge", "strict"]) if operation == "update" else None,
            clock=stamp,
            offset_ms=self.clock.offset_ms,
            floor=floor,
        )
        self.typed.append(mutation.mutation_id)
        pending = self.queue.add(mutation)
        self.view.queue_changed([record_id])
        self._note_written(pending)

    def keep(self) -> None:
        """The disk has taken what was typed."""
        for pending in self.queue:
            if pending.stage is Stage.LOCAL:
                self.queue.kept(pending.mutation.mutation_id)
            self.disk.queue[pending.mutation.mutation_id] = replace(pending)
        self.disk.clock = self.clock

    def read(self) -> None:
        """Look at a record."""
        ids = list(self.view.visible) or ["r0"]
        record_id = self.chance.choice(ids)
        held = self.view.mirror.records.get(record_id)
        self.session.append(
            Read(
                (COLLECTION, record_id),
                self.view.visible.get(record_id),
                None if held is None else held["version"],
            )
        )

    # Pushing.

    @property
    def device_ms(self) -> int:
        """What this device's clock shows."""
        return self.server.now_ms + self.skew_ms

    def push(self) -> None:
        """Send a batch, if none is under way. The server acts at once; its answer is on its way."""
        if self.on_its_way is not None:
            return
        # Some answer of the API came before, with its date.
        self._hear_time(self.server.now_ms + self.chance.randint(-2_000, 500), DATE_MS)
        batch = self.queue.next_batch(limit=self.chance.randint(1, 5), limit_bytes=10**6, size_of=lambda _: 1)
        if batch:
            mutations = [each.mutation for each in batch]
            results, head = self.server.push(self.name, self.clock.now_ms(self.device_ms), mutations)
            self.on_its_way = (batch, results, head)

    def hear_answer(self, *, is_lost: bool) -> None:
        """Take the answer that is on its way, or find that it was lost."""
        if self.on_its_way is None:
            return
        (batch, results, head), self.on_its_way = self.on_its_way, None
        if is_lost:
            self.queue.unsent([each.mutation.mutation_id for each in batch])
            return
        settlement = self.queue.settle(batch, results, EPOCH, head, self.server.now_ms)
        for pending, result in settlement.answered:
            if result.clock is not None:
                self.clock = self.clock.see(result.clock)
            self._acknowledge(pending, result)
            self.disk.queue[pending.mutation.mutation_id] = replace(pending)
        for entry in settlement.refused:
            self.refused.append(entry.id)
            self.disk.queue.pop(entry.id, None)
            self.session.append(Closed(entry.id, None))
            self._open.pop(entry.id, None)
        for pending in settlement.changed:
            self.disk.queue[pending.mutation.mutation_id] = replace(pending)
        self.lost += [(loss.record_id, loss.field) for loss in settlement.losses]
        self.view.queue_changed(
            [each.mutation.id for each in batch] + [e.mutation.id for e in settlement.refused]
        )
        self._note_held()

    def _acknowledge(self, pending: Pending, result: Result) -> None:
        mutation = pending.mutation
        lost = frozenset(each.field for each in result.lost)
        self.conflicts += bool(lost)
        self.acknowledged[mutation.mutation_id] = Acknowledged(
            mutation.mutation_id,
            mutation.key,
            mutation.operation,
            mutation.fields,
            result.clock or "",
            lost,
        )
        if pending.written.fields or pending.written.operation != "update":
            # Less what was lost it is still to be seen.
            self._note_written(pending)
        else:
            self.session.append(Closed(mutation.mutation_id, None))
            self._open.pop(mutation.mutation_id, None)

    def _note_written(self, pending: Pending) -> None:
        mutation = pending.written
        self._open[mutation.mutation_id] = pending
        self.session.append(Wrote(mutation.mutation_id, mutation.key, mutation.operation, mutation.fields))

    def _note_held(self) -> None:
        """Own writes that the server's state holds need no more guarding: but it does not go back below them."""
        for mutation_id, pending in list(self._open.items()):
            if self.view.holds(pending):
                del self._open[mutation_id]
                version = None if pending.answer is None else pending.answer.version
                held = self.view.mirror.records.get(pending.mutation.id)
                floor = (
                    version
                    if held is not None and version is not None and held["version"] >= version
                    else None
                )
                self.session.append(Closed(mutation_id, floor))

    # The socket.

    def connect(self) -> None:
        """Open a socket and subscribe; the server's time is heard."""
        if self.line is None:
            self._hear_time(self.server.now_ms, 0)
            self.line = Line()
            self._ask()

    def _hear_time(self, server_ms: int, uncertain_ms: int) -> None:
        self.clock, moved = self.clock.see_server_time(server_ms, self.device_ms, uncertain_ms)
        if moved:
            self.queue.shift_clocks(self.clock.offset_ms)

    def disconnect(self) -> None:
        """Lose the socket, with what is on it."""
        self.line = None
        self.feed.disconnected()

    def _ask(self) -> None:
        line = self.line
        if line is None:
            return
        self._requests += 1
        line.has_lost = False
        since = self.feed.since
        self.feed.asked(self._requests)
        head = self.server.head
        view = self.server_view.name
        if isinstance(since, Position):
            mode, line.sent_to, line.snapshot_at = "replay", since.offset, None
        else:
            mode, line.sent_to, line.snapshot_at, line.pages_after = "snapshot", head, head, ""
        line.wire.append(Subscribed(self._requests, self.topic, view, mode, EPOCH, head))  # type: ignore[arg-type]

    def serve(self) -> None:
        """The gateway sends something: a page of the snapshot, or what is next of the log."""
        line = self.line
        if line is None:
            return
        if line.snapshot_at is not None:
            self._serve_page(line, line.snapshot_at)
            return
        ends = [end for end in self.server.commit_ends() if end > line.sent_to]
        roll = self.chance.random()
        if not ends or roll < 0.15:
            at = line.sent_to
            head = Head(EPOCH, at, self.server.now_ms)
            line.wire.append(Delta(self.topic, EPOCH, at, at, ()) if line.has_lost else head)
            return
        to = self.chance.choice(ends)
        start = max(0, line.sent_to - self.chance.choice([0, 0, 0, 1, 3]))
        if roll < 0.2:
            # A defect of the gateway: the client has to notice the gap.
            line.sent_to, line.has_lost = to, True
            return
        delta = self.server.delta(self.server_view, start, to, conflated=roll > 0.85)
        line.sent_to = to
        if roll > 0.6 and not delta.conflated and len(delta.changes) > 1:
            cut = self.chance.randrange(1, len(delta.changes))
            line.wire.append(replace(delta, changes=delta.changes[:cut], more=True))
            delta = replace(delta, changes=delta.changes[cut:])
        line.wire.append(delta)

    def _serve_page(self, line: Line, at: int) -> None:
        shown = self.server.records(self.server_view)
        rest = sorted(key for key in shown if key > (line.pages_after or ""))
        page = rest[:PAGE_RECORDS]
        last = len(rest) <= PAGE_RECORDS
        records = [shown[key] for key in page]
        line.wire.append(SnapshotPage(self.topic, COLLECTION, records, last, EPOCH, at))
        line.pages_after = page[-1] if page else line.pages_after
        if last:
            line.snapshot_at = None

    def hear(self, count: int = 1) -> None:
        """Take what has arrived on the socket."""
        for _ in range(count):
            if self.line is None or not self.line.wire:
                return
            self._hear(self.line.wire.popleft())

    def _hear(self, message: Downstream) -> None:
        match message:
            case Subscribed():
                facts = self.feed.subscribed(message)
            case SnapshotPage():
                facts = self.feed.snapshot(message)
            case Delta():
                facts = self.feed.delta(message)
            case Head():
                facts = self.feed.head(message)
            case _:
                raise AssertionError(message)
        for fact in facts:
            self._take(fact)
        self._note_held()

    def _take(self, fact: Fact) -> None:
        match fact:
            case Replaced():
                self.view.replaced(fact.records, fact.position)
                versions = {record["id"]: record["version"] for _, record in fact.records}
                self.trace.seen.append(SnapshotSeen(fact.position.offset, versions))
            case Advanced():
                for change in fact.changes:
                    self.clock = self.clock.see(change.clock)
                told = [(change.offset, change.id, change.operation) for change in fact.changes]
                self.trace.seen.append(ChangesSeen(fact.position.offset, told, fact.conflated))
                try:
                    self.view.advanced(fact.changes, fact.position)
                except InconsistentError:
                    self.feed.forget()
                    self._ask()
            case Ask():
                self._ask()
            case _:
                pass

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be sent or heard."""
        position = self.view.position
        is_current = position is not None and position.offset >= self.server.head
        return (
            self.feed.phase is Phase.LIVE and is_current and not len(self.queue) and self.on_its_way is None
        )
