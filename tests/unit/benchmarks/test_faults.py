"""A run whose result is not what PostgreSQL has, or that lost a write, has no figure."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from benchmarks.harness import live, report
from benchmarks.harness.accounting import Usage, find_replaced
from benchmarks.harness.branchline import find_faults
from benchmarks.harness.latencies import Histogram, Latencies
from benchmarks.harness.people import Connection, Organization
from benchmarks.harness.subscribers import Verified
from benchmarks.harness.writers import Written
from benchmarks.harness.writing import Writing, WritingOutcome

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


def test_a_process_that_was_down_all_the_time_is_named() -> None:
    running = {"up": 1, "api": 2, "gateway-1": 3, "gateway-2": 4, "postgresql": 5, "valkey": 6}
    assert find_replaced(running, running) == ["relay was not running at the start"]
    whole = running | {"relay": 7}
    assert find_replaced(whole, whole) == []


def test_the_death_that_a_benchmark_brings_about_is_no_fault() -> None:
    before = {"up": 1, "api": 2, "gateway": 3, "postgresql": 5, "relay": 6, "valkey": 7}
    after = before | {"gateway": 33}
    assert find_replaced(before, after) == ["gateway ended or was started during the run"]
    assert find_replaced(before, after, killed="gateway") == []
    assert find_replaced(before, after | {"relay": 66}, killed="gateway") == [
        "relay ended or was started during the run"
    ]


def test_a_verdict_on_an_invalid_run_says_nothing_of_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_folder", tmp_path)
    good, bad = report.Report("good"), report.Report("bad")
    good.judge("P1", True, "fast")
    assert good.finish() == 0
    bad.judge("P1", True, "fast")
    bad.invalid.append("a write was lost")
    bad.judge("P2", True, "fast")
    assert bad.finish() == 1
    assert "P1: met: fast\n" in capsys.readouterr().out
    verdicts = {path.stem[-4:]: json.loads(path.read_text())["verdicts"] for path in tmp_path.glob("*.json")}
    assert [verdict["met"] for verdict in verdicts["good"]] == [True]
    assert [(each["met"], each["figures"], each["valid"]) for each in verdicts["-bad"]] == [
        (None, "", False)
    ] * 2


def test_a_rate_that_was_not_kept_up_is_not_the_rate_that_was_due() -> None:
    writing = Writing(1, 4_000, 3.0)
    written = Written(measured=12_000, measured_seconds=8.0)
    outcome = WritingOutcome(writing, Histogram(), written, Usage({}, 0.0, 1.0), 0)
    assert outcome.writes_per_second == 1_500
    assert replace(
        outcome, written=replace(written, measured_seconds=3.01)
    ).writes_per_second == pytest.approx(4_000, rel=0.01)
    # At full speed nothing is owed: what is under way at the end has its like at the begin.
    assert replace(outcome, writing=replace(writing, per_second=0)).writes_per_second == 4_000


def test_counts_from_a_late_mark_are_no_figure() -> None:
    work = live.Work(10, 20, 1.0)
    assert live.find_late_mark(0.05, work) == []
    assert live.find_late_mark(0.4, work) == [
        "deliveries and CPU were counted from 400 ms after the first timed write on"
    ]
    assert live.find_late_mark(0.4, replace(work, seconds=10.0)) == []
