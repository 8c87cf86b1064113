"""The suite runs one benchmark after the other, whatever became of the last one, and ends with a report of all."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness import report
from cli import bench
from cli.bench_options import app
from core.lifecycle import EXIT_FAILURE


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the suite's folder comes to be."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "_folder", tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def test_a_benchmark_that_cannot_run_spoils_the_suite_and_not_the_others(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = (("peers", "--only", "nobody"), ("startup", "--starts", "1"))
    assert bench._run_all(commands) == EXIT_FAILURE
    assert "INVALID: peers could not run: expected peers among" in capsys.readouterr().out
    (folder,) = results.iterdir()
    (kept,) = folder.glob("*.json")
    assert '"branchline bench startup --starts 1"' in kept.read_text()
    page = (folder / "report.html").read_text()
    assert "P11, `branchline up`" in page


def test_every_benchmark_of_the_suite_is_a_command() -> None:
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert {command[0] for command in bench.FULL} <= commands
    # Of a benchmark that ran twice the report shows the last.
    assert len({command[0] for command in bench.FULL}) == len(bench.FULL)
