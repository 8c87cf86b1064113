"""This source against an earlier commit of it, on the same work: `fan_out` of both in turns, and the ratio of medians.

The earlier source runs from a folder of its own, with this environment's packages.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness.report import Report, median
from core.lifecycle import StartupError

ROOT = Path(__file__).resolve().parents[1]
MOST = 1.05
"""What may be added: a twentieth."""
SUBSCRIBERS = 1_000
RATES = (20.0, 500.0)
_FIGURES: dict[str, tuple[float, Callable[[dict[str, Any]], float]]] = {
    "P2, p99 of a delivery in ms at 500 writes/s": (500.0, lambda run: run["delivery_ms"]["p99"]),
    "P3, CPU a delivery in µs at 20 writes/s": (20.0, lambda run: run["cpu_us_per_delivery"]),
}
_RUN_SECONDS = 600


def run(commit: str, *, pairs: int, subscribers: int, seconds: float) -> int:
    """Measure both in turns; print, keep, judge. The exit status. Raises StartupError for what is no commit."""
    report = Report("against")
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in _FIGURES}
    with tempfile.TemporaryDirectory(prefix="branchline-against-") as folder:
        # PostgreSQL's own user, where root runs the benchmark, reads nothing there but has to pass through.
        Path(folder).chmod(0o755)
        _extract(commit, Path(folder))
        for number in range(1, pairs + 1):
            for label, tree in (("before", Path(folder)), ("now", ROOT)):
                runs = _fan_out(tree, subscribers, seconds)
                for name, (rate, figure) in _FIGURES.items():
                    outcome = next((run for run in runs if run["work"]["writes_per_second"] == rate), None)
                    if outcome is None or outcome["invalid"]:
                        report.say(f"pair {number}, {label}: {name}: no valid run")
                        continue
                    report.runs[f"{label}, {rate} writes/s, run {number}"] = outcome
                    value = float(figure(outcome))
                    found[name][label].append(value)
                    others = outcome["others_share"]
                    report.say(f"pair {number}, {label}: {name}: {value:.2f}; other programs {others:.0%}")
    for name, by_label in found.items():
        _judge(report, name, commit, by_label)
    return report.finish()


def _extract(commit: str, folder: Path) -> None:
    if shutil.which("git") is None:
        raise StartupError(f"expected a commit of this source, not {commit!r}: git is not installed.")
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise StartupError(
            f"expected a commit of this source, not {commit!r}: {archive.stderr.decode().strip()}"
        )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")


def _fan_out(tree: Path, subscribers: int, seconds: float) -> list[dict[str, Any]]:
    """The runs of one `fan_out` of a source, which may have called them otherwise."""
    results = tree / "benchmarks" / "results"
    before = set(results.glob("*-fan_out.json"))
    command = [sys.executable, "-m", "cli.main", "bench", "fan_out", "--subscribers", str(subscribers)]
    command += [f"--seconds={seconds:g}", *(f"--writes={rate:g}" for rate in RATES)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    finished = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=_RUN_SECONDS
    )
    new = sorted(set(results.glob("*-fan_out.json")) - before)
    if not new:
        raise StartupError(
            f"`fan_out` of {tree} left no result: {(finished.stdout + finished.stderr)[-1000:]}"
        )
    content: dict[str, Any] = json.loads(new[-1].read_text())
    return list(content["runs"].values())


def _judge(report: Report, name: str, commit: str, by_label: dict[str, list[float]]) -> None:
    if not by_label["before"] or not by_label["now"]:
        report.judge(f"against {commit}: {name}", None, "no valid run of one of the two")
        return
    before, now = median(by_label["before"]), median(by_label["now"])
    ratio = now / max(before, 0.001)
    report.judge(
        f"against {commit}: {name}",
        ratio <= MOST,
        f"{before:.2f} to {now:.2f}: {ratio:.3f} (at most {MOST:g}), medians of {len(by_label['now'])}",
    )
