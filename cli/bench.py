"""`branchline bench NAME`: the benchmark suite. It is part of the source and of a development environment only."""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.home import Home, settings_with_home
from core.lifecycle import EXIT_FAILURE, EXIT_OK, StartupError

if TYPE_CHECKING:
    from benchmarks.harness.stack import Stack

app = typer.Typer(
    name="branchline bench",
    help="Measure the system; without a name, all of it. Each benchmark starts a stack of its own, checks every "
    "delivery, and keeps its result in benchmarks/results/.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The API of a running system, whose database and key are in the environment or in its home; "
        "otherwise one is started for the benchmark.",
    ),
]
Seconds = Annotated[float, typer.Option(min=1, help="How long to measure, after warming up.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often; the median counts.")]


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
    return _run_all((*SUITE, *SLOW) if full else SUITE)


SUITE = (
    ("startup",), ("latency",), ("fan_out",), ("peers",), ("write_rate",), ("sync_rate",), ("idle_memory",),
    ("reconnect_storm",), ("slow_readers",), ("gateways",), ("lists",),
)  # fmt: skip


SLOW = (("big_log",), ("peers", "--only", "parse"))
"""What `make bench-full` adds: a log that takes long to make, and peers that take long to install."""


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


@app.command()
def latency(
    url: Url = None,
    subscribers: Annotated[int, typer.Option(min=1, help="Sockets that listen to all leads.")] = 100,
    writes: Annotated[float, typer.Option(min=0.1, help="Writes a second.")] = 20,
    seconds: Seconds = 20,
    repeats: Repeats = 1,
) -> int:
    """Time from a write's due time to its arrival at every subscriber (target P1)."""
    from benchmarks import latency as benchmark

    with _stack(url) as stack:
        return benchmark.run(
            stack, subscribers=subscribers, writes_per_second=writes, seconds=seconds, repeats=repeats
        )


@app.command()
def quick(url: Url = None) -> int:
    """A first figure in half a minute: latency and writes."""
    from benchmarks import quick as benchmark

    with _stack(url) as stack:
        return benchmark.run(stack)


@app.command()
def startup(
    starts: Annotated[int, typer.Option(min=1, help="Starts after the first; the median counts.")] = 3,
) -> int:
    """How long `branchline up` takes to be ready (P11)."""
    from benchmarks import startup as benchmark

    return benchmark.run(starts=starts)


@app.command("write_rate")
def write_rate(
    url: Url = None,
    seconds: Seconds = 8,
    connections: Annotated[int, typer.Option(min=1, help="Connections that write at full speed.")] = 64,
) -> int:
    """Single writes over HTTP, in one organisation and in a hundred, and with bad ones among them (P4)."""
    from benchmarks import write_rate as benchmark

    with _stack(url) as stack:
        return benchmark.run(stack, seconds=seconds, connections=connections)


@app.command("sync_rate")
def sync_rate(
    url: Url = None,
    seconds: Seconds = 8,
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="Mutations in a push.")] = 100,
    connections: Annotated[int, typer.Option(min=1, help="Clients that push at a time at full speed.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the mix of mutations.")] = 1,
) -> int:
    """Mutations through `/api/sync`, in one organisation and in a hundred, with bad ones, and at half load (P4)."""
    from benchmarks import sync_rate as benchmark

    with _stack(url) as stack:
        return benchmark.run(stack, seconds=seconds, batch=batch, connections=connections, seed=seed)


@app.command("fan_out")
def fan_out(
    url: Url = None,
    subscribers: Annotated[int, typer.Option(min=1, help="Sockets that listen to all leads.")] = 1_000,
    writes: Annotated[
        list[float] | None, typer.Option(help="Writes a second; may be given several times (20, 500).")
    ] = None,
    seconds: Seconds = 15,
    gateways: Annotated[int, typer.Option(min=1, help="Gateways to start.")] = 1,
) -> int:
    """A thousand subscribers: CPU a delivery, and deliveries a second in time (P2, P3)."""
    from benchmarks import fan_out as benchmark

    with _stack(url, gateways=gateways) as stack:
        return benchmark.run(stack, subscribers=subscribers, writes=writes or [20.0, 500.0], seconds=seconds)


@app.command("idle_memory")
def idle_memory(
    url: Url = None,
    sockets: Annotated[int, typer.Option(min=1, help="Sockets that are subscribed and idle.")] = 10_000,
    seconds: Seconds = 10,
) -> int:
    """Memory of an idle socket, and one change to all of them (P5)."""
    from benchmarks import idle_memory as benchmark

    if complaint := benchmark.raise_file_limit(sockets):
        raise StartupError(complaint)
    with _stack(url) as stack:
        return benchmark.run(stack, sockets=sockets, seconds=seconds)


@app.command("reconnect_storm")
def reconnect_storm(
    url: Url = None,
    clients: Annotated[int, typer.Option(min=1, help="Clients whose gateway is killed.")] = 10_000,
    organizations: Annotated[
        int, typer.Option(min=1, help="Organisations that they belong to, evenly.")
    ] = 20,
    behind: Annotated[int, typer.Option(min=1, help="Changes that each has missed.")] = 100,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure writes beforehand.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the clients' waits.")] = 1,
) -> int:
    """The gateway is killed under thousands of clients, who come back with their positions (P6)."""
    from benchmarks import reconnect_storm as benchmark
    from benchmarks.idle_memory import raise_file_limit

    if complaint := raise_file_limit(clients):
        raise StartupError(complaint)
    with _stack(url) as stack:
        return benchmark.run(stack, benchmark.Storm(clients, organizations, behind, seconds, seed))


@app.command()
def lists(
    url: Url = None,
    contacts: Annotated[int, typer.Option(min=1_000, help="Contacts to list from.")] = 500_000,
    seconds: Seconds = 10,
) -> int:
    """Pages of 50 out of half a million contacts, and 304 (P10)."""
    from benchmarks import lists as benchmark

    with _stack(url) as stack:
        return benchmark.run(stack, contacts=contacts, seconds=seconds)


@app.command("big_log")
def big_log(
    url: Url = None,
    changes: Annotated[int, typer.Option(min=1_000, help="Changes in the log.")] = 10_000_000,
    organizations: Annotated[int, typer.Option(min=1, help="Organisations that they belong to.")] = 1_000,
    seconds: Seconds = 15,
    seed: Annotated[int, typer.Option(help="Of the positions from which is caught up.")] = 1,
) -> int:
    """Writes and catching up with ten million changes in the log, beside a small one (P7). Takes 20 GB and long."""
    from benchmarks import big_log as benchmark

    with _stack(url) as stack:
        size = benchmark.Size(changes, organizations)
        return benchmark.run(stack, size, seconds=seconds, seed=seed)


@app.command("slow_readers")
def slow_readers(
    url: Url = None,
    subscribers: Annotated[int, typer.Option(min=2, help="Sockets in all.")] = 500,
    stuck: Annotated[int, typer.Option(min=1, help="How many of them never read.")] = 5,
    writes: Annotated[float, typer.Option(min=1, help="Writes a second.")] = 200,
    seconds: Seconds = 8,
    repeats: Repeats = 2,
) -> int:
    """What the others notice of subscribers that never read (P9)."""
    from benchmarks import slow_readers as benchmark

    with _stack(url) as stack:
        return benchmark.run(
            stack, subscribers=subscribers, stuck=stuck, writes=writes, seconds=seconds, repeats=repeats
        )


@app.command()
def gateways(
    numbers: Annotated[
        list[int] | None, typer.Option(help="How many; may be given several times (1, 2, 4).")
    ] = None,
    subscribers: Annotated[int, typer.Option(min=1, help="Sockets, over all gateways.")] = 1_000,
    writes: Annotated[float, typer.Option(min=1, help="Writes a second.")] = 200,
    seconds: Seconds = 8,
) -> int:
    """What a delivery and a write cost with one gateway and with several (P8)."""
    from benchmarks import gateways as benchmark

    return benchmark.run(
        numbers=numbers or [1, 2, 4], subscribers=subscribers, writes=writes, seconds=seconds
    )


@app.command()
def peers(
    url: Url = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Which peers; may be given several times. Without it all but the slow one, parse."),
    ] = None,
    seconds: Seconds = 6,
) -> int:
    """Branchline beside Socket.IO, Nchan, Node ws, FastAPI and others, on the same work (P1)."""
    from benchmarks import versus as benchmark
    from benchmarks.peers.catalogue import ALL

    keys = only or [key for key in ALL if key != "parse"]
    if unknown := [key for key in keys if key not in ALL]:
        raise StartupError(f"expected peers among {', '.join(ALL)}, not {', '.join(unknown)}.")
    with _stack(url) as stack:
        return benchmark.run(stack, [ALL[key] for key in keys], seconds=seconds)


@app.command()
def relay(
    url: Url = None,
    seconds: Seconds = 8,
    changes: Annotated[float, typer.Option(min=100, help="Changes a second under load.")] = 10_000,
) -> int:
    """From the commit to Redis: single writes, and ten thousand changes a second."""
    from benchmarks import relay as benchmark

    with _stack(url) as stack:
        return benchmark.run(stack, seconds=seconds, changes_per_second=changes)


@app.command("catch_up")
def catch_up(
    url: Url = None,
    changes: Annotated[int, typer.Option(min=1, help="Changes that were missed.")] = 10_000,
    records: Annotated[
        int, typer.Option(min=10_000, help="Records of the snapshot, in ten thousands.")
    ] = 100_000,
    repeats: Repeats = 3,
) -> int:
    """Clients that come back: 10,000 changes behind, and a snapshot of 100,000 records."""
    from benchmarks import catch_up as benchmark

    with _stack(url) as stack:
        return benchmark.run(stack, changes=changes, records=records, repeats=repeats)


@contextmanager
def _stack(url: str | None, *, gateways: int = 1) -> Iterator["Stack"]:
    """A stack of the benchmark's own, or the one at `url`."""
    from benchmarks.harness.stack import Stack, run_stack

    if url is None:
        with run_stack(gateways=gateways) as stack:
            yield stack
        return
    settings = settings_with_home()
    settings.require("owner_database_url", "token_key")
    home = Home(settings.home)
    yield Stack(
        api_url=url.rstrip("/"),
        gateway_url=settings.gateway_url or f"ws://{settings.host}:{settings.gateway_port}/ws",
        owner_database_url=settings.owner_database_url,
        signing_key=settings.token_key,
        home=home.path if home.environment() else None,
        up_pid=_up_pid(home.path),
    )


def _up_pid(home: Path) -> int | None:
    """The `up` that holds a home."""
    try:
        return int(home.joinpath("lock").read_text())
    except (OSError, ValueError):
        return None
