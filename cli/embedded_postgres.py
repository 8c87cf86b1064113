"""A PostgreSQL of our own: made once, started as a child, found again after a crash."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from cli.placement import Placement, run_as
from cli.processes import ProcessIdentity, command_line, end_processes, identify
from core.lifecycle import StartupError

MAJOR_VERSION = "18"
OWNER = "branchline_owner"
DATABASE = "branchline"
LOCALHOST = "127.0.0.1"
# SIGINT is a fast shutdown: sessions end, a checkpoint is written, the next start has nothing to recover.
# SIGQUIT is the immediate one, which the next start recovers from. Both keep every commit that was
# acknowledged.
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))

# Given on the command line, where they win over postgresql.conf and ALTER SYSTEM.
SETTINGS = {
    # An acknowledged write survives a power cut. These are the defaults, said here so that nothing can switch
    # them off.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Enough for a development data set and small enough for a machine with other work to do.
    "shared_buffers": "256MB",
    "max_connections": "200",
    # The statements are short; compiling one costs more than running it.
    "jit": "off",
    # Whole pages after a checkpoint are most of the write-ahead log here; pglz is in every build.
    "wal_compression": "pglz",
    # Fewer checkpoints under load, so fewer whole pages; recovery of 1 GB is still a matter of seconds.
    "max_wal_size": "1GB",
    "checkpoint_timeout": "5min",
    # A forgotten transaction in psql delays no writer, but it keeps dead rows from being removed.
    "idle_in_transaction_session_timeout": "10min",
    # One encoding of a timestamp whoever writes; clients may still set their own zone.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log never quotes a row. An ERROR's text may hold what somebody typed (`invalid input value for enum
    # …`), and so may its DETAIL and its statement: it is told to the client, which knows what to do with it,
    # and is not logged.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "logging_collector": "off",
    "listen_addresses": LOCALHOST,
    # No socket file: its folder would need rights of its own, and its path has a length limit.
    "unix_socket_directories": "",
}


def database_url(port: int, user: str, password: str, database: str = DATABASE) -> str:
    """A URL that psql and asyncpg take. Passwords of a home are hexadecimal and need no escapes.

    This server has no TLS. A driver that asks for it first waits for a refusal at every connection, and asyncpg's is a
    future that nobody awaits when a connection is given up just then.
    """
    return f"postgresql://{user}:{password}@{LOCALHOST}:{port}/{database}?sslmode=disable"


def is_initialised(data: Path) -> bool:
    """Whether a cluster is there. Raises StartupError if it is another version's."""
    try:
        version = data.joinpath("PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return False
    if version != MAJOR_VERSION:
        raise StartupError(
            f"{data} was made by PostgreSQL {version}, and this is PostgreSQL {MAJOR_VERSION}: choose "
            "another --home, or carry the data over with pg_dump and psql."
        )
    return True


def initialise(placement: Placement, password: str) -> None:
    """Make a cluster whose superuser is branchline_owner. A half-made one from an earlier try is thrown away.

    Blocks, about a second. Raises StartupError with initdb's last line if it fails.
    """
    unfinished = placement.data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if placement.user is not None:
        os.chown(unfinished, placement.user.uid, placement.user.gid)
    command = [
        str(placement.postgresql / "initdb"),
        f"--pgdata={unfinished}",
        f"--username={OWNER}",
        # An unnamed file, opened again through the descriptor: the password is on no disk and in no argument.
        "--pwfile=/dev/stdin",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        # A new segment is written with zeroes and flushed by whoever needs it first, while all commits wait: 16 MB
        # took 15 to 75 ms here, 4 MB a few.
        "--wal-segsize=4",
        "--no-instructions",
    ]
    with tempfile.TemporaryFile() as password_file:
        password_file.write(password.encode() + b"\n")
        password_file.seek(0)
        if placement.user is not None:
            os.fchown(password_file.fileno(), placement.user.uid, placement.user.gid)
        finished = subprocess.run(
            command,
            stdin=password_file,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath},
            **run_as(placement.user),  # type: ignore[call-overload]
        )
    if finished.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise StartupError(f"a database could not be made in {placement.data.parent}: {last}")
    # Renamed when it is whole, so that a cluster that is there was finished.
    unfinished.rename(placement.data)


def arguments(placement: Placement, port: int) -> list[str]:
    """The command that runs the server in the foreground."""
    settings = SETTINGS | {"port": str(port)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(placement.postgresql / "postgres"), "-D", str(placement.data), *options]


def end_remains(data: Path) -> str | None:
    """End a server that still runs on this cluster and clear a lock file that nobody holds; say what was
    done.

    PostgreSQL itself refuses to start while the process id in postmaster.pid belongs to any process of its
    user, also to one that has nothing to do with it. Blocks until the server is gone.
    """
    lock_file = data / "postmaster.pid"
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return None
    except ValueError:
        pid = 0
    running = identify(pid) if pid > 0 else None
    if running is not None and _serves(running, data):
        if not end_processes([running], STOP_STEPS):
            raise StartupError(
                f"process {pid} still serves {data} and does not end: end it with `kill -9 {pid}`."
            )
        return f"ended the PostgreSQL (process {pid}) that an earlier run had left."
    with contextlib.suppress(FileNotFoundError):
        lock_file.unlink()
    return None


def _serves(process: ProcessIdentity, data: Path) -> bool:
    words = command_line(process.pid)
    return bool(words) and "postgres" in Path(words[0]).name and str(data) in words
