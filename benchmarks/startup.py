"""How long `branchline up` takes to be ready."""

import shutil
import tempfile
from pathlib import Path

from benchmarks.harness.machine import read_machine
from benchmarks.harness.report import Report, median
from benchmarks.harness.stack import run_stack
from cli.home import Home
from cli.placement import data_folders

SECONDS = 5.0


def run(*, starts: int) -> int:
    """Start once to make the database, then `starts` times; print, keep, judge. The exit status."""
    report = Report("startup")
    report.say(f"startup: {read_machine()}")
    folder = Path(tempfile.mkdtemp(prefix="branchline-bench-home-"))
    folder.chmod(0o711)
    home = Home(folder / "home")
    try:
        times = []
        for number in range(starts + 1):
            with run_stack(home=home.path) as stack:
                times.append(stack.start_seconds)
            report.say(f"  {'first start' if not number else f'start {number + 1}'}: {times[-1]:.2f} s")
    finally:
        for data in data_folders(home):
            shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    report.runs = {
        "first_start_seconds": round(times[0], 2),
        "start_seconds": [round(t, 2) for t in times[1:]],
    }
    middle = median(times[1:])
    report.judge(
        "P11, `branchline up`",
        middle <= SECONDS,
        f"{middle:.1f} s to ready, median of {starts} (at most {SECONDS:g})",
    )
    return report.finish()
