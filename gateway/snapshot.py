"""Pages of snapshots, read from PostgreSQL, each in a short transaction of its own.

A page that others are reading, or have just read, is shared if it was read no earlier than the position it is to be
sent with: its records may be newer than that position, never older.
"""

from collections import OrderedDict
from dataclasses import dataclass

import asyncpg
import orjson

from core.database import Connection, Pool
from core.protocol.view import View
from gateway.flight import Flights
from gateway.metrics import Metrics
from gateway.page import page_statement
from gateway.source import Source

PAGE_BYTES = 128 * 1024
KEPT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one collection, as JSON texts. `after` continues it, None where it was the collection's last."""

    records: list[str | bytes]
    after: str | None
    read_at: int
    cost_bytes: int


_Key = tuple[str, str, str, str, str | None]


class SnapshotReader:
    """Reads pages, from a replica as far as it has what a page is to show. Raises one of READ_ERRORS."""

    def __init__(
        self, pool: Pool, metrics: Metrics, *, page_records: int, replica: "Pool | None" = None
    ) -> None:
        self._source = Source(pool, replica)
        self._metrics = metrics
        self._page_records = page_records
        self._record_bytes: dict[str, int] = {}
        self._flights: Flights[tuple[_Key, int], Page] = Flights()
        self._pages: OrderedDict[_Key, Page] = OrderedDict()
        self._kept_bytes = 0

    async def fetch_page(
        self,
        view: View,
        collection: str,
        organization_id: str,
        epoch: str,
        *,
        after: str | None,
        at: int,
        now: int,
    ) -> Page:
        """Give the page after a record, as it was at offset `at` or later; `now` is the feed's position."""
        key = (organization_id, epoch, view.name, collection, after)
        kept = self._pages.get(key)
        if kept is not None and kept.read_at >= at:
            self._pages.move_to_end(key)
            return kept
        return await self._flights.join(
            (key, now), lambda: self._read(key, view, collection, organization_id, after, now)
        )

    async def _read(
        self, key: _Key, view: View, collection: str, organization_id: str, after: str | None, now: int
    ) -> Page:
        self._metrics.page_reads += 1
        limit = self._limit(collection)
        statement = page_statement(
            view, collection, organization_id, after=after, limit=limit, limit_bytes=PAGE_BYTES
        )

        async def read(connection: Connection) -> list[asyncpg.Record]:
            if statement.preparation:
                await connection.execute(statement.preparation)
            return await connection.fetch(statement.sql, *statement.parameters)

        rows = await self._source.read(organization_id, now, read)
        is_last = len(rows) < limit and (not rows or len(rows) == rows[0]["candidates"])
        if rows:
            self._record_bytes[collection] = sum(len(row["record"]) for row in rows) // len(rows)
        page = Page(
            records=_shown(view, collection, [row["record"] for row in rows]),
            after=None if is_last else rows[-1]["id"],
            read_at=now,
            cost_bytes=sum(len(row["record"]) for row in rows) + 500,
        )
        self._keep(key, page)
        return page

    def _limit(self, collection: str) -> int:
        """How many records to ask for: not many more than there is room for, by the size of those of the last page."""
        expected = PAGE_BYTES // self._record_bytes.get(collection, 1)
        return min(self._page_records, expected + expected // 4 + 1)

    def _keep(self, key: _Key, page: Page) -> None:
        old = self._pages.pop(key, None)
        if old is not None:
            self._kept_bytes -= old.cost_bytes
        self._pages[key] = page
        self._kept_bytes += page.cost_bytes
        while self._kept_bytes > KEPT_BYTES and len(self._pages) > 1:
            _, oldest = self._pages.popitem(last=False)
            self._kept_bytes -= oldest.cost_bytes


def _shown(view: View, collection: str, texts: list[str]) -> list[str | bytes]:
    """Take the fields away that the view does not show. Rows of one statement have the same fields, all of them."""
    if not texts or orjson.loads(texts[0]).keys() <= view.fields[collection]:
        return list(texts)
    return [orjson.dumps(view.strip(collection, orjson.loads(text))) for text in texts]
