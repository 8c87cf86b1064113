"""`branchline bench NAME`: the benchmark suite. It is part of the source and of a development environment only."""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import bench_commands  # noqa: F401 - registers the single benchmarks
from cli.bench_options import Seconds, app
from core.lifecycle import EXIT_FAILURE, EXIT_OK, StartupError


def run(arguments: list[str]) -> int:
    """Run what the arguments name, or all; the exit status: 0 measured, 1 a run was invalid."""
    try:
        from benchmarks.harness.child import ChildError
    except ModuleNotFoundError as error:
        raise StartupError(
            f"the benchmark suite is not installed (no module {error.name}): run it from the source, after "
            "`make setup`."
        ) from None
    # So that the stack is stopped and its folder removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        answer = app(arguments, prog_name="branchline bench", standalone_mode=False)
    except ChildError as error:
        print(f"INVALID: the load client failed: {error}")
        return EXIT_FAILURE
    return answer if isinstance(answer, int) else EXIT_OK


@app.callback()
def _suite(
    context: typer.Context,
    full: Annotated[
        bool, typer.Option("--full", help="Also the log of ten million changes, and slow peers.")
    ] = False,
) -> int:
    if context.invoked_subcommand is not None:
        return EXIT_OK
    return _run_all(FULL if full else SUITE)


SUITE = (
    ("startup",), ("latency",), ("fan_out",), ("peers",), ("write_rate",), ("sync_rate",), ("idle_memory",),
    ("reconnect_storm",), ("slow_readers",), ("login_flood",), ("gateways",), ("lists",), ("page",),
)  # fmt: skip


FULL = (*((*each, "--slow") if each == ("peers",) else each for each in SUITE), ("big_log",))
"""`make bench-full`: also peers that take long to install, and a log that takes long to make."""


def _run_all(commands: Sequence[Sequence[str]]) -> int:
    """Run each, whatever became of the one before, into a folder of their own; then the report."""
    from benchmarks import summary
    from benchmarks.harness import report

    folder = report.RESULTS / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    report.keep_in(folder)
    status = EXIT_OK
    for command in commands:
        report.current_arguments[:] = command
        try:
            status = max(status, run(list(command)))
        except StartupError as error:
            print(f"INVALID: {command[0]} could not run: {error}", flush=True)
            status = EXIT_FAILURE
    return max(status, summary.run(folder, None))


@app.command()
def table(
    of: Annotated[
        Path | None, typer.Option(help="A folder with results of `peers`; without it they are measured.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often to measure; medians count.")] = 3,
    seconds: Seconds = 6,
) -> int:
    """The table of the README: Branchline and the other systems on the same work, medians and ratios, as Markdown."""
    from benchmarks import table as benchmark
    from benchmarks.harness import report

    folder = of or report.RESULTS / time.strftime("%Y%m%d-%H%M%S-table", time.gmtime())
    status = EXIT_OK
    if of is None:
        report.keep_in(folder)
        report.current_arguments[:] = ["peers", "--seconds", f"{seconds:g}"]
        for _ in range(runs):
            status = max(status, run(["peers", "--seconds", f"{seconds:g}"]))
    benchmark.show(folder)
    return status


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of results; without it, that of the last suite.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="A folder of earlier results to compare with.")] = None,
) -> int:
    """One page of HTML about a folder of results, with plots, verdicts, and a comparison with another."""
    from benchmarks import summary
    from benchmarks.harness.report import RESULTS

    suites = sorted(each for each in RESULTS.glob("2*") if each.is_dir())
    if folder is None and not suites:
        raise StartupError("no suite was run yet: `branchline bench` runs all, or name a folder.")
    return summary.run(folder or suites[-1], against)
