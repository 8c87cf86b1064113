"""The README's table has medians of valid runs, and ratios to Branchline on the same work."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.table import show, table
from core.lifecycle import StartupError


def run(p99: float, cpu: float, invalid: list[str] | None = None) -> dict[str, Any]:
    return {
        "delivery_ms": {"p50": p99 / 2, "p99": p99},
        "deliveries_per_second": 2_000,
        "cpu_us_per_delivery": cpu,
        "bytes_per_delivery": 300,
        "invalid": invalid or [],
    }


def test_medians_count_and_invalid_runs_do_not() -> None:
    ours, theirs, broken = "Branchline, 100 × 20", "Socket.IO, 100 × 20", "Node ws, 100 × 20"
    runs = [
        {ours: run(6, 30), theirs: run(10, 60), broken: run(1, 1, ["lost"])},
        {ours: run(8, 40), theirs: run(20, 50)},
        {ours: run(99, 99, ["lost"]), theirs: run(30, 70)},
    ]
    head, _, first, second, third = table(runs)
    assert head.startswith("| work | system |")
    assert first == "| 100 × 20 | Branchline | 3.0 / 6.0 (6.0–8.0) | 2,000 | 30.0 µs | 300 |  |"
    assert (
        second
        == "| 100 × 20 | Socket.IO | 10.0 / 20.0 (10.0–30.0) | 2,000 | 60.0 µs | 300 | 0.30, 0.50 times |"
    )
    assert third == "| 100 × 20 | Node ws | no valid run | | | | |"


def test_it_is_printed_with_the_machine_and_who_is_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StartupError, match="no results"):
        show(tmp_path)
    machine = {"cores": 2, "processor": "some", "python": "3.11"}
    content = {"machine": machine, "runs": {"Branchline, 1 × 2": run(4, 9)}, "absent": {"Nchan": "no apt"}}
    (tmp_path / "1-peers.json").write_text(json.dumps(content))
    show(tmp_path)
    said = capsys.readouterr().out
    for words in ("2 cores, some", "medians of 1", "| 1 × 2 | Branchline |", "Absent: Nchan: no apt"):
        assert words in said
