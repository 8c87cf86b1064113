"""The system under measurement: a `branchline up` of the benchmark's own, or one that runs already."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.home import Home
from cli.placement import data_folders
from cli.ports import pick_free
from cli.processes import die_with_parent
from core.lifecycle import StartupError

HOST = "127.0.0.1"
READY_SECONDS = 120.0
STOP_SECONDS = 60.0
LIFTED = (
    "BRANCHLINE_CONNECTIONS_PER_USER",
    "BRANCHLINE_CONNECTIONS_PER_ORGANIZATION",
    "BRANCHLINE_CONNECTIONS_PER_ADDRESS",
    "BRANCHLINE_HTTP_CONNECTIONS_PER_ADDRESS",
    "BRANCHLINE_HTTP_CONNECTIONS",
    "BRANCHLINE_VIEWS_PER_USER",
    "BRANCHLINE_WRITES_PER_SECOND_PER_USER",
    "BRANCHLINE_WRITES_PER_SECOND_PER_ADDRESS",
)
"""All load comes from one address, and each writer writes for many."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the processes are reached. `home` is None where they were not started by `branchline up`.

    `lifted` names the limits that do not hold.
    """

    api_url: str
    gateway_url: str
    owner_database_url: str
    signing_key: str = field(repr=False)
    home: Path | None
    lifted: tuple[str, ...] = ()
    up_pid: int | None = None
    start_seconds: float = 0.0
    gateways: int = 1


def read_logs(folder: Path) -> None:
    """Look at the logs below a stack's folder before it goes. Tests do."""


@contextlib.contextmanager
def run_stack(
    *,
    gateways: int = 1,
    home: Path | None = None,
    settings: Mapping[str, str] | None = None,
    lift: bool = True,
    demo: bool = False,
) -> Iterator[Stack]:
    """Start `branchline up` on free ports, with the demo data if `demo`, and stop it at the end.

    Without `home` it gets a folder of its own, which is removed. Raises StartupError with what it said if it is not
    ready in time.
    """
    folder = Path(tempfile.mkdtemp(prefix="branchline-bench-"))
    # PostgreSQL's own user, where root runs the benchmark, must pass through.
    folder.chmod(0o711)
    place = Home(home or folder / "home")
    lifted = LIFTED if lift else ()
    api_port = pick_free(HOST)
    relay_port = pick_free(HOST, taken=[api_port])
    # Its own, also for the relay: two benchmarks that start together would both take the usual one.
    given = {"BRANCHLINE_RELAY_PORT": str(relay_port), **dict.fromkeys(lifted, "0"), **(settings or {})}
    environment = _environment(given)
    command = [sys.executable, "-m", "cli.main", "up", f"--home={place.path}"]
    command += [] if demo else ["--no-demo"]
    command += [f"--gateways={gateways}", f"--api-port={api_port}"]
    command += [f"--gateway-port={_free_run(gateways + 1, taken=(api_port, relay_port))}"]
    begun = time.monotonic()
    try:
        with (folder / "up.log").open("w+") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
            try:
                ready = _wait_ready(process, Path(log.name))
                yield Stack(
                    api_url=ready["api"],
                    gateway_url=ready["gateway"],
                    owner_database_url=ready["database"],
                    signing_key=place.environment()["BRANCHLINE_SECRET"],
                    home=place.path,
                    lifted=lifted,
                    up_pid=process.pid,
                    start_seconds=time.monotonic() - begun,
                    gateways=gateways,
                )
            finally:
                _stop(process)
    finally:
        read_logs(folder)
        if home is None:
            for data in data_folders(place):
                shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """This environment without settings of whoever runs the benchmark."""
    ours = ("BRANCHLINE_", "DATABASE_URL", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    root = str(Path(__file__).resolve().parents[2])
    return inherited | {"PYTHONPATH": root} | dict(added)


def _free_run(count: int, *, taken: Collection[int]) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = pick_free(HOST, taken=taken)
        rest = range(first + 1, first + count)
        if not set(taken) & set(rest) and all(pick_free(HOST, preferred=port) == port for port in rest):
            return first


def _wait_ready(process: subprocess.Popen[str], log: Path) -> dict[str, str]:
    assert process.stdout is not None
    # Ends the wait for a line that does not come.
    watchdog = threading.Timer(READY_SECONDS, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                return dict(part.split("=", 1) for part in line.split()[1:])
    finally:
        watchdog.cancel()
    raise StartupError(f"`branchline up` did not get ready: {log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
