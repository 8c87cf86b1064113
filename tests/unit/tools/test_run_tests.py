"""The sums at the end of `make test`."""

import sys
import time
from pathlib import Path

import pytest

from tools import run_tests
from tools.run_tests import Runner, Tally, read_report

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_one" time="0.5"/>
<testcase classname="tests.a" name="test_two" time="1.5"><failure message="no&#10;and why"/></testcase>
<testcase classname="tests.a" name="test_three" time="0"><error message="in its fixture"/></testcase>
<testcase classname="tests.a" name="test_four" time="0"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real results, which the run around this one is writing, are left alone."""
    monkeypatch.setattr(run_tests, "SUMMARY", tmp_path / "summary.txt")
    monkeypatch.setattr(run_tests, "UNDER_WAY", tmp_path / "under-way.txt")
    return tmp_path


def run_script(folder: Path, script: str, name: str = "node", deadline_seconds: int = 20) -> Tally:
    report = folder / "report.xml"
    command = [sys.executable, "-c", script, str(report), REPORT]
    return run_tests._run(Runner(name, command, report), {}, deadline_seconds)


def test_a_report_is_counted_by_what_became_of_each_test(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    tally = read_report(path)
    assert (tally.passed, tally.failed, tally.skipped) == (1, 2, 1)
    assert max(tally.durations) == (1.5, "tests.a: test_two")
    assert tally.problems == ["tests.a: test_two: no", "tests.a: test_three: in its fixture"]


def test_a_runner_that_leaves_no_report_is_a_failure(results: Path) -> None:
    assert run_script(results, "pass").failed == 1


def test_pytest_ended_all_at_once_is_a_failure_that_names_the_test_it_was_at(results: Path) -> None:
    run_tests.UNDER_WAY.write_text("tests/test_a.py::test_two")
    (problem,) = run_script(results, "import os; os.abort()", name="pytest").problems
    assert "ended with status -6 and left no report" in problem
    assert problem.endswith("it was at tests/test_a.py::test_two")


def test_a_runner_that_fails_beside_its_tests_is_a_failure(results: Path) -> None:
    script = "import sys; open(sys.argv[1], 'w').write('<testsuites/>'); sys.exit(3)"
    assert run_script(results, script).failed == 1


def test_a_runner_that_hangs_is_ended_and_is_a_failure(results: Path) -> None:
    assert run_script(results, "import time; time.sleep(60)", deadline_seconds=1).failed == 1


def test_what_a_runner_prints_is_shown_and_kept(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = "import sys; print('to one'); print('to the other', file=sys.stderr)"
    runner = Runner("node", [sys.executable, "-c", script], results / "x.xml", log=results / "node.log")
    run_tests._run(runner, {}, 20)
    assert sorted((results / "node.log").read_text().split("\n")) == ["", "to one", "to the other"]
    assert "to the other\n" in capsys.readouterr().out


def test_a_token_in_a_log_of_the_run_is_a_failure_and_is_not_shown(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMSJ9.c2lnbmF0dXJl"
    (results / "some").mkdir()
    (results / "some" / "api.log").write_text("all is well\n")
    assert run_tests._read_logs(results, 0.0).failed == 0
    (results / "node.log").write_text(f"signed in with {token}\n")
    (problem,) = run_tests._read_logs(results, 0.0).problems
    assert problem.endswith("node.log holds what no log may hold: an access token")
    assert token not in problem + capsys.readouterr().out
    # What an earlier run has left is that run's.
    assert run_tests._read_logs(results, time.time() + 3600).failed == 0


@pytest.mark.parametrize(
    ("tally", "status", "last_line"),
    [
        (Tally(passed=3), 0, "3 passed, 0 failed"),
        (Tally(passed=3, problems=["one"], skipped=2), 1, "3 passed, 1 failed"),
        (Tally(skipped=2), 1, "0 passed, 0 failed"),
    ],
)
def test_the_last_line_is_the_sum_and_no_test_is_no_success(
    capsys: pytest.CaptureFixture[str], tally: Tally, status: int, last_line: str
) -> None:
    assert run_tests._report(tally) == status
    assert capsys.readouterr().out.splitlines()[-1] == last_line
    assert run_tests.SUMMARY.read_text() == f"{last_line}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], True),
        (["-k", "topic"], True),
        (["tests"], True),
        (["tests/browser/test_page.py::test_a_click"], True),
        (["tests/unit", "tests/browser"], True),
        (["tests/unit", "-x"], False),
    ],
)
def test_chromium_is_wanted_only_where_browser_tests_may_run(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: bool
) -> None:
    monkeypatch.setattr(run_tests, "_find", lambda patterns: ["tests/browser/test_page.py"])
    assert run_tests._may_run_browser_tests(arguments) == expected
