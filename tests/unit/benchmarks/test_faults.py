"""A run whose result is not what PostgreSQL has, or that lost a write, has no figure."""

from collections import Counter
from typing import Any, cast

import orjson
import pytest

from benchmarks.harness import live
from benchmarks.harness.accounting import find_replaced
from benchmarks.harness.branchline import find_faults
from benchmarks.harness.latencies import Latencies
from benchmarks.harness.people import Connection, Organization
from benchmarks.harness.subscribers import Verified
from benchmarks.harness.writers import Written

STORED = {"a": {"id": "a", "name": "x"}, "b": {"id": "b", "name": "y"}}


class Database:
    """Answers as PostgreSQL would: a log of `changes` changes from 1 to `highest`, and the stored records."""

    def __init__(self, changes: int = 5, highest: int = 5) -> None:
        self._bounds = {"changes": changes, "lowest": 1, "highest": highest}

    async def fetchrow(self, *_: object) -> dict[str, int]:
        return self._bounds

    async def fetch(self, *_: object) -> list[dict[str, Any]]:
        return [{"id": key, "record": orjson.dumps(record).decode()} for key, record in STORED.items()]


async def faults(
    database: Database | None = None, written: Written | None = None, **verified: Any
) -> list[str]:
    fine: dict[str, Any] = {
        "problems": [],
        "faulty": 0,
        "repeated": 0,
        "conflated": 0,
        "arrivals": Latencies().counted(),
        "records": [STORED],
    }
    written, came = written or Written(record_ids=["a", "b"]), Verified(**(fine | verified))
    owner = cast(Connection, database or Database())
    stored = await find_faults(owner, Organization("o", "b", ()), written, came)
    return live.find_faults(written, came) + stored


async def test_a_run_without_faults_has_none() -> None:
    assert await faults() == []


@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        ({"database": Database(changes=5, highest=6)}, "I1"),
        ({"written": Written(record_ids=["a", "lost"])}, "1 acknowledged writes are not in PostgreSQL"),
        ({"written": Written(failures=Counter({"HTTP 500": 2}))}, "2 writes failed: HTTP 500"),
        ({"problems": ["a gap (I5)"], "faulty": 3}, "3 subscribers"),
        ({"records": [STORED | {"b": {"id": "b", "name": "old"}}]}, "1 of 2 records"),
        ({"records": [{"a": STORED["a"]}]}, "1 of 2 records"),
    ],
    ids=["log", "lost", "failed", "stream", "stale", "missing"],
)
async def test_it_has_no_figure(case: dict[str, Any], complaint: str) -> None:
    assert any(complaint in fault for fault in await faults(**case))


def test_a_process_that_was_replaced_is_named() -> None:
    before = {"api": 1, "relay": 2, "load: writers": 3}
    assert find_replaced(before, {"api": 1, "relay": 2}) == []
    assert find_replaced(before, {"api": 1, "relay": 9}) == ["relay ended or was started during the run"]
    assert find_replaced({"api": 1}, {"api": 1, "relay": 2}) == ["relay ended or was started during the run"]
