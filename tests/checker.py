"""The checker: whether what a run has left is what the system promises. Every fault test ends with it.

(1) an organisation's log is exactly 1..N; (2) what each client applied is in order, each offset once, and complete to
its position; (3) a client reads its own writes and never goes back; (4) every replica equals the rows in PostgreSQL,
and these are the fold of all acknowledged writes by clock; (5) every acknowledged write is present, or beaten by a
named later one.

Each check raises CheckError, which names what is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.protocol.change import LoggedChange
from core.protocol.view import View, change_for_view

Record = dict[str, Any]
Key = tuple[str, str]
"""Collection and id."""


class CheckError(AssertionError):
    """A promise was not kept."""


# (1) The log.


def check_log(log: Sequence[LoggedChange], head: int | None = None) -> None:
    """Offsets are 1, 2, 3 … up to `head`; versions of a record rise one by one; a commit's changes are together."""
    for expected, change in enumerate(log, 1):
        _demand(change.offset == expected, f"expected offset {expected} in the log, got {change.offset}")
        _demand(
            change.last_of_commit >= change.offset, f"offset {change.offset} is beyond the end of its commit"
        )
    _demand(head is None or head == len(log), f"the head is {head}, and the log ends at {len(log)}")
    _demand(not log or log[-1].last_of_commit == len(log), "the log ends inside a commit")
    versions: dict[Key, int] = {}
    for change in log:
        key = (change.collection, change.id)
        before = versions.get(key)
        _demand(
            before is None or change.version == before + 1,
            f"{change.collection}/{change.id} went from version {before} to {change.version} at {change.offset}",
        )
        versions[key] = change.version


# (2) What was applied.


@dataclass(frozen=True, slots=True)
class SnapshotSeen:
    """A client took a snapshot, as of `offset`, with these versions of records."""

    offset: int
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ChangesSeen:
    """A client moved to `to` by these changes: (offset, id, operation)."""

    to: int
    changes: Sequence[tuple[int, str, str]]
    conflated: bool = False


@dataclass(slots=True)
class Trace:
    """What one client was told of one view, in order. `begun_at` is where it began, None if with a snapshot."""

    client: str
    view: View
    begun_at: int | None = None
    seen: list[SnapshotSeen | ChangesSeen] = field(default_factory=list)

    @property
    def position(self) -> int | None:
        """Up to where it was told."""
        position = self.begun_at
        for each in self.seen:
            position = each.offset if isinstance(each, SnapshotSeen) else each.to
        return position


def check_applied(trace: Trace, log: Sequence[LoggedChange]) -> None:
    """Each offset that concerns the view was applied once, in order, up to the position. No snapshot goes back."""
    position = trace.begun_at
    for each in trace.seen:
        if isinstance(each, SnapshotSeen):
            _demand(
                position is None or each.offset >= position,
                f"{trace.client}: a snapshot of {each.offset} after position {position}",
            )
            position = each.offset
            continue
        _demand(position is not None, f"{trace.client}: changes up to {each.to} before any position")
        assert position is not None
        _demand(each.to >= position, f"{trace.client}: went back from {position} to {each.to}")
        _check_range(
            trace, each, [c for c in log[position : each.to] if change_for_view(trace.view, c) is not None]
        )
        position = each.to
    _demand(
        position is None or position <= len(log),
        f"{trace.client}: at {position}, beyond the log's {len(log)}",
    )


def _check_range(trace: Trace, seen: ChangesSeen, expected: Sequence[LoggedChange]) -> None:
    got = [offset for offset, _, _ in seen.changes]
    if not seen.conflated:
        wanted = [change.offset for change in expected]
        _demand(
            got == wanted,
            f"{trace.client}: expected offsets {_short(wanted)} up to {seen.to}, got {_short(got)}",
        )
        for (offset, _, operation), change in zip(seen.changes, expected, strict=True):
            told = change_for_view(trace.view, change)
            assert told is not None
            _demand(
                operation == told["operation"],
                f"{trace.client}: expected {told['operation']} at {offset}, got {operation}",
            )
        return
    _demand(got == sorted(set(got)), f"{trace.client}: conflated changes out of order: {_short(got)}")
    known = {change.offset for change in expected}
    _demand(
        known >= set(got), f"{trace.client}: conflated changes that are none: {sorted(set(got) - known)[:5]}"
    )
    last = {change.id: change.offset for change in expected}
    missing = set(last) - {record_id for _, record_id, _ in seen.changes}
    # A record that came and went within the range need not be told of at all.
    first = {change.id: change for change in reversed(expected)}
    missing = {
        each
        for each in missing
        if not _comes(trace.view, first[each]) or not _goes(trace.view, expected, last[each])
    }
    _demand(
        not missing,
        f"{trace.client}: records {sorted(missing)[:5]} are missing in a conflated delta to {seen.to}",
    )


def _comes(view: View, change: LoggedChange) -> bool:
    told = change_for_view(view, change)
    return told is not None and told["operation"] in ("insert", "enter")


def _goes(view: View, changes: Sequence[LoggedChange], offset: int) -> bool:
    told = next(change_for_view(view, change) for change in changes if change.offset == offset)
    return told is not None and told["operation"] in ("delete", "leave")


# (3) What a person saw.


@dataclass(frozen=True, slots=True)
class Wrote:
    """A person wrote: from now on it shows. Told again, it is what is left of it after the answer."""

    mutation_id: str
    key: Key
    operation: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Closed:
    """A write was refused, or the server's state holds it: `version` is the record's, None if refused.

    Fields in `lost` were beaten.
    """

    mutation_id: str
    version: int | None
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Read:
    """A person looked at a record: what was visible, and the version of the server's record below it."""

    key: Key
    record: Mapping[str, Any] | None
    version: int | None


def check_session(client: str, events: Iterable[Wrote | Closed | Read]) -> None:
    """Reads show this client's own open writes, and a record's version never goes back."""
    open_writes: dict[str, Wrote] = {}
    floor: dict[Key, int] = {}
    for event in events:
        match event:
            case Wrote():
                open_writes[event.mutation_id] = event
            case Closed():
                wrote = open_writes.pop(event.mutation_id, None)
                if wrote is not None and event.version is not None:
                    floor[wrote.key] = max(floor.get(wrote.key, 0), event.version)
            case Read():
                _check_read(client, event, open_writes, floor)


def _check_read(client: str, read: Read, open_writes: Mapping[str, Wrote], floor: dict[Key, int]) -> None:
    what = f"{client}: {read.key[0]}/{read.key[1]}"
    if read.version is not None:
        least = floor.get(read.key, 0)
        _demand(read.version >= least, f"{what} went back from version {least} to {read.version}")
        floor[read.key] = read.version
    mine, is_deleted = _expected([each for each in open_writes.values() if each.key == read.key])
    if is_deleted:
        _demand(read.record is None, f"{what} is visible after its delete")
    elif read.record is not None:
        for name, value in mine.items():
            got = read.record.get(name)
            _demand(got == value, f"{what}.{name} shows {got!r} in place of one's own {value!r}")


def _expected(writes: Sequence[Wrote]) -> tuple[dict[str, Any], bool]:
    """What a record must show of its author's open writes, and whether it must not be there at all."""
    mine: dict[str, Any] = {}
    is_deleted = False
    for wrote in writes:
        match wrote.operation:
            case "insert":
                mine, is_deleted = dict(wrote.fields), False
            case "delete":
                mine, is_deleted = {}, True
            case _ if not is_deleted:
                mine = {**mine, **wrote.fields}
    return mine, is_deleted


# (4) Replicas.


def check_replica(client: str, records: Mapping[str, Record], rows: Mapping[str, Record]) -> None:
    """A client's records are PostgreSQL's, byte for byte. `rows` are those that its view shows."""
    missing, extra = rows.keys() - records.keys(), records.keys() - rows.keys()
    _demand(not missing, f"{client}: {len(missing)} records are missing, among them {sorted(missing)[:3]}")
    _demand(not extra, f"{client}: {len(extra)} records too many, among them {sorted(extra)[:3]}")
    for record_id, row in rows.items():
        mine, theirs = _bytes(records[record_id]), _bytes(row)
        _demand(
            mine == theirs,
            f"{client}: record {record_id} is {mine.decode()}\nin PostgreSQL {theirs.decode()}",
        )


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write that the server has answered with applied or merged. `lost`: field → whose value stands."""

    mutation_id: str
    key: Key
    operation: str
    fields: Mapping[str, Any]
    clock: str
    lost: frozenset[str] = frozenset()


def check_fold(acknowledged: Iterable[Acknowledged], rows: Mapping[Key, Record]) -> None:
    """Each field of a row is the value of the greatest clock among the acknowledged writes that named it.

    For runs in which every write of these records is acknowledged, and none is a delete. Values are compared as they
    were sent: use such as the database does not write in another way.
    """
    best: dict[tuple[Key, str], tuple[str, Any]] = {}
    for each in acknowledged:
        for name, value in each.fields.items():
            known = best.get((each.key, name))
            if known is None or each.clock > known[0]:
                best[each.key, name] = (each.clock, value)
    for (key, name), (clock, value) in best.items():
        row = rows.get(key)
        _demand(row is not None, f"{key[0]}/{key[1]} was acknowledged, and is not there")
        assert row is not None
        _demand(
            row[name] == value,
            f"{key[0]}/{key[1]}.{name} is {row[name]!r}, and the greatest clock {clock} wrote {value!r}",
        )


# (5) Acknowledged writes.


def check_acknowledged(
    acknowledged: Iterable[Acknowledged], log: Sequence[LoggedChange], rows: Mapping[Key, Record]
) -> None:
    """Every acknowledged write is in the rows, or a later one has beaten it; each takes effect once.

    Give the writes of all clients at once: what beats a write is a change in the log, or another acknowledged write
    that the log does not show because it changed nothing (the same value again, a delete of a deleted record).
    """
    history = _History(list(acknowledged), log)
    for each in history.acknowledged:
        effects = [
            c for c in history.of_mutation.get(each.mutation_id, ()) if (c.collection, c.id) == each.key
        ]
        _demand(len(effects) <= 1, f"{each.mutation_id} took effect {len(effects)} times")
        _check_presence(each, effects, history, rows.get(each.key))


class _History:
    """What has happened to each record."""

    def __init__(self, acknowledged: list[Acknowledged], log: Sequence[LoggedChange]) -> None:
        self.acknowledged = acknowledged
        self.of_mutation: dict[str, list[LoggedChange]] = {}
        self._changes: dict[Key, list[LoggedChange]] = {}
        self._writes: dict[Key, list[Acknowledged]] = {}
        for change in log:
            self._changes.setdefault((change.collection, change.id), []).append(change)
            if change.mutation_id is not None:
                self.of_mutation.setdefault(change.mutation_id, []).append(change)
        for each in acknowledged:
            self._writes.setdefault(each.key, []).append(each)

    def beats(self, key: Key, clock: str, name: str) -> bool:
        """Whether something later than `clock` wrote a field, or the whole record."""
        changes = (c for c in self._changes.get(key, ()) if c.clock > clock)
        writes = (each for each in self._writes.get(key, ()) if each.clock > clock)
        return any(_touches(change, name) for change in changes) or any(
            each.operation != "update" or (name in each.fields and name not in each.lost) for each in writes
        )

    def revives(self, key: Key, clock: str) -> bool:
        """Whether a record was inserted, or inserted again, later than `clock`."""
        return any(c.operation == "insert" and c.clock > clock for c in self._changes.get(key, ()))


def _check_presence(
    each: Acknowledged, effects: Sequence[LoggedChange], history: _History, row: Record | None
) -> None:
    what = f"the acknowledged {each.operation} {each.mutation_id} of {each.key[0]}/{each.key[1]}"
    clock = effects[0].clock if effects else each.clock
    if each.operation == "delete":
        is_beaten = "*" in each.lost or history.revives(each.key, clock)
        _demand(row is None or is_beaten, f"{what}: the record is there, and nothing revived it")
        return
    for name, value in each.fields.items():
        is_beaten = history.beats(each.key, clock, name)
        if name in each.lost:
            _demand(is_beaten, f"{what}: {name} is said to be lost, and nothing later wrote it")
            continue
        stored = effects[0].record.get(name) if effects else value
        is_present = row is not None and row.get(name) == stored
        found = None if row is None else row.get(name)
        _demand(
            is_present or is_beaten,
            f"{what}: {name} should be {stored!r}, is {found!r}, and nothing later wrote it",
        )


def _touches(change: LoggedChange, name: str) -> bool:
    return change.operation in ("insert", "delete") or name in change.changed


def _bytes(record: Record) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def _short(offsets: Sequence[int]) -> str:
    return (
        str(list(offsets))
        if len(offsets) <= 12
        else f"{list(offsets[:6])} … {list(offsets[-6:])} ({len(offsets)})"
    )


def _demand(is_kept: bool, what: str) -> None:
    if not is_kept:
        raise CheckError(what)
