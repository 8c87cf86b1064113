"""PURE. One subscriber: signs in, subscribes, and follows the stream of deltas, checking every byte of it.

Most of what comes is compared with the reference, which holds what the first subscriber got; see there. Where a
subscriber is sent other frames than the reference has (at the start, or because it was caught up by itself), they
are decoded for it alone, and it goes back to comparing as soon as their ways meet.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence

from benchmarks.harness import frames
from benchmarks.harness.deltas import Delta
from benchmarks.harness.dialect import Dialect, Ticket, Told
from benchmarks.harness.latencies import Latencies
from benchmarks.harness.reference import Reference

_MOST_PROBLEMS = 5


class Follower:
    """One subscriber's side of the protocol, without the socket: bytes in by `receive`, bytes out by `send`.

    `joined` is called once, when it is subscribed. `start` is the offset that it was subscribed at. `deliveries`
    counts changes, not frames. `target` is what it was being caught up to when it was subscribed, `place` the epoch and
    the view with which it may come back. `latencies` is None where its arrivals are not among those that are timed.
    """

    __slots__ = (
        "_at", "_dialect", "_frame", "_head", "_heads", "_joined", "_next_end", "_position", "_ranges", "_reference",
        "_rest", "_send", "_since_frame", "_ticket", "bytes_in", "chunks", "conflated", "is_joined", "latencies",
        "place", "problems", "repeated", "snapshot_records", "start", "target",
    )  # fmt: skip

    def __init__(
        self,
        reference: Reference,
        dialect: Dialect,
        ticket: Ticket,
        send: Callable[[bytes], None],
        joined: Callable[[], None],
        latencies: Latencies | None = None,
    ) -> None:
        self._reference = reference
        self._dialect = dialect
        self._ticket = ticket
        self._send = send
        self._joined = joined
        self.latencies = latencies
        self._at = -1
        self._frame = -1
        self._since_frame = 0
        self._next_end = 0
        self._rest = b""
        self._position = 0
        self._head = -1
        self._heads: list[tuple[int, int]] = []
        self._ranges: list[range | array[int]] = []
        self.start = 0
        self.target = 0
        self.place = ("", "")
        self.is_joined = False
        self.bytes_in = 0
        self.chunks = 0
        self.conflated = 0
        self.repeated = 0
        self.snapshot_records = 0
        self.problems: list[str] = []

    @property
    def position(self) -> int:
        """The offset up to which everything of the topic has come."""
        if self._frame <= 0:
            return self._position
        return max(self._position, self._reference.positions[self._frame - 1])

    @property
    def deliveries(self) -> int:
        """How many changes have come."""
        shared = 0
        if self._frame >= 0:
            before = self._reference.changes_before
            shared = before[self._frame] - before[self._since_frame]
        return shared + sum(map(len, self._ranges))

    def begin(self) -> None:
        """Sign in: the socket is open."""
        self._take(self._dialect.begin(self._ticket))

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take what came from the server. Raises FrameError if it is no frame that this client understands."""
        self.bytes_in += len(data)
        self.chunks += 1
        stream = self._reference.stream
        at = self._at
        if at >= 0:
            end = at + len(data)
            if end <= len(stream) and stream.startswith(data, at):
                self._at = end
                if end >= self._next_end:
                    self._advance(now_ns)
                return
            begun = self._reference.begin(self._frame)
            if begun < at:
                data = bytes(stream[begun:at]) + data
        elif self._rest:
            data = self._rest + data
        self._walk(data, now_ns)

    def verify(self, expected: Sequence[int]) -> list[str]:
        """What is wrong with what came, given the offsets of all changes of the topic in PostgreSQL, in order."""
        problems = list(self.problems)
        if self._at >= 0:
            # More may come: what is there of the next frame stays with this follower.
            self._rest = bytes(self._reference.stream[self._reference.begin(self._frame) : self._at])
            self._at = -1
        self._detach()
        offsets = self._reference.offsets
        at = bisect_right(expected, self.start)
        for part in self._ranges:
            came = offsets[part.start : part.stop] if isinstance(part, range) else list(part)
            wanted = expected[at : at + len(came)]
            if list(wanted) != came and not self.conflated:
                problems.append(f"expected offsets {list(wanted)[:5]} …, got {came[:5]} …")
            at += len(came)
        if at < len(expected) and not self.conflated:
            problems.append(f"{len(expected) - at} changes of {len(expected)} never came")
        for frame, head in self._heads:
            index = self._reference.changes_before[frame]
            if index < len(offsets) and offsets[index] <= head:
                problems.append(f"head {head} was announced before change {offsets[index]} came")
        return problems

    # Bytes into frames.

    def _walk(self, data: bytes, now_ns: int) -> None:
        at = 0
        while (head := frames.read_head(data, at)) is not None:
            if head.opcode == frames.TEXT:
                self._text(data[at : head.end], data[head.start : head.end], now_ns)
            else:
                self._control(head.opcode, data[head.start : head.end])
            at = head.end
        rest = data[at:]
        if self._frame >= 0:
            reference = self._reference
            begun = reference.begin(self._frame)
            if begun + len(rest) <= len(reference.stream) and reference.stream.startswith(rest, begun):
                self._at, self._rest = begun + len(rest), b""
                self._note_next_end()
                return
        self._at, self._rest = -1, rest

    def _advance(self, now_ns: int) -> None:
        reference = self._reference
        frame = bisect_right(reference.ends, self._at, lo=self._frame)
        self._time(self._frame, frame, now_ns)
        self._frame = frame
        self._note_next_end()

    def _note_next_end(self) -> None:
        ends = self._reference.ends
        # 0 where the next frame is not known yet: then any bytes that fit may be its end.
        self._next_end = ends[self._frame] if self._frame < len(ends) else 0

    def _time(self, first: int, last: int, now_ns: int) -> None:
        if self.latencies is not None and first < last:
            before = self._reference.changes_before
            self.latencies.record_all(self._reference.due_ns[before[first] : before[last]], now_ns)

    # Frames into messages.

    def _text(self, frame: bytes, payload: bytes, now_ns: int) -> None:
        reference = self._reference
        if self._frame >= 0 and reference.holds(self._frame, frame):
            self._share(self._frame, now_ns)
            return
        match self._dialect.read(payload, self._ticket):
            case Delta() as delta:
                if not self._meet(frame, delta, now_ns):
                    self._detach()
                    self._take_alone(delta, now_ns)
            case Told() as told:
                self._take(told)

    def _meet(self, frame: bytes, delta: Delta, now_ns: int) -> bool:
        """Go on in the reference with this delta, if it is the next there or belongs at its end."""
        reference = self._reference
        at: int | None = self._frame
        if self._frame < 0:
            at = reference.find(delta.from_offset)
        if at == len(reference):
            reference.extend(frame, delta)
        elif at is None or not reference.holds(at, frame):
            return False
        if self._frame < 0:
            self._check(delta)
            self._frame = self._since_frame = at
        self._share(at, now_ns)
        return True

    def _share(self, frame: int, now_ns: int) -> None:
        self._time(frame, frame + 1, now_ns)
        self._frame = frame + 1

    def _detach(self) -> None:
        """Leave the reference, keeping what was shared with it."""
        if self._frame < 0:
            return
        before = self._reference.changes_before
        self._ranges.append(range(before[self._since_frame], before[self._frame]))
        self._position = self.position
        self._frame = -1

    def _take_alone(self, delta: Delta, now_ns: int) -> None:
        self._check(delta)
        self._ranges.append(array("q", delta.offsets))
        if self.latencies is not None:
            self.latencies.record_all(delta.due_ns, now_ns)
        if not delta.more:
            self._position = max(self._position, delta.to_offset)

    def _check(self, delta: Delta) -> None:
        """Hold a delta against this subscriber's own position (I5)."""
        if (problem := delta.problem) is not None:
            self._note(problem)
        if delta.from_offset > self.position:
            self._note(f"a delta from {delta.from_offset} came at position {self.position}: a gap (I5)")
        known = max(self.position, self._head)
        repeated = sum(1 for offset in delta.offsets if offset <= known)
        if repeated:
            self.repeated += repeated
            self._note(f"{repeated} changes up to offset {known} came again")
        self.conflated += delta.conflated

    def _take(self, told: Told) -> None:
        if told.start is not None:
            # What a head said before was said to a socket that followed nothing yet.
            self.start = self._position = self._head = told.start
            self.target, self.place = told.target, (told.epoch, told.view)
        if told.head is not None:
            self._head = told.head
            if self._frame >= 0:
                self._heads.append((self._frame, self._head))
        if told.problem is not None:
            self._note(told.problem)
        self.snapshot_records += told.records
        if told.joined and not self.is_joined:
            self.is_joined = True
            self._joined()
        if told.reply is not None:
            self._send(frames.client_frame(frames.TEXT, told.reply))

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.PING:
            self._send(frames.client_frame(frames.PONG, payload))
        elif opcode == frames.CLOSE:
            self._note(
                f"the server closed with {int.from_bytes(payload[:2])} {payload[2:].decode(errors='replace')}"
            )
        elif opcode != frames.PONG:
            raise frames.FrameError(f"a frame of opcode {opcode} came")

    def _note(self, problem: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)
