"""What is known of the records that one organisation's announcements are about: enough to say who may see them.

Each record is read from PostgreSQL once, when somebody first announces something about it, and then kept up to date by
the changes that the feed brings, for as long as it is held. The feed is listened to before the record is read, and the
greater version counts, so nothing slips between the two (I4).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from core.cancellation import raise_if_cancelled
from core.protocol.change import LoggedChange, Record
from gateway.jobs import Jobs
from gateway.log_reader import READ_ERRORS
from gateway.roster import Key

RETRY_SECONDS = 0.5
RECORDS_AT_ONCE = 200

_log = structlog.get_logger()


class ReadsRecords(Protocol):
    """Reads records by their ids."""

    async def fetch(
        self, organization_id: str, collection: str, record_ids: Sequence[str]
    ) -> dict[str, Record]:
        """Give those that there are, by id, with no more than `trim` leaves. Raises one of READ_ERRORS."""

    def trim(self, collection: str, record: Record) -> Record:
        """Leave of a record what says in which views it is."""


@dataclass(slots=True)
class _Cell:
    holders: int = 0
    is_known: bool = False
    version: int = -1
    record: Record | None = None


class Records:
    """Cells, one a record that is held.

    `on_known(keys)` is called when it has become known, or has changed, where these records are; `on_failed(keys)`
    when reading them failed: it is tried again as long as they are held.
    """

    def __init__(
        self,
        organization_id: str,
        reader: ReadsRecords,
        jobs: Jobs,
        *,
        on_known: Callable[[Sequence[Key]], None],
        on_failed: Callable[[Sequence[Key]], None],
    ) -> None:
        self._organization_id = organization_id
        self._reader = reader
        self._jobs = jobs
        self._on_known = on_known
        self._on_failed = on_failed
        self._cells: dict[Key, _Cell] = {}
        self._wanted: dict[Key, None] = {}
        self._is_reading = False

    def __len__(self) -> int:
        return len(self._cells)

    def hold(self, key: Key) -> None:
        """Keep a record known until it is let go as often as it was held; read it if it is not known."""
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
            self._want([key])
        cell.holders += 1

    def let_go(self, key: Key) -> None:
        """Hold a record once less."""
        cell = self._cells[key]
        cell.holders -= 1
        if not cell.holders:
            del self._cells[key]
            self._wanted.pop(key, None)

    def is_known(self, key: Key) -> bool:
        """Whether it is known where a record is, or that it is gone."""
        cell = self._cells.get(key)
        return cell is not None and cell.is_known

    def get(self, key: Key) -> Record | None:
        """Give what is known of a record; None if it is gone or not known."""
        cell = self._cells.get(key)
        return None if cell is None else cell.record

    def changed(self, changes: Iterable[LoggedChange]) -> None:
        """Take changes from the feed."""
        if not self._cells:
            return
        touched: dict[Key, None] = {}
        for change in changes:
            key = change.collection, change.id
            cell = self._cells.get(key)
            if cell is None or change.version < cell.version:
                continue
            cell.version = change.version
            cell.is_known = True
            is_gone = change.operation == "delete"
            cell.record = None if is_gone else self._reader.trim(change.collection, change.record)
            touched[key] = None
        if touched:
            self._on_known(list(touched))

    def doubt(self) -> None:
        """Know nothing for certain any longer: the log is another one, or records have other fields."""
        # New cells, so that what is being read of the old ones does not count.
        self._cells = {key: _Cell(holders=cell.holders) for key, cell in self._cells.items()}
        self._want(self._cells)
        self._on_known(list(self._cells))

    def _want(self, keys: Iterable[Key]) -> None:
        self._wanted.update(dict.fromkeys(keys))
        if self._wanted and not self._is_reading:
            self._is_reading = True
            self._jobs.start(self._read(), "read records")

    async def _read(self) -> None:
        try:
            while self._wanted:
                keys = list(self._wanted)[:RECORDS_AT_ONCE]
                for key in keys:
                    del self._wanted[key]
                try:
                    await self._read_some(keys)
                except READ_ERRORS as error:
                    raise_if_cancelled()
                    _log.warning("records.unread", error=type(error).__name__)
                    self._on_failed(keys)
                    await asyncio.sleep(RETRY_SECONDS)
                    self._wanted.update(dict.fromkeys(key for key in keys if key in self._cells))
        finally:
            self._is_reading = False

    async def _read_some(self, keys: Sequence[Key]) -> None:
        by_collection: dict[str, list[str]] = {}
        before = {key: self._cells[key] for key in keys}
        for collection, record_id in keys:
            by_collection.setdefault(collection, []).append(record_id)
        for collection, record_ids in by_collection.items():
            found = await self._reader.fetch(self._organization_id, collection, record_ids)
            known = []
            for record_id in record_ids:
                key = collection, record_id
                cell = self._cells.get(key)
                # A cell that was let go and held again meanwhile is read again, in its turn.
                if cell is not None and cell is before[key]:
                    self._fill(cell, found.get(record_id))
                    known.append(key)
            self._on_known(known)

    def _fill(self, cell: _Cell, record: Record | None) -> None:
        if record is None:
            # The feed may know better: the record may have been made since.
            cell.is_known = True
        elif record["version"] > cell.version:
            cell.is_known, cell.version, cell.record = True, record["version"], record
