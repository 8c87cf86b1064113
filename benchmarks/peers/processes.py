"""Starts what the other systems consist of, and the PostgreSQL and Valkey below them: those of `branchline up`."""

import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from cli import embedded_postgres, embedded_valkey
from cli.home import Home
from cli.placement import choose_user, data_folders, place, run_as
from cli.ports import pick_free
from cli.processes import die_with_parent

HOST = "127.0.0.1"
READY_SECONDS = 60.0
_POLL_SECONDS = 0.05


class PeerError(Exception):
    """A peer did not start; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Servers:
    """A running PostgreSQL with an empty database, with the settings of Branchline's own, and a running Valkey."""

    database_url: str
    redis_url: str
    pids: Mapping[str, int]


@contextlib.contextmanager
def run_program(
    command: Sequence[str | Path],
    *,
    ports: Sequence[int],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    says_ready: bool = True,
) -> Iterator[int]:
    """Start a program and wait until it has said `ready` and its ports answer; its process id. Stopped at the end.

    Raises PeerError with what it printed.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if says_ready else log,
            stderr=log,
            text=True,
            cwd=folder,
            env=None if environment is None else dict(environment),
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        try:
            if says_ready:
                _wait_for_line(process)
            for port in ports:
                _wait_for_port(process, port)
        except PeerError as error:
            _stop(process)
            log.seek(0)
            raise PeerError(f"{error}: {log.read()[-1000:].strip()}") from None
        try:
            yield process.pid
        finally:
            _stop(process)


@contextlib.contextmanager
def run_servers() -> Iterator[Servers]:
    """Both servers in a folder of their own, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="branchline-bench-peer-"))
    # PostgreSQL's own user, where root runs the benchmark, must pass through.
    folder.chmod(0o711)
    home, user = Home(folder / "home"), choose_user()
    home.prepare(group=None if user is None else user.gid)
    try:
        placement, password = place(home, user), secrets.token_hex(12)
        embedded_postgres.initialise(placement, password)
        database_port, redis_port = pick_free(HOST), pick_free(HOST)
        with contextlib.ExitStack() as stack:
            database = subprocess.Popen(
                embedded_postgres.arguments(placement, database_port),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"LC_ALL": "C"},
                preexec_fn=die_with_parent(signal.SIGINT),
                **run_as(placement.user),  # type: ignore[call-overload]
            )
            stack.callback(_stop, database, signal.SIGINT)
            valkey = subprocess.Popen(
                embedded_valkey.arguments(placement),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                preexec_fn=die_with_parent(signal.SIGKILL),
                **run_as(placement.user),  # type: ignore[call-overload]
            )
            stack.callback(_stop, valkey)
            valkey.stdin.write(embedded_valkey.configuration(redis_port, password))
            valkey.stdin.close()
            for process, port in ((database, database_port), (valkey, redis_port)):
                _wait_for_port(process, port)
            url = embedded_postgres.database_url(database_port, embedded_postgres.OWNER, password, "postgres")
            yield Servers(
                url,
                embedded_valkey.redis_url(redis_port, password),
                {"postgresql": database.pid, "valkey": valkey.pid},
            )
    finally:
        for data in data_folders(home):
            shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


async def fetch_ids(database_url: str, statement: str) -> set[str]:
    """The first column of what a statement gives, as text."""
    connection = await asyncpg.connect(database_url)
    try:
        return {str(row[0]) for row in await connection.fetch(statement)}
    finally:
        await connection.close()


def _wait_for_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    watchdog = threading.Timer(READY_SECONDS, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if line.strip() == "ready":
                # What it says later is nobody's, and must not fill the pipe.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return
    finally:
        watchdog.cancel()
    raise PeerError("it did not get ready")


def _wait_for_port(process: "subprocess.Popen[str] | subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise PeerError(f"nobody answers at port {port}")


def _stop(
    process: "subprocess.Popen[str] | subprocess.Popen[bytes]", number: signal.Signals = signal.SIGTERM
) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
