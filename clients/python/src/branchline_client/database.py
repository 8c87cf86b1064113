"""A SQLite file and the one thread that it is used from; what comes together is committed together."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from branchline_client.errors import StoreError, StoreInUseError

Work = Callable[[sqlite3.Connection], Any]
T = TypeVar("T")

MEMORY = ":memory:"


class Database:
    """Runs work on a SQLite file, in the order in which it was asked for.

    Work that waits while a commit is under way shares the next one. If it fails, each part of it is tried alone, so
    that one that cannot be written fails nobody else's.
    """

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, path: Path | None, schema: Sequence[str], version: int, synchronous: Literal["FULL", "NORMAL"]
    ) -> "Database":
        """Open a file, or memory where `path` is None. Raises StoreInUseError, StoreError."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="branchline-store")
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, _open, path, schema, version, synchronous)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(connection, thread)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in a transaction; when this returns it is committed. Raises StoreError.

        A caller that goes away does not undo it.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._task is None:
            self._task = asyncio.create_task(self._commit_waiting(), name="branchline store")
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Commit what waits, and close the file."""
        while self._task is not None:
            await asyncio.shield(self._task)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                works = [work for work, _ in batch]
                outcomes = await loop.run_in_executor(self._thread, _commit, self._connection, works)
                for (_, future), outcome in zip(batch, outcomes, strict=True):
                    if future.cancelled():
                        continue
                    if isinstance(outcome, BaseException):
                        future.set_exception(outcome)
                        # Seen at once: whoever asked may have gone, and there is nobody else to tell.
                        future.exception()
                    else:
                        future.set_result(outcome)
        finally:
            self._task = None


def _open(path: Path | None, schema: Sequence[str], version: int, synchronous: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            MEMORY if path is None else path, isolation_level=None, check_same_thread=False, timeout=1.0
        )
        # Exclusive: two processes with one queue would both believe that it is theirs.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if path is not None:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            connection.close()
            raise StoreError(
                f"expected version {version} of {path}, got {found}: another version of this package made it"
            )
        connection.execute("BEGIN EXCLUSIVE")
        for statement in schema:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise StoreInUseError(f"{path} is used by another process") from error
        raise StoreError(f"{path} cannot be opened: {error}") from error
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    return connection


def _commit(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    try:
        return _transaction(connection, works)
    except sqlite3.Error:
        return [_alone(connection, work) for work in works]


def _alone(connection: sqlite3.Connection, work: Work) -> Any:
    try:
        return _transaction(connection, [work])[0]
    except sqlite3.Error as error:
        return StoreError(f"this device does not keep it: {error}")


def _transaction(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [work(connection) for work in works]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes
