"""The embedded PostgreSQL and Valkey as children of `branchline up`: started, waited for, reached."""

import asyncio
import os
import signal
from collections.abc import Callable

import asyncpg

from cli import embedded_postgres, embedded_valkey
from cli.connections import valkey_answers
from cli.home import Home, Secrets
from cli.placement import Placement
from cli.ports import pick_free
from cli.supervisor import Child, ChildSpec, Supervisor, show_nothing, show_postgresql_line
from core.lifecycle import StartupError
from core.queries import load

LOCALHOST = "127.0.0.1"
POLL_SECONDS = 0.03
PATIENCE_SECONDS = 1.0
REMINDER_SECONDS = 5.0
# Recovery replays what was written since the last checkpoint, bounded by max_wal_size.
RECOVERY_SECONDS = 600.0
VALKEY_SECONDS = 20.0
MOST_FAILURES = 6
_queries = load("cli")


def choose_ports(home: Home, *, postgresql: bool, valkey: bool) -> dict[str, int]:
    """Ports for the servers that are to be started: those of the last start where they are free."""
    last = home.ports()
    ports: dict[str, int] = {}
    for name, wanted in (("postgresql", postgresql), ("valkey", valkey)):
        if wanted:
            ports[name] = pick_free(LOCALHOST, preferred=last.get(name), taken=list(ports.values()))
    home.keep_ports(last | ports)
    return ports


def prepare_postgresql(
    home: Home, placement: Placement, secrets: Secrets, had_secrets: bool, say: Callable[[str], None]
) -> None:
    """Make the cluster if there is none; end a server that still runs on it. Blocks."""
    if not embedded_postgres.is_initialised(placement.data):
        say(f"making a PostgreSQL database in {placement.data} …")
        embedded_postgres.initialise(placement, secrets.owner_password)
        return
    if not had_secrets:
        raise StartupError(
            f"{home.path / 'secrets.json'} with the passwords of the database in {placement.data} is gone: "
            "restore it, or start afresh with `branchline reset`."
        )
    expected = os.geteuid() if placement.user is None else placement.user.uid
    owner = placement.data.stat().st_uid
    if owner != expected:
        raise StartupError(
            f"{placement.data} belongs to user {owner} and would be served by user {expected}: start as the "
            "user who made it, or choose another --home."
        )
    done = embedded_postgres.end_remains(placement.data)
    if done is not None:
        say(done)


def start_postgresql(supervisor: Supervisor, home: Home, placement: Placement, port: int) -> Child:
    """Start PostgreSQL; it is not ready when this returns."""
    return supervisor.start(
        ChildSpec(
            name="postgresql",
            arguments=embedded_postgres.arguments(placement, port),
            environment={"LC_ALL": "C", "PATH": os.defpath},
            log_file=home.logs / "postgresql.log",
            stop_steps=embedded_postgres.STOP_STEPS,
            death_signal=signal.SIGINT,
            worth_showing=show_postgresql_line,
            user=placement.user,
        )
    )


def start_valkey(supervisor: Supervisor, home: Home, placement: Placement, port: int, password: str) -> Child:
    """Start Valkey; it is not ready when this returns."""
    return supervisor.start(
        ChildSpec(
            name="valkey",
            arguments=embedded_valkey.arguments(placement),
            environment={"LC_ALL": "C", "PATH": os.defpath},
            log_file=home.logs / "valkey.log",
            stop_steps=embedded_valkey.STOP_STEPS,
            death_signal=signal.SIGKILL,
            worth_showing=show_nothing,
            user=placement.user,
            standard_input=embedded_valkey.configuration(port, password),
        )
    )


async def wait_postgresql(child: Child, port: int, password: str, say: Callable[[str], None]) -> None:
    """Wait until our PostgreSQL takes connections and has the database. Recovery after a crash is waited for.

    Raises StartupError if it keeps ending, refuses us, or takes longer than RECOVERY_SECONDS.
    """
    url = embedded_postgres.database_url(port, embedded_postgres.OWNER, password)
    loop = asyncio.get_running_loop()
    began = loop.time()
    next_reminder = began + PATIENCE_SECONDS
    while True:
        _raise_if_hopeless(child)
        if await _database_answers(url, port, password):
            child.settled = True
            return
        now = loop.time()
        if now - began > RECOVERY_SECONDS:
            raise StartupError(
                f"PostgreSQL was not ready within {RECOVERY_SECONDS:.0f} s: see {child.spec.log_file}."
            )
        if now > next_reminder:
            say(f"waiting for PostgreSQL to recover ({now - began:.0f} s) …")
            next_reminder = now + REMINDER_SECONDS
        await asyncio.sleep(POLL_SECONDS)


async def _database_answers(url: str, port: int, password: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except asyncpg.InvalidCatalogNameError:
        await _create_database(port, password)
        return True
    except asyncpg.InvalidPasswordError:
        raise StartupError(
            "PostgreSQL refuses the password in secrets.json: restore the one that the database was made "
            "with, or start afresh with `branchline reset`."
        ) from None
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


async def _create_database(port: int, password: str) -> None:
    url = embedded_postgres.database_url(port, embedded_postgres.OWNER, password, database="postgres")
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(_queries.create_database)
    finally:
        await connection.close()


async def wait_valkey(child: Child, port: int, password: str) -> None:
    """Wait until our Valkey answers. Raises StartupError if it keeps ending or does not within
    VALKEY_SECONDS.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + VALKEY_SECONDS
    while not await valkey_answers(LOCALHOST, port, password):
        _raise_if_hopeless(child)
        if loop.time() > deadline:
            raise StartupError(
                f"Valkey was not ready within {VALKEY_SECONDS:.0f} s: see {child.spec.log_file}."
            )
        await asyncio.sleep(POLL_SECONDS)
    child.settled = True


def _raise_if_hopeless(child: Child) -> None:
    if child.exits >= MOST_FAILURES:
        raise StartupError(
            f"{child.spec.name} ended {child.exits} times in a row, last with “{child.last_line}”: see "
            f"{child.spec.log_file}."
        )
