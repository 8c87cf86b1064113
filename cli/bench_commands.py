"""The single benchmarks of `branchline bench`, one command each; importing this registers them."""

from typing import Annotated

import typer

from cli.bench_options import Repeats, Seconds, Url, app, open_stack
from core.lifecycle import StartupError


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

    with open_stack(url) as stack:
        return benchmark.run(
            stack, subscribers=subscribers, writes_per_second=writes, seconds=seconds, repeats=repeats
        )


@app.command()
def quick(url: Url = None) -> int:
    """A first figure in half a minute: latency and writes."""
    from benchmarks import quick as benchmark

    with open_stack(url) as stack:
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

    with open_stack(url) as stack:
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

    with open_stack(url) as stack:
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

    with open_stack(url, gateways=gateways) as stack:
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
    with open_stack(url) as stack:
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
    with open_stack(url) as stack:
        return benchmark.run(stack, benchmark.Storm(clients, organizations, behind, seconds, seed))


@app.command()
def lists(
    url: Url = None,
    contacts: Annotated[int, typer.Option(min=1_000, help="Contacts to list from.")] = 500_000,
    seconds: Seconds = 10,
) -> int:
    """Pages of 50 out of half a million contacts, and 304 (P10)."""
    from benchmarks import lists as benchmark

    with open_stack(url) as stack:
        return benchmark.run(stack, contacts=contacts, seconds=seconds)


@app.command("big_log")
def big_log(
    url: Url = None,
    changes: Annotated[int, typer.Option(min=1_000, help="Changes in the log.")] = 10_000_000,
    organizations: Annotated[int, typer.Option(min=1, help="Organisations that they belong to.")] = 1_000,
    seconds: Seconds = 15,
    seed: Annotated[int, typer.Option(help="Of the positions from which is caught up.")] = 1,
) -> int:
    """Writes and catching up with ten million changes in the log, beside few (P7): 20 GB, a quarter of an hour."""
    from benchmarks import big_log as benchmark

    with open_stack(url) as stack:
        size = benchmark.Size(changes, organizations)
        return benchmark.run(stack, size, seconds=seconds, seed=seed)


@app.command("slow_readers")
def slow_readers(
    url: Url = None,
    subscribers: Annotated[int, typer.Option(min=2, help="Sockets in all.")] = 500,
    stuck: Annotated[int, typer.Option(min=1, help="How many of them never read.")] = 5,
    writes: Annotated[float, typer.Option(min=1, help="Writes a second.")] = 200,
    seconds: Seconds = 8,
    repeats: Repeats = 3,
) -> int:
    """What the others notice of subscribers that never read (P9)."""
    from benchmarks import slow_readers as benchmark

    if stuck >= subscribers:
        raise StartupError(f"expected fewer that never read than the {subscribers} subscribers, not {stuck}.")
    with open_stack(url) as stack:
        return benchmark.run(
            stack, subscribers=subscribers, stuck=stuck, writes=writes, seconds=seconds, repeats=repeats
        )


@app.command("login_flood")
def login_flood(
    url: Url = None,
    knocks: Annotated[float, typer.Option(min=1, help="Sign-ins a second, with a wrong password.")] = 1_000,
    writes: Annotated[float, typer.Option(min=1, help="Writes a second meanwhile.")] = 100,
    seconds: Seconds = 8,
    repeats: Repeats = 3,
) -> int:
    """What writers notice of a flood of sign-ins, from one address and from hundreds."""
    from benchmarks import login_flood as benchmark

    with open_stack(url) as stack:
        return benchmark.run(stack, knocks=knocks, writes=writes, seconds=seconds, repeats=repeats)


@app.command()
def against(
    commit: Annotated[str, typer.Argument(help="An earlier commit of this source.")],
    pairs: Annotated[
        int, typer.Option(min=1, help="How often each is measured, in turns; medians count.")
    ] = 5,
    subscribers: Annotated[int, typer.Option(min=1, help="Sockets that listen to all leads.")] = 1_000,
    seconds: Seconds = 8,
) -> int:
    """What has become of fan-out since a commit: p99 and CPU a delivery, of both sources in turns (P2, P3)."""
    from benchmarks import against as benchmark

    return benchmark.run(commit, pairs=pairs, subscribers=subscribers, seconds=seconds)


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
    slow: Annotated[bool, typer.Option("--slow", help="The slow one as well.")] = False,
    seconds: Seconds = 6,
) -> int:
    """Branchline beside Socket.IO, Nchan, Node ws, FastAPI and others, on the same work (P1)."""
    from benchmarks import versus as benchmark
    from benchmarks.peers.catalogue import ALL

    keys = only or [key for key in ALL if slow or key != "parse"]
    if unknown := [key for key in keys if key not in ALL]:
        raise StartupError(f"expected peers among {', '.join(ALL)}, not {', '.join(unknown)}.")
    with open_stack(url) as stack:
        return benchmark.run(stack, [ALL[key] for key in keys], seconds=seconds)


@app.command()
def relay(
    url: Url = None,
    seconds: Seconds = 8,
    changes: Annotated[float, typer.Option(min=100, help="Changes a second under load.")] = 10_000,
) -> int:
    """From the commit to Redis: single writes, and ten thousand changes a second."""
    from benchmarks import relay as benchmark

    with open_stack(url) as stack:
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

    with open_stack(url) as stack:
        return benchmark.run(stack, changes=changes, records=records, repeats=repeats)


@app.command()
def page(
    updates: Annotated[int, typer.Option(min=20, help="Changes that somebody else makes.")] = 200,
    loads: Annotated[int, typer.Option(min=1, help="First visits; the median counts.")] = 5,
) -> int:
    """The browser client in Chromium: its size, a first load with 10,000 records, an update, commit to screen (P12)."""
    from benchmarks import page as benchmark
    from benchmarks.harness.stack import run_stack

    with run_stack(demo=True) as stack:
        return benchmark.run(stack, updates=updates, loads=loads)
