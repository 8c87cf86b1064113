"""The catalogue of collections, read from the database and followed while it changes."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from core.cancellation import raise_if_cancelled
from core.database import Connection, Pool
from core.protocol.collection import Catalogue, Collection, Field

__all__ = ["Catalogue", "CatalogueWatcher", "Collection", "Field", "fetch_catalogue", "parse_catalogue"]

POLL_SECONDS = 2.0

_log = structlog.get_logger()


def parse_catalogue(version: str, text: str) -> Catalogue:
    """Make a catalogue of what the database's function `catalogue()` gives as JSON text."""
    collections = {}
    for item in orjson.loads(text):
        fields = {f["name"]: _field(f) for f in item["fields"]}
        collections[item["name"]] = Collection(
            name=item["name"],
            description=item["description"],
            fields=fields,
            readable_by=_roles(item["readable_by"]),
            writable_by=_roles(item["writable_by"]),
            history=item["history"],
        )
    return Catalogue(version=version, collections=collections)


def _roles(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _field(item: dict[str, Any]) -> Field:
    return Field(
        **{
            **item,
            "enum_values": tuple(item["enum_values"] or ()),
            "readable_by": _roles(item["readable_by"]),
        }
    )


_FETCH = "SELECT md5(c::text) AS version, c::text AS text FROM catalogue() c"
_FETCH_VERSION = "SELECT catalogue_version()"


async def fetch_catalogue(connection: Connection) -> Catalogue:
    """Read the catalogue; it is the same for every organisation."""
    row = await connection.fetchrow(_FETCH)
    assert row is not None
    return parse_catalogue(row["version"], row["text"])


class CatalogueWatcher:
    """Keeps a catalogue current: `await start()` first, then `run()` as a task.

    A table that is tracked in psql on a running system is seen within POLL_SECONDS. `on_change` is called with the new
    catalogue after `current` has it.
    """

    def __init__(self, pool: Pool, on_change: Callable[[Catalogue], None] | None = None) -> None:
        self._pool = pool
        self._on_change = on_change
        self.current = Catalogue(version="", collections={})
        self._rows_version = ""
        self.read_at: float | None = None

    async def start(self) -> None:
        """Read the catalogue for the first time; raises what the database raises."""
        await self._refresh()

    async def run(self) -> None:
        """Poll until cancelled. A database that cannot be reached leaves the last catalogue in force."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._refresh()
            except Exception as error:  # noqa: BLE001 - the task's boundary: the next poll tries again
                raise_if_cancelled()
                _log.warning("catalogue.unread", error=repr(error))

    async def _refresh(self) -> None:
        async with self._pool.acquire() as connection:
            # Before the catalogue: a change between the two is seen by the next poll once more.
            rows_version = await connection.fetchval(_FETCH_VERSION)
            if rows_version == self._rows_version:
                self.read_at = asyncio.get_running_loop().time()
                return
            row = await connection.fetchrow(_FETCH)
        assert row is not None
        self._rows_version = rows_version
        self.read_at = asyncio.get_running_loop().time()
        if row["version"] != self.current.version:
            self.current = parse_catalogue(row["version"], row["text"])
            if self._on_change is not None:
                self._on_change(self.current)
