"""PURE. One subscriber: signs in, subscribes, and follows the stream of deltas, checking every byte of it.

Most of what comes is compared with the reference, which holds what the first subscriber got; see there. Where a
subscriber is sent other frames than the reference has (at the start, or because it was caught up by itself), they
are decoded for it alone, and it goes back to comparing as soon as their ways meet.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import chain

from benchmarks.harness import frames
from benchmarks.harness.deltas import Content, Delta, add_up, digest_of
from benchmarks.harness.dialect import Dialect, Ticket, Told
from benchmarks.harness.latencies import Latencies
from benchmarks.harness.reference import Reference

_MOST_PROBLEMS = 5


class _Alone:
    """Changes that were decoded for one follower: their offsets, and digests of what they say."""

    def __init__(self, delta: Delta) -> None:
        self.offsets = array("q", delta.offsets)
        self.digests = array("q", map(digest_of, delta.contents))

    def __len__(self) -> int:
        return len(self.offsets)


class _Conflated:
    """States in place of steps, of the changes after `span[0]` up to `span[1]`."""

    def __init__(self, delta: Delta) -> None:
        self.span = (delta.from_offset, delta.to_offset)
        self.offsets = array("q", delta.offsets)
        self.contents: list[Content] = list(delta.contents)

    def __len__(self) -> int:
        return len(self.offsets)

    def add_page(self, delta: Delta) -> None:
        """Take one more page of it."""
        self.offsets.extend(delta.offsets)
        self.contents += delta.contents


class Follower:
    """One subscriber's side of the protocol, without the socket: bytes in by `receive`, bytes out by `send`.

    `joined` is called once, when it is subscribed. `start` is the offset that it was subscribed at. `deliveries`
    counts changes, not frames. `target` is what it was being caught up to when it was subscribed, `place` the epoch and
    the view with which it may come back. `latencies` is None where its arrivals are not among those that are timed.
    """

    __slots__ = (
        "_at", "_dialect", "_frame", "_head", "_heads", "_in_page", "_joined", "_next_end", "_parts", "_position",
        "_reference", "_rest", "_send", "_since_frame", "_ticket", "bytes_in", "chunks", "conflated", "is_joined",
        "latencies", "place", "problems", "repeated", "snapshot_records", "start", "target",
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
        self._parts: list[range | _Alone | _Conflated] = []
        self._in_page = False
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
        return shared + sum(map(len, self._parts))

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
        problems += self._find_lost(expected)
        problems += self._find_different(expected)
        offsets = self._reference.offsets
        for frame, head in self._heads:
            index = self._reference.changes_before[frame]
            if index < len(offsets) and offsets[index] <= head:
                problems.append(f"head {head} was announced before change {offsets[index]} came")
        return problems

    def _find_lost(self, expected: Sequence[int]) -> list[str]:
        """Changes that did not come, came doubled, or in another order. In place of steps a state may have come."""
        shared = self._reference.offsets
        came = list(
            chain.from_iterable(
                shared[part.start : part.stop] if isinstance(part, range) else part.offsets
                for part in self._parts
            )
        )
        wanted = expected[bisect_right(expected, self.start) :]
        spans = [part.span for part in self._parts if isinstance(part, _Conflated)]
        if spans:
            there = set(came)
            wanted = [
                each for each in wanted if each in there or not any(low < each <= high for low, high in spans)
            ]
        if came == wanted:
            return []
        pairs = enumerate(zip(wanted, came, strict=False))
        at = next((index for index, (a, b) in pairs if a != b), min(len(wanted), len(came)))
        if at == len(came):
            return [f"{len(wanted) - at} changes of {len(expected)} never came"]
        return [f"expected offsets {list(wanted[at : at + 5])} …, got {came[at : at + 5]} …"]

    def _find_different(self, expected: Sequence[int]) -> list[str]:
        """Changes that say something else than at the other sockets; states that are not what the steps come to."""
        reference = self._reference
        found = []
        for part in self._parts:
            if isinstance(part, _Alone):
                found += [
                    f"change {offset} said something else than at another socket"
                    for offset, digest in zip(part.offsets, part.digests, strict=True)
                    if reference.digest_at(offset) not in (None, digest)
                ]
            elif isinstance(part, _Conflated):
                low, high = part.span
                steps = expected[bisect_right(expected, low) : bisect_right(expected, high)]
                first = bisect_right(reference.offsets, low)
                if reference.offsets[first : first + len(steps)] != list(steps):
                    continue  # nobody was sent the steps
                wanted = add_up(reference.contents[first : first + len(steps)])
                if _without_version(add_up(part.contents)) != _without_version(wanted):
                    found.append(f"a conflated delta from {low} to {high} is not what its changes come to")
        return found[:_MOST_PROBLEMS]

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
        if delta.conflated:
            return False
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
        self._parts.append(range(before[self._since_frame], before[self._frame]))
        self._position = self.position
        self._frame = -1

    def _take_alone(self, delta: Delta, now_ns: int) -> None:
        self._check(delta)
        last = self._parts[-1] if self._parts else None
        if not delta.conflated:
            self._parts.append(_Alone(delta))
        elif self._in_page and isinstance(last, _Conflated):
            last.add_page(delta)
        else:
            self._parts.append(_Conflated(delta))
        self._in_page = delta.more
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


def _without_version(
    records: dict[str, dict[str, object] | None],
) -> dict[str, dict[str, object] | None]:
    """A state names its version among the fields, a step beside them."""
    return {
        record_id: fields and {name: value for name, value in fields.items() if name != "version"}
        for record_id, fields in records.items()
    }
