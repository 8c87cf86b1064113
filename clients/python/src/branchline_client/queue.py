"""PURE. The queue of writes: which are sent next, and what follows from their answers.

Rules, with their reasons in `clients/CONTRACT.md`:
- A write is sent when it is kept safely on this device.
- At most one write of a record is on its way, unless they all merge: what follows it may depend on its answer.
- A write that refers to a record which is still to be inserted goes after that insert, or with it.
- A refused write leaves the queue. Only what was to follow a refused insert of the same record goes with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from branchline_client.clock import after, shift
from branchline_client.mutation import InboxEntry, Loss, Mutation, Result, losses_of, without_lost

TRANSIENT_CODES = frozenset({"unavailable", "too_busy", "internal", "rate_exceeded"})
"""Refusals that say nothing of the write: it is tried again."""

DEPENDENCY_CODE = "refused_by_dependency"


class Stage(Enum):
    """How far a write is."""

    LOCAL = "local"
    """Shown, and not kept safely yet."""
    QUEUED = "queued"
    """Kept safely; to be sent."""
    SENT = "sent"
    """On its way, or its answer is."""
    ANSWERED = "answered"
    """The server has it; the views do not show it of themselves yet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server made of a write: the record's version, and a position at which the log has it."""

    version: int | None
    epoch: str
    offset: int


@dataclass(slots=True)
class Pending:
    """A write on its way. `written` is what it shows: all that was asked for, less what was lost."""

    sequence: int
    mutation: Mutation
    written: Mutation
    stage: Stage = Stage.LOCAL
    attempts: int = 0
    was_sent: bool = False
    refers_to: tuple[str, ...] = ()
    answer: Answer | None = None

    @property
    def is_open(self) -> bool:
        """Whether its answer is still to come."""
        return self.stage is not Stage.ANSWERED


@dataclass(slots=True)
class Settlement:
    """What the answers to a batch brought: for the store, for the writers, for the views."""

    answered: list[tuple[Pending, Result]] = field(default_factory=list)
    refused: list[InboxEntry] = field(default_factory=list)
    again: list[Pending] = field(default_factory=list)
    changed: list[Pending] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)


class Queue:
    """All writes of one person that the server's state, as the views have it, does not hold yet."""

    def __init__(self, *, refused_tries: int = 5) -> None:
        self._refused_tries = refused_tries
        self._pending: dict[str, Pending] = {}
        self._of_record: dict[tuple[str, str], dict[str, Pending]] = {}
        self._inserts: dict[str, str] = {}
        self._refused_inserts: dict[str, str] = {}
        self._sequence = 0
        self._answered_count = 0

    def __len__(self) -> int:
        """How many have no answer yet."""
        return len(self._pending) - self._answered_count

    def __iter__(self) -> Iterator[Pending]:
        """All writes, in their order."""
        return iter(list(self._pending.values()))

    def get(self, mutation_id: str) -> Pending | None:
        """Give a write by its id."""
        return self._pending.get(mutation_id)

    def of_record(self, collection: str, record_id: str) -> Sequence[Pending]:
        """Give the writes of a record, in their order."""
        return tuple(self._of_record.get((collection, record_id), {}).values())

    def records_of(self, collection: str) -> list[str]:
        """Give the ids of the records of a collection that have writes."""
        return [record_id for name, record_id in self._of_record if name == collection]

    def seen_version(self, collection: str, record_id: str, version: int | None) -> int | None:
        """Give the version that the author of a record's writes has seen: `version` is the newest copy's.

        An answered write made the version after it, and the copy may not have it yet. One that did not make exactly the
        next has somebody else's before it, which has not been seen.
        """
        for pending in self.of_record(collection, record_id):
            made = None if pending.answer is None else pending.answer.version
            if made is None or not _has_written(pending):
                continue
            if pending.mutation.operation == "insert" or (version is not None and made == version + 1):
                version = made if version is None else max(version, made)
        return version

    def add(self, mutation: Mutation, *, stage: Stage = Stage.LOCAL, sequence: int | None = None) -> Pending:
        """Take a new write."""
        self._sequence = max(self._sequence + 1, sequence or 0)
        pending = Pending(self._sequence, mutation, mutation, stage, refers_to=self._references(mutation))
        self._pending[mutation.mutation_id] = pending
        self._answered_count += stage is Stage.ANSWERED
        self._of_record.setdefault(mutation.key, {})[mutation.mutation_id] = pending
        if mutation.operation == "insert" and stage is not Stage.ANSWERED:
            self._inserts[mutation.id] = mutation.mutation_id
        return pending

    def remove(self, mutation_id: str) -> Pending | None:
        """Take a write out."""
        pending = self._pending.pop(mutation_id, None)
        if pending is not None:
            self._answered_count -= not pending.is_open
            self._close(pending)
            of_record = self._of_record[pending.mutation.key]
            del of_record[mutation_id]
            if not of_record:
                del self._of_record[pending.mutation.key]
        return pending

    def note_refused(self, mutation: Mutation) -> None:
        """Remember a refused insert, so that what refers to its record can say what it depended on."""
        if mutation.operation == "insert":
            self._refused_inserts[mutation.id] = mutation.mutation_id

    def kept(self, mutation_id: str) -> None:
        """A write is kept safely now."""
        pending = self._pending.get(mutation_id)
        if pending is not None and pending.stage is Stage.LOCAL:
            pending.stage = Stage.QUEUED

    # Sending.

    def next_batch(
        self, *, limit: int, limit_bytes: int, size_of: Callable[[Mutation], int]
    ) -> list[Pending]:
        """Give what can be sent in one request, in order; notes it as sent."""
        batch: dict[str, Pending] = {}
        last_of_record: dict[tuple[str, str], Pending] = {}
        blocked: set[tuple[str, str]] = set()
        used = 0
        for pending in self._pending.values():
            key = pending.mutation.key
            if pending.stage is Stage.ANSWERED or key in blocked:
                continue
            size = size_of(pending.mutation)
            if len(batch) >= limit or (batch and used + size > limit_bytes):
                break
            before = last_of_record.get(key)
            is_next = (
                pending.stage is Stage.QUEUED
                and (before is None or _merge_alike(before.mutation, pending.mutation))
                and not any(self._is_awaited(each, batch) for each in pending.refers_to)
            )
            if not is_next:
                blocked.add(key)
                continue
            batch[pending.mutation.mutation_id] = last_of_record[key] = pending
            used += size
        for pending in batch.values():
            pending.stage = Stage.SENT
            pending.was_sent = True
        return list(batch.values())

    def unsent(self, mutation_ids: Iterable[str]) -> None:
        """A request failed, and nothing is known of its writes: they are to be sent again, with the same ids (I6)."""
        for mutation_id in mutation_ids:
            pending = self._pending.get(mutation_id)
            if pending is not None and pending.stage is Stage.SENT:
                pending.stage = Stage.QUEUED

    def settle(
        self, batch: Sequence[Pending], results: Sequence[Result], epoch: str, offset: int, now_ms: int
    ) -> Settlement:
        """Take the answers to a batch. What has no answer is sent again."""
        settlement = Settlement()
        by_id = {result.mutation_id: result for result in results}
        for pending in batch:
            mutation_id = pending.mutation.mutation_id
            if self._pending.get(mutation_id) is not pending or pending.stage is not Stage.SENT:
                continue
            result = by_id.get(mutation_id) or Result(mutation_id, "rejected", code="unavailable")
            if result.status != "rejected":
                self._answered(pending, result, Answer(result.version, epoch, offset), settlement)
            elif result.code in TRANSIENT_CODES and pending.attempts + 1 < self._refused_tries:
                pending.attempts += 1
                pending.stage = Stage.QUEUED
                settlement.again.append(pending)
            else:
                self._refuse(pending, result, now_ms, settlement)
        return settlement

    def fail(self, batch: Sequence[Pending], code: str, message: str, now_ms: int) -> Settlement:
        """The request itself failed by an error that may be a write's own. Each has `refused_tries`, then the inbox."""
        results = [
            Result(each.mutation.mutation_id, "rejected", code=code, message=message) for each in batch
        ]
        return self.settle(batch, results, "", 0, now_ms)

    # What follows from elsewhere.

    def set_aside(
        self, concerns: Callable[[Mutation], bool], code: str, message: str, now_ms: int
    ) -> list[InboxEntry]:
        """Take out the writes that are not on their way and concern something, for the inbox."""
        entries = []
        for pending in list(self._pending.values()):
            if pending.stage in (Stage.LOCAL, Stage.QUEUED) and concerns(pending.mutation):
                self.remove(pending.mutation.mutation_id)
                entries.append(InboxEntry(pending.mutation, code, message, now_ms))
        return entries

    def shift_clocks(self, offset_ms: int) -> list[Pending]:
        """Move the stamps of all that has no answer to a new notion of time; give those that were moved.

        Each knows the notion that it was stamped by, so it does not matter what a crash left behind of an earlier
        move. None falls back behind what its author had seen, or behind the one before it.
        """
        changed = []
        last = ""
        for pending in self._pending.values():
            mutation = pending.mutation
            if not (pending.is_open and mutation.clock):
                continue
            if mutation.offset_ms != offset_ms:
                clock = shift(mutation.clock, offset_ms - mutation.offset_ms)
                for before in (mutation.floor, last):
                    clock = after(before, clock) if before else clock
                pending.mutation = pending.written = replace(mutation, clock=clock, offset_ms=offset_ms)
                changed.append(pending)
            last = pending.mutation.clock
        return changed

    def release(self, holds: Callable[[Pending], bool]) -> list[Pending]:
        """Take out the answered writes that everybody who shows them has from the server by now."""
        released = [each for each in self._pending.values() if each.stage is Stage.ANSWERED and holds(each)]
        for pending in released:
            self.remove(pending.mutation.mutation_id)
        return released

    # Parts.

    def _references(self, mutation: Mutation) -> tuple[str, ...]:
        """Give the queued inserts whose records this write's fields name."""
        return _named(mutation, self._inserts) if self._inserts else ()

    def _is_awaited(self, mutation_id: str, batch: dict[str, Pending]) -> bool:
        pending = self._pending.get(mutation_id)
        return pending is not None and pending.is_open and mutation_id not in batch

    def _answered(self, pending: Pending, result: Result, answer: Answer, settlement: Settlement) -> None:
        pending.stage = Stage.ANSWERED
        self._answered_count += 1
        pending.answer = answer
        pending.written = without_lost(pending.mutation, result)
        self._close(pending)
        settlement.answered.append((pending, result))
        settlement.losses.extend(losses_of(pending.mutation, result))
        last = result.clock
        for later in self._later(pending):
            if later.was_sent:
                continue
            mutation = _seeing(later.mutation, pending, result)
            if last is not None and mutation.clock:
                mutation = _stamped_after(mutation, last)
                last = mutation.clock
            if mutation is not later.mutation:
                later.mutation = later.written = mutation
                settlement.changed.append(later)

    def _refuse(self, pending: Pending, result: Result, now_ms: int, settlement: Settlement) -> None:
        code = result.code or "rejected"
        depends_on = _named(pending.mutation, self._refused_inserts)
        later = self._later(pending) if pending.mutation.operation == "insert" else []
        self.note_refused(pending.mutation)
        self.remove(pending.mutation.mutation_id)
        settlement.refused.append(
            InboxEntry(pending.mutation, code, result.message or "", now_ms, depends_on, result.record)
        )
        for each in later:
            self.remove(each.mutation.mutation_id)
            message = "the record that it changes was refused"
            settlement.refused.append(
                InboxEntry(each.mutation, DEPENDENCY_CODE, message, now_ms, (pending.mutation.mutation_id,))
            )

    def _later(self, pending: Pending) -> list[Pending]:
        of_record = self._of_record[pending.mutation.key].values()
        return [each for each in of_record if each.sequence > pending.sequence and each.is_open]

    def _close(self, pending: Pending) -> None:
        if self._inserts.get(pending.mutation.id) == pending.mutation.mutation_id:
            del self._inserts[pending.mutation.id]


def _named(mutation: Mutation, inserts: Mapping[str, str]) -> tuple[str, ...]:
    """Give the inserts whose records a write's fields name; `inserts` goes by the record's id."""
    values = (value for name, value in mutation.fields.items() if isinstance(value, str) and name != "id")
    found = (inserts.get(value) for value in values)
    return tuple(each for each in found if each is not None and each != mutation.mutation_id)


def _has_written(pending: Pending) -> bool:
    """Whether an answered write has made a version of the record."""
    return pending.written.operation != "update" or bool(pending.written.fields)


def _merge_alike(first: Mutation, second: Mutation) -> bool:
    """Whether two writes of one record may share a request: neither cares for what becomes of the other."""
    return all(each.operation == "update" and each.mode == "merge" for each in (first, second))


def _seeing(mutation: Mutation, before: Pending, result: Result) -> Mutation:
    """Give a write that was made on top of another the version that its author has thereby seen.

    Only if the other made exactly the next version after what the author had seen: otherwise somebody else's write lies
    between, which the author has not seen and the server has to know that.
    """
    if result.version is None or not _has_written(before):
        return mutation
    if _merge_alike(before.mutation, mutation):
        # They may have shared a request before a crash: what was sent once keeps its content (I6).
        return mutation
    base = mutation.base_version
    if before.mutation.operation == "insert" and base is None:
        return replace(mutation, base_version=result.version)
    if base is not None and base + 1 == result.version:
        return replace(mutation, base_version=result.version)
    return mutation


def _stamped_after(mutation: Mutation, last: str) -> Mutation:
    """Give a write a clock above the effective one of the write before it, which the server may have moved."""
    clock = after(last, mutation.clock)
    return mutation if clock == mutation.clock else replace(mutation, clock=clock)
