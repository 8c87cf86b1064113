"""Two sources are compared by their medians, and what is no commit is said in a line."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import against
from benchmarks.harness import report
from benchmarks.harness.report import Report
from core.lifecycle import StartupError


@pytest.mark.parametrize(
    ("now", "met"),
    [([10.4, 99.0, 9.0], True), ([10.6, 99.0, 9.0], False), ([], None)],
)
def test_more_than_a_twentieth_is_too_much_and_outliers_do_not_count(
    now: list[float], met: bool | None
) -> None:
    judged = Report("against")
    against._judge(judged, "P3", "abc", {"before": [10.0, 1.0, 50.0], "now": now})
    assert [verdict.met for verdict in judged.verdicts] == [met]


def test_the_runs_of_both_sources_are_found_by_their_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fan_out(tree: Path, subscribers: int, seconds: float) -> list[dict[str, Any]]:
        figures = {"delivery_ms": {"p99": 90.0}, "cpu_us_per_delivery": 12.0, "others_share": 0.0}
        return [figures | {"work": {"writes_per_second": rate}, "invalid": []} for rate in (20.0, 500.0)]

    monkeypatch.setattr(against, "_fan_out", fan_out)
    monkeypatch.setattr(against, "_extract", lambda commit, folder: None)
    monkeypatch.setattr(report, "_folder", tmp_path)
    assert against.run("abc", pairs=2, subscribers=10, seconds=1.0) == 0
    said = capsys.readouterr().out
    assert "P2, p99 of a delivery in ms at 500 writes/s: met: 90.00 to 90.00" in said
    assert "P3, CPU a delivery in µs at 20 writes/s: met: 12.00 to 12.00" in said


def test_what_is_no_commit_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="expected a commit of this source, not 'nonsense'"):
        against._extract("nonsense", tmp_path)
