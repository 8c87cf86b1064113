"""Migrations: their sum is schema.sql, each is applied once, and a database that must not be touched is not."""

import asyncio
import contextlib
import difflib
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from cli import embedded_postgres
from cli.migrate import fetch_applied, migrate, migrations_folder, read_migrations
from core.lifecycle import StartupError
from core.queries import load
from tests.servers import APPLICATION, Database, Servers


@contextlib.contextmanager
def new_database(servers: Servers) -> Iterator[str]:
    """The owner's URL of an empty database."""
    name = f"empty_{secrets.token_hex(6)}"
    servers.psql(f"CREATE DATABASE {name}")
    try:
        yield servers.owner_url(name)
    finally:
        servers.psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty(servers: Servers) -> Iterator[str]:
    with new_database(servers) as url:
        yield url


def dump(servers: Servers, url: str) -> list[str]:
    """The schema as pg_dump writes it, without the table that notes migrations and without what differs by run."""
    program = str(servers.programs / "pg_dump")
    options = ["--schema-only", "--exclude-table=public.migrations", "--restrict-key=branchline"]
    finished = subprocess.run([program, *options, url], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def write_files(folder: Path, **files: str) -> Path:
    for name, sql in files.items():
        folder.joinpath(f"{name.replace('_', '-')[1:]}.sql").write_text(sql)
    return folder


async def test_the_sum_of_all_migrations_is_the_schema(
    servers: Servers, database: Database, empty: str
) -> None:
    said: list[str] = []
    done = await migrate(empty, progress=said.append)
    assert done == read_migrations(migrations_folder())
    assert said == [f"applying {migration}" for migration in done]
    difference = difflib.unified_diff(
        dump(servers, database.owner_url), dump(servers, empty), "schema.sql", "migrations", lineterm="", n=1
    )
    assert "\n".join(difference) == ""


async def test_what_was_applied_is_not_applied_again(empty: str) -> None:
    await migrate(empty, progress=lambda line: None)
    assert await migrate(empty, progress=lambda line: None) == []


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(empty: str) -> None:
    said: list[str] = []
    assert len(await migrate(empty, progress=said.append, dry_run=True)) == len(said) > 0
    assert said[0] == "would apply 0001-initial"
    connection = await asyncpg.connect(empty)
    assert await fetch_applied(connection) == []
    assert (
        await connection.fetchval("select count(*) from pg_class where relnamespace = 'public'::regnamespace")
        == 0
    )
    await connection.close()


async def test_two_at_a_time_apply_each_once(empty: str) -> None:
    said: list[str] = []
    both = await asyncio.gather(*(migrate(empty, progress=said.append) for _ in range(2)))
    assert sorted(map(len, both)) == [0, len(read_migrations(migrations_folder()))]
    assert "waiting for another `branchline migrate` to finish …" in said


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty: str, tmp_path: Path) -> None:
    folder = write_files(
        tmp_path, _0001_first="create table a ()", _0002_broken="create table b (); select 1/0;"
    )
    with pytest.raises(StartupError, match="0002-broken failed and was rolled back: division by zero"):
        await migrate(empty, progress=lambda line: None, folder=folder)
    connection = await asyncpg.connect(empty)
    assert [str(m.number) for m in await fetch_applied(connection)] == ["1"]
    assert await connection.fetchval("select to_regclass('a') is not null and to_regclass('b') is null")
    await connection.close()


async def test_a_database_of_somebody_else_is_left_alone(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("create table invoices ()")
    with pytest.raises(StartupError, match="1 tables and no record of migrations"):
        await migrate(empty, progress=lambda line: None)
    assert await connection.fetchval("select to_regclass('organizations')") is None
    await connection.close()


async def test_somebody_who_owns_nothing_is_told_to_give_the_owner_s_url(
    servers: Servers, empty: str
) -> None:
    name = urlsplit(empty).path[1:]
    login = embedded_postgres.database_url(servers.port, APPLICATION, servers.application_password, name)
    with pytest.raises(StartupError, match=r"may not do this .*: give the URL of the tables' owner"):
        await migrate(login, progress=lambda line: None)


async def test_every_statement_of_the_command_line_is_understood(empty: str) -> None:
    """A statement with a slip in it is found here, and not by whoever runs the command."""
    await migrate(empty, progress=lambda line: None)
    connection = await asyncpg.connect(empty)
    for file in ("queries.sql", "doctor.sql"):
        for sql in vars(load("cli", file)).values():
            await connection.prepare(sql)
    await connection.close()
