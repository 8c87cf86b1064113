"""`branchline reset`: back to an empty schema; development only."""

import asyncio
import shutil
import sys
from collections.abc import Callable

import asyncpg

from cli.connections import connect, describe
from cli.home import Home
from cli.migrate import OWNER_SOURCE, OWNER_VARIABLE, application_password, migrate
from cli.placement import data_folders
from core.lifecycle import StartupError
from core.queries import load
from core.settings import Settings

LOCK_SECONDS = 10
_queries = load("cli")


def run(settings: Settings, *, progress: Callable[[str], None]) -> None:
    """Empty the database that the settings name; without one, remove the data of the home in which nothing
    runs.

    Asks first at a terminal. Raises StartupError in production or if somebody holds what has to go.
    """
    if settings.production:
        raise StartupError(
            "`reset` removes every record and is for development only: BRANCHLINE_ENV is production."
        )
    if settings.owner_database_url:
        _confirm(f"every record in {describe(settings.owner_database_url)}")
        asyncio.run(_empty(settings, progress))
    else:
        _remove_data(Home(settings.home), progress)


def _remove_data(home: Home, progress: Callable[[str], None]) -> None:
    folders = [folder for folder in data_folders(home) if folder.exists()]
    if not folders:
        progress(f"there is no database in {home.path}.")
        return
    with home.locked():
        _confirm(f"the database in {folders[0]}")
        for folder in folders:
            shutil.rmtree(folder)
            progress(f"removed {folder}; the next `branchline up` makes a new one.")


async def _empty(settings: Settings, progress: Callable[[str], None]) -> None:
    connection = await connect(settings.owner_database_url, variable=OWNER_SOURCE)
    try:
        # All at once, so that nobody sees a half of it. Running roles hold locks for milliseconds only.
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            await connection.execute(_queries.drop_generated)
            await connection.execute(_queries.drop_public)
            await connection.execute(_queries.create_public)
            await connection.execute(_queries.grant_public)
    except asyncpg.LockNotAvailableError:
        raise StartupError(
            f"somebody has held a table for {LOCK_SECONDS} s (an open transaction in psql?): end it, then "
            "try again."
        ) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupError(
            f"the user of {OWNER_VARIABLE} may not do this ({error.args[0]}): give the URL of the tables' "
            "owner."
        ) from None
    finally:
        await connection.close()
    await migrate(
        settings.owner_database_url, progress=progress, application_password=application_password(settings)
    )
    await _end_sessions(settings)
    progress("the database is empty; `branchline seed` adds the demo data.")


async def _end_sessions(settings: Settings) -> None:
    connection = await connect(settings.owner_database_url, variable=OWNER_SOURCE)
    try:
        await connection.fetchval(_queries.end_application_sessions)
    except asyncpg.InsufficientPrivilegeError:
        pass  # An owner may be no member of the application's role; its connections find out by themselves.
    finally:
        await connection.close()


def _confirm(what: str) -> None:
    if sys.stdin.isatty():
        answer = input(f"This removes {what}. Type “yes” to go on: ")
        if answer.strip().lower() != "yes":
            raise StartupError("nothing was removed.")
