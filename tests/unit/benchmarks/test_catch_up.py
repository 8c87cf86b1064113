"""A client that comes back is measured only if what it was told adds up."""

from typing import Any

import orjson
import pytest

from benchmarks.catch_up import FaultError, Replica


def told(type_: str, **fields: Any) -> bytes:
    return orjson.dumps({"type": type_, **fields})


def change(offset: int, version: int, record: str = "a") -> dict[str, Any]:
    return {"offset": offset, "id": record, "version": version, "fields": {"name": f"version {version}"}}


@pytest.fixture
def replica() -> Replica:
    return Replica({"a": {"id": "a", "version": 1, "name": "version 1"}}, offset=5)


def test_it_is_there_when_the_last_change_is(replica: Replica) -> None:
    assert not replica.take(told("subscribed", mode="replay"), 7)
    assert not replica.take(told("delta", **{"from": 5, "to": 6}, changes=[change(6, 2)]), 7)
    assert not replica.take(told("delta", **{"from": 6, "to": 7}, changes=[], more=True), 7)
    assert replica.take(told("delta", **{"from": 6, "to": 7}, changes=[change(7, 3)]), 7)
    assert replica.records == {"a": {"id": "a", "version": 3, "name": "version 3"}}
    assert replica.changes == 2


def test_a_snapshot_counts_when_its_last_page_is_there() -> None:
    replica = Replica()
    assert not replica.take(told("snapshot", records=[{"id": "a", "version": 1}], last=False, offset=7), 7)
    assert replica.take(told("snapshot", records=[{"id": "b", "version": 1}], last=True, offset=7), 7)
    assert replica.records.keys() == {"a", "b"}


@pytest.mark.parametrize(
    "message",
    [
        told("delta", **{"from": 6, "to": 7}, changes=[]),
        told("delta", **{"from": 5, "to": 6}, changes=[change(6, 2, "of nobody")]),
        told("rejected", code="unavailable"),
    ],
)
def test_a_gap_a_stranger_and_a_refusal_end_the_run(replica: Replica, message: bytes) -> None:
    with pytest.raises(FaultError):
        replica.take(message, 7)
