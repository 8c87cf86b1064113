"""Copies of what the server has, with the positions that they are of. May be deleted at any time."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from branchline_client.change import Record
from branchline_client.database import Database
from branchline_client.errors import StoreError, StoreInUseError
from branchline_client.position import Position
from branchline_client.statements import load
from branchline_client.store import make_private

FILE = "cache.sqlite3"
VERSION = 1
UNUSED_DAYS = 30
"""A topic that was not opened for so long is deleted."""

_DAY_MS = 86_400_000
_SQL = load("cache.sql")
_SCHEMA = (_SQL["create_topics"], _SQL["create_records"])


@dataclass(slots=True)
class TopicChanges:
    """What is to be written of one topic: all of it anew, or records that changed (None for those that went)."""

    collection: str
    position: Position
    is_whole: bool = False
    records: dict[str, Record | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CachedTopic:
    """A topic as it was when this client last knew."""

    position: Position
    records: Sequence[Record]


class Cache:
    """Reads and writes copies of topics; each write takes the records and their position together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, folder: Path | None, now_ms: int) -> "Cache":
        """Open a folder's cache; a damaged one, or one of another version, is thrown away. Raises StoreError."""
        path = None if folder is None else make_private(folder, FILE)
        try:
            database = await Database.open(path, _SCHEMA, VERSION, "NORMAL")
        except StoreInUseError:
            raise
        except StoreError:
            if path is None:
                raise
            for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
                (path.parent / name).unlink(missing_ok=True)
            database = await Database.open(path, _SCHEMA, VERSION, "NORMAL")
        cache = cls(database)
        await cache._delete_unused(now_ms - UNUSED_DAYS * _DAY_MS)
        return cache

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def fetch(self, topic: str) -> CachedTopic | None:
        """Give what is kept of a topic."""

        def work(connection: sqlite3.Connection) -> CachedTopic | None:
            row = connection.execute(_SQL["get_topic"], (topic,)).fetchone()
            if row is None:
                return None
            texts = connection.execute(_SQL["get_records"], (topic,)).fetchall()
            return CachedTopic(Position(*row), [orjson.loads(text) for (text,) in texts])

        return await self._database.run(work)

    async def fetch_positions(self) -> dict[str, tuple[str, str, int]]:
        """Give collection, epoch and offset of every topic that is kept."""

        def work(connection: sqlite3.Connection) -> dict[str, tuple[str, str, int]]:
            rows = connection.execute(_SQL["get_topics"]).fetchall()
            return {topic: (collection, epoch, offset) for topic, collection, epoch, offset in rows}

        return await self._database.run(work)

    async def write(self, topics: Mapping[str, TopicChanges], now_ms: int) -> None:
        """Write what changed of some topics, in one commit. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            for topic, changes in topics.items():
                if changes.is_whole:
                    connection.execute(_SQL["delete_records"], (topic,))
                put = [
                    (topic, record_id, orjson.dumps(record).decode())
                    for record_id, record in changes.records.items()
                    if record is not None
                ]
                gone = [(topic, record_id) for record_id, record in changes.records.items() if record is None]
                connection.executemany(_SQL["put_record"], put)
                connection.executemany(_SQL["delete_record"], gone)
                at = changes.position
                row = (topic, changes.collection, at.epoch, at.offset, at.view, now_ms)
                connection.execute(_SQL["put_topic"], row)

        await self._database.run(work)

    async def delete(self, topics: Sequence[str]) -> None:
        """Forget topics."""

        def work(connection: sqlite3.Connection) -> None:
            _delete(connection, topics)

        await self._database.run(work)

    async def _delete_unused(self, before_ms: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            rows = connection.execute(_SQL["get_unused_topics"], (before_ms,)).fetchall()
            _delete(connection, [topic for (topic,) in rows])

        await self._database.run(work)


def _delete(connection: sqlite3.Connection, topics: Sequence[str]) -> None:
    for topic in topics:
        connection.execute(_SQL["delete_records"], (topic,))
        connection.execute(_SQL["delete_topic"], (topic,))
