"""`branchline migrate`: bring a database's schema to this version of the code.

Migrations are files `NNNN-name.sql`, numbered from 1 without gaps. Each is applied once, in its own
transaction, under a lock that one process of a database holds; what was applied is noted with a hash of the
file.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import asyncpg

from cli.connections import connect, describe
from core.lifecycle import StartupError
from core.queries import load
from core.settings import Settings

Progress = Callable[[str], None]

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

LOCK_SECONDS = 300
APPLICATION_ROLE = "branchline_app"
OWNER_VARIABLE = "BRANCHLINE_OWNER_DATABASE_URL"
OWNER_SOURCE = f"{OWNER_VARIABLE} (in development, where that is not set, DATABASE_URL)"
"""Where the owner's URL comes from, in the words of an error."""
_FILE_NAME = re.compile(r"(\d{4})-([a-z0-9-]+)\.sql")
_queries = load("cli")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the folder `migrations`."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04d}-{self.name}"


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """What a database has noted of one that was applied."""

    number: int
    name: str
    sha256: str


def migrations_folder() -> Path:
    """The folder of migrations: inside the installed package, or beside it in a clone."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "migrations"


def read_migrations(folder: Path) -> list[Migration]:
    """The migrations in a folder, in order. Raises StartupError for a strange name, a gap or a number twice."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise StartupError(f"{path} is not named like 0001-initial.sql: rename it.")
        found.append(Migration(int(match.group(1)), match.group(2), path.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)) or not found:
        numbers = ", ".join(str(migration) for migration in found) or "no file"
        raise StartupError(f"{folder} should hold migrations 1, 2, 3 … without a gap and holds {numbers}.")
    return found


def pending_migrations(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> list[Migration]:
    """What is still to be applied, in order.

    Raises StartupError for a database that is newer than the code, or whose applied file has changed since.
    """
    if len(applied) > len(known):
        newest = applied[-1]
        raise StartupError(
            f"the database is newer than this program: it has migration {newest.number:04d}-{newest.name}, "
            f"and the newest here is {known[-1]}. Use a newer version of the program."
        )
    for ours, theirs in zip(known, applied, strict=False):
        if (ours.number, ours.sha256) != (theirs.number, theirs.sha256):
            raise StartupError(
                f"migration {theirs.number:04d}-{theirs.name} was applied to this database with other "
                f"content than {ours} has now: restore the file and put the difference into a new migration "
                "(in development, `branchline reset` starts afresh)."
            )
    return list(known[len(applied) :])


async def migrate(
    owner_database_url: str,
    *,
    progress: Progress,
    dry_run: bool = False,
    application_password: str | None = None,
    folder: Path | None = None,
) -> list[Migration]:
    """Apply what is pending and make the coming partitions; return the migrations that were (or would be)
    applied.

    `application_password` becomes that of the application's login role. With `dry_run` nothing is written.
    Raises StartupError if the database cannot be reached or must not be migrated, or if a migration fails;
    what was applied before that stays.
    """
    known = read_migrations(folder or migrations_folder())
    connection = await connect(owner_database_url, variable=OWNER_SOURCE)
    try:
        if dry_run:
            pending = pending_migrations(known, await fetch_applied(connection))
            for migration in pending:
                progress(f"would apply {migration}")
            return pending
        await _lock(connection, progress)
        await _refuse_foreign(connection)
        await connection.execute(_queries.create_migrations_table)
        pending = pending_migrations(known, await fetch_applied(connection))
        for migration in pending:
            progress(f"applying {migration}")
            await _apply(connection, migration)
        await connection.fetchval(_queries.make_partitions)
        if application_password is not None:
            statement = await connection.fetchval(_queries.write_password_statement, application_password)
            await connection.execute(statement)
        return pending
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupError(
            f"the user of {OWNER_VARIABLE} may not do this ({error.args[0]}): give the URL of the tables' "
            "owner."
        ) from None
    finally:
        await connection.close()


async def fetch_applied(connection: "Connection") -> list[AppliedMigration]:
    """What has been applied to a database, in order."""
    if not await connection.fetchval(_queries.has_migrations_table):
        return []
    return [AppliedMigration(*row) for row in await connection.fetch(_queries.fetch_migrations)]


async def has_demo(owner_database_url: str) -> bool:
    """Whether the demo organisation is in a database whose schema is up to date."""
    connection = await connect(owner_database_url, variable=OWNER_SOURCE)
    try:
        return bool(await connection.fetchval(_queries.has_demo))
    finally:
        await connection.close()


def application_password(settings: Settings) -> str | None:
    """The password that DATABASE_URL gives the application's role, in development; None leaves the role
    alone.

    In production the operator sets it: a program that is given a URL should not change what the URL says.
    """
    parts = urlsplit(settings.database_url)
    if settings.production or parts.username != APPLICATION_ROLE or not parts.password:
        return None
    return unquote(parts.password)


async def run(settings: Settings, *, dry_run: bool, progress: Progress) -> None:
    """The command: say what is applied, or that nothing is to be done."""
    url = settings.owner_database_url
    done = await migrate(
        url, dry_run=dry_run, progress=progress, application_password=application_password(settings)
    )
    if not done:
        progress(f"{describe(url)} is up to date.")


async def _lock(connection: "Connection", progress: Progress) -> None:
    if await connection.fetchval(_queries.lock_migrations_nowait):
        return
    progress("waiting for another `branchline migrate` to finish …")
    try:
        await connection.execute(f"set lock_timeout = '{LOCK_SECONDS}s'")
        await connection.execute(_queries.lock_migrations)
        await connection.execute("reset lock_timeout")
    except asyncpg.LockNotAvailableError:
        raise StartupError(
            f"another `branchline migrate` has held the lock for {LOCK_SECONDS} s: end it, then try again."
        ) from None


async def _refuse_foreign(connection: "Connection") -> None:
    if await connection.fetchval(_queries.has_migrations_table):
        return
    tables = await connection.fetchval(_queries.count_foreign_tables)
    if tables:
        raise StartupError(
            f"the database has {tables} tables and no record of migrations, so it is not one of "
            f"Branchline's: give an empty database in {OWNER_VARIABLE}."
        )


async def _apply(connection: "Connection", migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                _queries.record_migration, migration.number, migration.name, migration.sha256
            )
    except asyncpg.InsufficientPrivilegeError:
        raise
    except asyncpg.PostgresError as error:
        raise StartupError(f"migration {migration} failed and was rolled back: {error.args[0]}") from None
