"""Two sources are compared by their medians, and what is no commit is said in a line."""

from pathlib import Path

import pytest

from benchmarks import against
from benchmarks.harness.report import Report
from core.lifecycle import StartupError


@pytest.mark.parametrize(
    ("now", "met"),
    [([10.4, 99.0, 9.0], True), ([10.6, 99.0, 9.0], False), ([], None)],
)
def test_more_than_a_twentieth_is_too_much_and_outliers_do_not_count(
    now: list[float], met: bool | None
) -> None:
    report = Report("against")
    against._judge(report, "P3", "abc", {"before": [10.0, 1.0, 50.0], "now": now})
    assert [verdict.met for verdict in report.verdicts] == [met]


def test_what_is_no_commit_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="expected a commit of this source, not 'nonsense'"):
        against._extract("nonsense", tmp_path)
