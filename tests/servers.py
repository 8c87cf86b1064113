"""Real servers for tests: a PostgreSQL and a Valkey of the wheels, and databases cloned from one with the schema.

They are placed and started as `branchline up` does it, but without fsync: a test kills processes, not the machine.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli import embedded_postgres, embedded_valkey
from cli.home import Home
from cli.placement import Placement, choose_user, data_folders, place, run_as
from cli.ports import pick_free
from cli.processes import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "schema.sql"
HOST = "127.0.0.1"
TEMPLATE = "branchline_template"
APPLICATION = "branchline_app"
START_SECONDS = 60.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Database:
    """One database with the schema in it. `url` is the application's login, `owner_url` the owner's."""

    name: str
    url: str
    owner_url: str
    psql_program: Path

    def psql(self, sql: str, *, url: str | None = None) -> str:
        """What psql prints for `sql`, unaligned, without headers: as the owner, or as `url` says.

        Raises AssertionError with psql's message if a statement fails.
        """
        return run_psql(self.psql_program, url or self.owner_url, "--command", sql)


@dataclass(frozen=True, slots=True)
class Servers:
    """A running PostgreSQL, with the schema in a template database, and a running Valkey."""

    programs: Path
    port: int
    owner_password: str
    application_password: str
    redis_url: str
    # What the schema sets on its database, as SQL: a copy of a database comes without.
    database_settings: tuple[str, ...] = ()

    def owner_url(self, database: str) -> str:
        """A URL for the role that owns everything, which is this server's superuser as well."""
        return embedded_postgres.database_url(
            self.port, embedded_postgres.OWNER, self.owner_password, database
        )

    def psql(self, sql: str, database: str = "postgres") -> str:
        """What psql prints for `sql` as the owner."""
        return run_psql(self.programs / "psql", self.owner_url(database), "--command", sql)

    def reach(self, name: str) -> Database:
        """The database of this name on this server."""
        url = embedded_postgres.database_url(self.port, APPLICATION, self.application_password, name)
        return Database(name, url, self.owner_url(name), self.programs / "psql")

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh database with the schema and nothing else; dropped at the end, whoever is still connected."""
        name = f"test_{secrets.token_hex(6)}"
        self.psql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        for setting in self.database_settings:
            self.psql(f"ALTER DATABASE {name} SET {setting}")
        try:
            yield self.reach(name)
        finally:
            self.psql(f"DROP DATABASE {name} WITH (FORCE)")


_SETTINGS_OF_TEMPLATE = f"""
    SELECT format('%I = %L', split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1))
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) setting
    WHERE d.datname = '{TEMPLATE}' AND s.setrole = 0
"""


def run_psql(program: Path, url: str, *arguments: str) -> str:
    """psql's output for `arguments`, stopping at the first error. Raises AssertionError with its message."""
    command = [str(program), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]
    finished = subprocess.run(
        [*command, "--set", "ON_ERROR_STOP=1", "--dbname", url, *arguments], capture_output=True, text=True
    )
    assert finished.returncode == 0, f"psql {' '.join(arguments)}: {finished.stderr}"
    return finished.stdout.removesuffix("\n")


@contextlib.contextmanager
def run_servers() -> Iterator[Servers]:
    """Start both servers on free ports, load the schema into the template; stop and remove them at the end."""
    # Not pytest's temporary folder: PostgreSQL's user could not pass through that one when root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="branchline-test-servers-"))
    folder.chmod(0o711)
    home = Home(folder / "home")
    user = choose_user()
    home.prepare(group=None if user is None else user.gid)
    owner_password, application_password, redis_password = (secrets.token_hex(12) for _ in range(3))
    try:
        placement = place(home, user)
        embedded_postgres.initialise(placement, owner_password)
        postgresql_port, valkey_port = pick_free(HOST), pick_free(HOST)
        servers = Servers(
            programs=placement.postgresql,
            port=postgresql_port,
            owner_password=owner_password,
            application_password=application_password,
            redis_url=embedded_valkey.redis_url(valkey_port, redis_password),
        )
        with _postgresql(placement, postgresql_port, folder), _valkey(placement, valkey_port, redis_password):
            yield replace(servers, database_settings=_load_schema(servers))
    finally:
        # The second is where things went that the servers' user could not reach.
        for data in data_folders(home):
            shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def run_copy(servers: Servers, *, as_standby: bool) -> Iterator[Servers]:
    """A second PostgreSQL on a copy of the first one's files as they are now.

    As a standby it follows the first; else it goes on by itself, as a copy of a disk does.
    """
    user = choose_user()
    folder = Path(tempfile.mkdtemp(prefix="branchline-test-copy-"))
    if user is not None:
        os.chown(folder, user.uid, user.gid)
    data, port = folder / "data", pick_free(HOST)
    try:
        subprocess.run(
            [
                str(servers.programs / "pg_basebackup"),
                f"--pgdata={data}",
                f"--dbname={servers.owner_url('postgres')}",
                "--checkpoint=fast",
                "--no-sync",
                *(["--write-recovery-conf"] if as_standby else []),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath},
            **run_as(user),  # type: ignore[call-overload]
        )
        placement = Placement(user, servers.programs, Path(), data, ())
        with _postgresql(placement, port, folder):
            yield replace(servers, port=port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _postgresql(placement: Placement, port: int, folder: Path) -> Iterator[None]:
    arguments = [
        *embedded_postgres.arguments(placement, port),
        "-c",
        "fsync=off",
        "-c",
        "max_connections=400",
    ]
    ready = [str(placement.postgresql / "pg_isready"), "--quiet", f"--host={HOST}", f"--port={port}"]
    with (folder / "postgresql.log").open("w+") as log:
        process = _start(arguments, placement, signal.SIGQUIT, log)
        try:
            _wait(lambda: subprocess.run(ready).returncode == 0, process, log)
            yield
        finally:
            _stop(process, [number for number, _ in embedded_postgres.STOP_STEPS])


@contextlib.contextmanager
def _valkey(placement: Placement, port: int, password: str) -> Iterator[None]:
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryFile() as configuration:
        configuration.write(embedded_valkey.configuration(port, password))
        configuration.seek(0)
        arguments = embedded_valkey.arguments(placement)
        process = _start(arguments, placement, signal.SIGKILL, log, standard_input=configuration)
        try:
            _wait(lambda: _accepts_connections(port), process, log)
            yield
        finally:
            _stop(process, [number for number, _ in embedded_valkey.STOP_STEPS])


def _load_schema(servers: Servers) -> tuple[str, ...]:
    """Make the template; the settings that the schema has given to its database."""
    servers.psql(f"CREATE DATABASE {TEMPLATE}")
    run_psql(
        servers.programs / "psql", servers.owner_url(TEMPLATE), "--single-transaction", "--file", str(SCHEMA)
    )
    servers.psql(f"ALTER ROLE {APPLICATION} PASSWORD '{servers.application_password}'")
    return tuple(servers.psql(_SETTINGS_OF_TEMPLATE).splitlines())


def _start(
    arguments: Sequence[str],
    placement: Placement,
    death_signal: signal.Signals,
    log: Any,
    standard_input: Any = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    user = placement.user
    return subprocess.Popen(
        arguments,
        stdin=standard_input,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        # A group of its own, so that Ctrl-C in the terminal leaves the server to its fixture.
        process_group=0,
        preexec_fn=die_with_parent(death_signal),
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
    )


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise AssertionError(f"{process.args!r} did not start:\n{log.read()}")
        time.sleep(POLL_SECONDS)


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _stop(process: subprocess.Popen[bytes], signals: Sequence[signal.Signals]) -> None:
    for number in signals:
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
