"""The mirror: snapshot, then change upon change, ends equal to the server whatever the snapshot ran ahead of."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline_client.change import Change, Operation, Record
from branchline_client.mirror import InconsistentError, Mirror
from branchline_client.position import Position


def record(record_id: str, version: int, **fields: Any) -> Record:
    return {"id": record_id, "version": version, **fields}


def at(offset: int) -> Position:
    return Position("e", offset, "v")


def mirror_of(*records: Record, offset: int = 10) -> Mirror:
    mirror = Mirror("leads")
    mirror.replace([("leads", each) for each in records], at(offset))
    return mirror


def test_a_change_that_the_snapshot_has_already_is_skipped() -> None:
    mirror = mirror_of(record("a", 7, name="new"))
    assert mirror.advance([Change(11, "leads", "a", "update", 6, {"name": "old"})], at(11)) == {}
    assert mirror.records["a"]["name"] == "new"
    mirror.advance([Change(12, "leads", "a", "update", 8, {"name": "newer"})], at(12))
    assert mirror.records["a"] == record("a", 8, name="newer")


def test_records_of_other_collections_are_not_its_business() -> None:
    mirror = Mirror("leads")
    mirror.replace([("deals", record("d", 1)), ("leads", record("a", 1))], at(1))
    mirror.advance([Change(2, "deals", "d2", "insert", 1, record("d2", 1))], at(2))
    assert list(mirror.records) == ["a"]


def test_whoever_holds_a_record_keeps_what_it_was() -> None:
    mirror = mirror_of(record("a", 1, name="old"))
    held = mirror.records["a"]
    mirror.advance([Change(11, "leads", "a", "update", 2, {"name": "new"})], at(11))
    assert held == record("a", 1, name="old")


def test_a_change_of_a_record_that_is_not_held_is_skipped_only_just_after_a_snapshot() -> None:
    mirror = mirror_of()
    change = Change(11, "leads", "a", "update", 2, {"name": "x"})
    assert mirror.advance([change], at(11)) == {}
    mirror.settle()
    with pytest.raises(InconsistentError):
        mirror.advance([Change(12, "leads", "a", "update", 3, {"name": "y"})], at(12))


def test_changes_at_or_below_the_position_are_skipped() -> None:
    mirror = mirror_of(record("a", 1), offset=10)
    mirror.advance([Change(10, "leads", "b", "insert", 1, record("b", 1))], at(11))
    assert "b" not in mirror.records


@settings(deadline=None)
@given(st.data())
def test_a_snapshot_read_while_records_change_and_the_changes_after_it_add_up(data: st.DataObject) -> None:
    """Pages are read one after the other, each as the record is at that moment; changes go on meanwhile."""
    names = ["a", "b", "c"]
    rows: dict[str, Record] = {}
    versions: dict[str, int] = {}
    log: list[Change] = []

    def write() -> None:
        name = data.draw(st.sampled_from(names))
        version = versions[name] = versions.get(name, 0) + 1
        offset = len(log) + 1
        if name not in rows:
            operation: Operation = data.draw(st.sampled_from(["insert", "enter"]))
            rows[name] = record(name, version, value=offset)
            log.append(Change(offset, "leads", name, operation, version, rows[name]))
        elif data.draw(st.booleans()):
            rows[name] = {**rows[name], "value": offset, "version": version}
            log.append(Change(offset, "leads", name, "update", version, {"value": offset}))
        else:
            del rows[name]
            operation = data.draw(st.sampled_from(["delete", "leave"]))
            log.append(Change(offset, "leads", name, operation, version, {}))

    for _ in range(data.draw(st.integers(0, 10))):
        write()
    position, pages = len(log), []
    for name in names:
        for _ in range(data.draw(st.integers(0, 3))):
            write()
        if name in rows:
            pages.append(("leads", rows[name]))
    for _ in range(data.draw(st.integers(0, 5))):
        write()

    mirror = Mirror("leads")
    mirror.replace(pages, at(position))
    mirror.advance(log[position:], at(len(log)))
    assert mirror.records == rows
