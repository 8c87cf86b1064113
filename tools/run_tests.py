"""Run the tests of every runner and add them up: `make test`.

The runners are pytest and, where there are JavaScript tests, Node's own. Each writes a JUnit report into
test-results/; the sums come from those, so that they mean the same for all. What failed is named once more near the
end, for those who see only that. The last line of the output is `N passed, N failed`, alone on its line; the exit
status is 0 only if something passed and nothing failed.
Arguments go to pytest, and with any given only pytest runs.
"""

import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from tests.leaks import leaks_of
from tools import outside_programs
from tools.bootstrap import ENVIRONMENT, ROOT
from tools.system_packages import MissingProgramError

RESULTS = ROOT / "test-results"
SUMMARY = RESULTS / "summary.txt"
UNDER_WAY = RESULTS / "under-way.txt"
"""Where pytest notes which test it runs (tests/conftest.py): a run that ends all at once leaves nothing else."""
JAVASCRIPT_TESTS = ["clients/javascript/**/*.test.*js", "tests/**/*.test.*js"]
BROWSER_FOLDER = "tests/browser"
BROWSER_TESTS = [f"{BROWSER_FOLDER}/**/test_*.py", f"{BROWSER_FOLDER}/**/*.test.*js"]
SLOWEST_SHOWN = 20
PROBLEMS_SHOWN = 30
# No runner may go on for ever, whatever a test of it does. The full forms take longer than the short.
DEADLINE_SECONDS = 40 * 60
LONG_DEADLINE_SECONDS = 12 * 60 * 60
COPY_SECONDS = 10.0
"""Time in which the last of a runner's output has to come: somebody it has left behind may hold the pipe."""


@dataclass
class Tally:
    """What came of some tests. `durations` holds seconds and the test's name, `problems` a line for each failure."""

    passed: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    durations: list[tuple[float, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many failed; a runner that fails beside its tests is one more."""
        return len(self.problems)

    def add(self, other: "Tally") -> None:
        """Add the tests of `other`."""
        self.passed += other.passed
        self.skipped += other.skipped
        self.problems += other.problems
        self.durations += other.durations


@dataclass(frozen=True)
class Runner:
    """A program that runs tests and leaves a JUnit report at `report`; what it prints goes to `log`, if given.

    pytest has none: it reads what its tests print itself, and a debugger needs its terminal.
    """

    name: str
    command: list[str]
    report: Path
    log: Path | None = None


def main(arguments: list[str]) -> int:
    """Run everything, print the sums; the exit status."""
    RESULTS.mkdir(exist_ok=True)
    SUMMARY.unlink(missing_ok=True)
    UNDER_WAY.unlink(missing_ok=True)
    javascript = [] if arguments else _find(JAVASCRIPT_TESTS)
    try:
        browser = _may_run_browser_tests(arguments)
        environment = outside_programs.environment(browser=browser, node=bool(javascript))
    except MissingProgramError as error:
        return _report(Tally(problems=[str(error)]))
    began = time.time()
    deadline_seconds = LONG_DEADLINE_SECONDS if "long" in arguments else DEADLINE_SECONDS
    total = Tally()
    for runner in _runners(arguments, javascript):
        total.add(_run(runner, environment, deadline_seconds))
    total.add(_read_logs(RESULTS, began))
    return _report(total)


def read_report(path: Path) -> Tally:
    """The tally of a JUnit report. A test that neither failed nor was skipped has passed."""
    tally = Tally()
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('file') or case.get('classname', '')}: {case.get('name')}"
        failures = [*case.findall("failure"), *case.findall("error")]
        if failures:
            tally.problems.append(f"{name}: {_first_line(failures[0].get('message') or '')}")
        elif case.find("skipped") is not None:
            tally.skipped += 1
        else:
            tally.passed += 1
        tally.durations.append((float(case.get("time") or 0), name))
    return tally


def _find(patterns: list[str]) -> list[str]:
    paths = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if "node_modules" not in path)


def _may_run_browser_tests(arguments: list[str]) -> bool:
    """Whether there are any, and the arguments do not name other tests only."""
    named = [argument for argument in arguments if argument.startswith("tests")]
    elsewhere = named and not any(
        BROWSER_FOLDER.startswith(name.rstrip("/")) or name.startswith(BROWSER_FOLDER) for name in named
    )
    return bool(_find(BROWSER_TESTS)) and not elsewhere


def _runners(arguments: list[str], javascript: list[str]) -> list[Runner]:
    report = RESULTS / "pytest.xml"
    pytest = [str(ENVIRONMENT / "bin" / "python"), "-m", "pytest", f"--junit-xml={report}", *arguments]
    runners = [Runner("pytest", pytest, report)]
    if javascript:
        report = RESULTS / "node.xml"
        reporters = ["spec", "stdout", "junit", str(report)]
        options = [f"--test-reporter{'-destination' * (i % 2)}={value}" for i, value in enumerate(reporters)]
        command = ["node", "--test", *options, *javascript]
        runners.append(Runner("node", command, report, log=RESULTS / "node.log"))
    return runners


def _run(runner: Runner, environment: dict[str, str], deadline_seconds: int) -> Tally:
    """Run one runner to its end or the deadline. One that fails beside its tests counts as a failed test."""
    runner.report.unlink(missing_ok=True)
    # In our own process group, so that Ctrl-C reaches the runner too and a debugger has the terminal.
    output = None if runner.log is None else subprocess.PIPE
    process = subprocess.Popen(
        runner.command, cwd=ROOT, env=environment, stdout=output, stderr=output and subprocess.STDOUT
    )
    copying = threading.Thread(target=_copy, args=(process, runner.log), daemon=True)
    copying.start()
    try:
        status = process.wait(deadline_seconds)
    except subprocess.TimeoutExpired:
        print(f"{runner.name} was still running after {deadline_seconds} s and is ended")
        status = 1
    finally:
        _end(process)
        copying.join(COPY_SECONDS)
    try:
        tally = read_report(runner.report)
    except (OSError, ElementTree.ParseError) as error:
        problem = f"{runner.name} ended with status {status} and left no report: {error}"
        return Tally(problems=[problem + _under_way(runner)])
    if status != 0 and tally.failed == 0 and not (runner.name == "pytest" and status == 5):
        tally.problems.append(f"{runner.name} ended with status {status}, though no test of it failed")
    return tally


def _under_way(runner: Runner) -> str:
    if runner.name != "pytest" or not UNDER_WAY.exists():
        return ""
    return f"; it was at {UNDER_WAY.read_text()}"


def _first_line(message: str) -> str:
    lines = message.strip().splitlines() or [""]
    return lines[0][:160]


def _copy(process: subprocess.Popen[bytes], log: Path | None) -> None:
    """Print what a runner prints, as it comes, and keep it."""
    if process.stdout is not None and log is not None:
        with process.stdout, log.open("wb") as kept:
            for line in process.stdout:
                kept.write(line)
                print(line.decode(errors="replace"), end="", flush=True)


def _read_logs(folder: Path, began: float) -> Tally:
    """A failure for each log of this run that holds a token or what else no log may; the values are not shown."""
    leaks = leaks_of(folder, since=began)
    said = "holds what no log may hold:"
    return Tally(problems=[f"{folder / name} {said} {', '.join(kinds)}" for name, kinds in leaks.items()])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a runner that still runs, with time to stop the servers that it has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _report(total: Tally) -> int:
    """Print the slowest tests, what failed and the sums, and keep the last line in a file; the exit status."""
    slowest = sorted(total.durations, reverse=True)[:SLOWEST_SHOWN]
    if slowest:
        print(f"\nslowest {len(slowest)} tests:")
        for seconds, name in slowest:
            print(f"{seconds:8.2f} s  {name}")
    if total.skipped:
        print(f"skipped: {total.skipped}")
    if total.problems:
        print(f"\nfailed: {total.failed}")
        for problem in total.problems[:PROBLEMS_SHOWN]:
            print(f"  {problem}")
    if total.passed + total.failed == 0:
        print("no test ran: that counts as a failure")
    line = f"{total.passed} passed, {total.failed} failed"
    SUMMARY.write_text(line + "\n")
    print(line, flush=True)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # stdout is a text stream here
    sys.exit(main(sys.argv[1:]))
