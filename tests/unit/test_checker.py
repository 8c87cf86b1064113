"""Each check of the checker lets what is right pass, and trips over what is wrong."""

from dataclasses import replace
from typing import Any

import pytest

from core.protocol.change import LoggedChange, Operation
from core.protocol.topic import Topic
from core.protocol.view import View
from tests.checker import (
    Acknowledged,
    ChangesSeen,
    CheckError,
    Closed,
    Read,
    SnapshotSeen,
    Trace,
    Wrote,
    check_acknowledged,
    check_applied,
    check_fold,
    check_log,
    check_replica,
    check_session,
)

VIEW = View(
    name="leads#0",
    topic=Topic("leads", "leads"),
    fields={"leads": frozenset({"id", "name", "version"})},
    branched=frozenset(),
    branches=None,
    matchers=(),
)
KEY = ("leads", "a")


def change(
    offset: int, version: int, operation: Operation = "update", record_id: str = "a", **more: Any
) -> LoggedChange:
    record = {"id": record_id, "name": more.pop("name", f"n{offset}"), "version": version}
    fields: dict[str, Any] = {
        "offset": offset,
        "collection": more.pop("collection", "leads"),
        "id": record_id,
        "operation": operation,
        "version": version,
        "record": record,
        "changed": ("name",) if operation == "update" else (),
        "previous": {},
        "clock": f"{offset:013d}-0000-00000000-0000-0000-0000-000000000000",
        "actor": None,
        "mutation_id": None,
        "transaction": "t",
        "committed_at_ms": 0,
        "overwrote": None,
        "last_of_commit": offset,
        **more,
    }
    return LoggedChange(**fields)


LOG = [
    change(1, 1, "insert"),
    change(2, 2),
    change(3, 1, "insert", "b"),
    change(4, 3),
    change(5, 2, "delete", "b"),
]


def trace(*seen: SnapshotSeen | ChangesSeen, begun_at: int | None = 0) -> Trace:
    return Trace("c", VIEW, begun_at, list(seen))


def seen(to: int, *changes: tuple[int, str, str], conflated: bool = False) -> ChangesSeen:
    return ChangesSeen(to, changes, conflated)


def test_a_log_without_gaps_passes() -> None:
    check_log(LOG, 5)
    check_log([])


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (LOG[1:], "expected offset 1"),
        ([LOG[0], LOG[0]], "expected offset 2"),
        ([LOG[0], replace(LOG[1], version=4)], "from version 1 to 4"),
        ([LOG[0], replace(LOG[1], last_of_commit=3)], "inside a commit"),
    ],
)
def test_a_log_with_a_gap_a_repeat_or_a_jump_is_found(log: list[LoggedChange], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        check_log(log)


def test_a_log_that_is_not_all_of_it_is_found() -> None:
    with pytest.raises(CheckError, match="the head is 6"):
        check_log(LOG, 6)


ALL = [(1, "a", "insert"), (2, "a", "update"), (3, "b", "insert"), (4, "a", "update"), (5, "b", "delete")]


def test_what_was_applied_in_order_once_and_completely_passes() -> None:
    check_applied(trace(seen(2, *ALL[:2]), seen(5, *ALL[2:])), LOG)
    check_applied(trace(SnapshotSeen(3, {"a": 2, "b": 1}), seen(5, *ALL[3:]), begun_at=None), LOG)
    check_applied(trace(seen(5, ALL[3], ALL[4], conflated=True)), LOG)
    # b came and went within the range.
    check_applied(trace(seen(5, ALL[3], conflated=True)), LOG)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (trace(seen(5, *ALL[:2], *ALL[3:])), "expected offsets"),
        (trace(seen(5, *ALL, ALL[4])), "expected offsets"),
        (trace(seen(2, *ALL[:2]), seen(5, *ALL[1:])), "expected offsets"),
        (trace(seen(5, ALL[1], ALL[0], *ALL[2:])), "expected offsets"),
        (trace(seen(2, *ALL[:2]), seen(1)), "went back"),
        (trace(seen(5, *ALL), SnapshotSeen(3, {})), "after position 5"),
        (trace(seen(5, *ALL[:4], (5, "b", "leave"))), "expected delete at 5"),
        (trace(seen(5), begun_at=None), "before any position"),
        (trace(seen(5, *ALL), seen(7)), "beyond the log"),
        (trace(seen(4, ALL[2], conflated=True)), "missing in a conflated delta"),
        (trace(seen(5, (9, "a", "update"), conflated=True)), "that are none"),
        (trace(seen(5, ALL[4], ALL[3], conflated=True)), "out of order"),
    ],
)
def test_what_was_missed_doubled_or_out_of_order_is_found(wrong: Trace, message: str) -> None:
    with pytest.raises(CheckError, match=message):
        check_applied(wrong, LOG)


WROTE = Wrote("m", KEY, "update", {"name": "mine"})


def read(name: str | None, version: int | None = 1) -> Read:
    return Read(KEY, None if name is None else {"id": "a", "name": name}, version)


def test_a_session_that_reads_its_writes_and_goes_forward_passes() -> None:
    check_session("c", [read("old"), WROTE, read("mine"), Closed("m", 2), read("mine", 2), read("theirs", 3)])
    check_session("c", [WROTE, read("mine"), Closed("m", None), read("old")])
    check_session("c", [Wrote("m", KEY, "delete", {}), read(None)])


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([WROTE, read("old")], "in place of one's own"),
        ([WROTE, Closed("m", 2), read("old", 1)], "went back from version 2 to 1"),
        ([read("x", 3), read("y", 2)], "went back"),
        ([Wrote("m", KEY, "delete", {}), read("old")], "visible after its delete"),
    ],
)
def test_a_session_that_misses_its_writes_or_goes_back_is_found(events: list[Any], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        check_session("c", events)


def test_replicas_are_compared_byte_for_byte() -> None:
    row = {"id": "a", "value": "1.50"}
    check_replica("c", {"a": dict(reversed(row.items()))}, {"a": row})
    for wrong, message in (
        ({}, "missing"),
        ({"a": row, "b": row}, "too many"),
        ({"a": {**row, "value": "1.5"}}, "is"),
    ):
        with pytest.raises(CheckError, match=message):
            check_replica("c", wrong, {"a": row})


def ack(mutation_id: str, offset: int, name: str = "x", **more: Any) -> Acknowledged:
    clock = f"{offset:013d}-0000-00000000-0000-0000-0000-000000000000"
    return Acknowledged(mutation_id, KEY, more.pop("operation", "update"), {"name": name}, clock, **more)


def test_the_fold_by_clock_is_compared_with_the_rows() -> None:
    writes = [ack("m2", 2, "second"), ack("m1", 1, "first")]
    check_fold(writes, {KEY: {"name": "second"}})
    with pytest.raises(CheckError, match="greatest clock"):
        check_fold(writes, {KEY: {"name": "first"}})
    with pytest.raises(CheckError, match="is not there"):
        check_fold(writes, {})


def test_an_acknowledged_write_that_is_present_or_beaten_passes() -> None:
    log = [change(1, 1, "insert"), change(2, 2, name="x", mutation_id="m"), change(3, 3, name="y")]
    check_acknowledged([ack("m", 2)], log, {KEY: {"name": "y"}})
    check_acknowledged([ack("m", 2)], log[:2], {KEY: {"name": "x"}})
    check_acknowledged([ack("late", 1, "z", lost=frozenset({"name"}))], log, {KEY: {"name": "y"}})
    deleted = [log[0], change(2, 2, "delete", mutation_id="d")]
    check_acknowledged([ack("d", 2, operation="delete")], deleted, {})


@pytest.mark.parametrize(
    ("write", "log", "rows", "message"),
    [
        (
            ack("m", 2),
            [change(1, 1, "insert"), change(2, 2, name="x", mutation_id="m")],
            {KEY: {"name": "q"}},
            "nothing later",
        ),
        (ack("m", 2), [change(1, 1, "insert", name="q")], {KEY: {"name": "q"}}, "should be 'x'"),
        (
            ack("m", 2),
            [change(1, 1, "insert"), change(2, 2, mutation_id="m"), change(3, 3, mutation_id="m")],
            {KEY: {"name": "n3"}},
            "took effect 2 times",
        ),
        (
            ack("m", 9, lost=frozenset({"name"})),
            [change(1, 1, "insert")],
            {KEY: {"name": "n1"}},
            "said to be lost",
        ),
        (
            ack("d", 2, operation="delete"),
            [change(1, 1, "insert")],
            {KEY: {"name": "n1"}},
            "nothing revived it",
        ),
    ],
)
def test_an_acknowledged_write_that_is_gone_or_doubled_is_found(
    write: Acknowledged, log: list[LoggedChange], rows: dict[Any, Any], message: str
) -> None:
    with pytest.raises(CheckError, match=message):
        check_acknowledged([write], log, rows)
