"""The log, read from PostgreSQL: heads, what follows the feed, and ranges for those who come back.

Ranges are read in blocks that begin at multiples of `STRIDE`, so that ten thousand clients who are each a little
behind, every one at another offset, ask for the same few blocks; each is read once and kept for a while. Blocks are
twice as long as their stride, so that a short range lies within one of them, wherever it begins.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache

import orjson
import structlog

from core.database import Connection, Pool, scoped
from core.log import PositionTooOldError, fetch_changes, fetch_head
from core.protocol.change import LoggedChange
from core.protocol.publication import Publication, decode_publication, encode_publication
from gateway.flight import Flights
from gateway.metrics import Metrics
from gateway.source import READ_ERRORS, Source
from gateway.tail import Chunk

__all__ = ["READ_ERRORS", "LogReader", "changes_of", "chunk_of"]

BLOCK = 512
"""Changes that are read at once."""
STRIDE = BLOCK // 2
"""Changes from the beginning of a block to that of the next: who is no more behind than that asks for one block."""
KEPT_BYTES = 32 * 1024 * 1024
"""Bytes of blocks that are kept."""

_log = structlog.get_logger()


class LogReader:
    """Reads the log: what is new from the primary, what is known already from a replica if there is one.

    Methods raise one of READ_ERRORS.
    """

    def __init__(self, pool: Pool, metrics: Metrics, replica: "Pool | None" = None) -> None:
        self._pool = pool
        self._source = Source(pool, replica)
        self._metrics = metrics
        self._flights: Flights[tuple[str, str, int], Chunk | None] = Flights()
        self._blocks: OrderedDict[tuple[str, str, int], Chunk] = OrderedDict()
        self._kept_bytes = 0

    async def fetch_head(self, organization_id: str) -> tuple[str, int]:
        """Give epoch and head as they are after the call began."""
        async with scoped(self._pool, organization_id) as connection:
            return await fetch_head(connection, organization_id)

    async def fetch_after(self, organization_id: str, after: int) -> list[LoggedChange]:
        """Give the next changes after an offset, at most `BLOCK`, from the primary.

        Raises PositionTooOldError where they cannot be had: they were pruned, or one of them cannot be read.
        """
        async with scoped(self._pool, organization_id) as connection:
            return await self._fetch(connection, organization_id, after)

    async def fetch_chunk(self, organization_id: str, epoch: str, after: int) -> Chunk | None:
        """Give a chunk that holds the change after an offset, shared by all who ask; None if there is none.

        Raises PositionTooOldError.
        """
        number = after // STRIDE
        for overlapping in (number, number - 1):
            kept = self._blocks.get((organization_id, epoch, overlapping))
            if kept is not None and kept.first <= after + 1 <= kept.last:
                self._blocks.move_to_end((organization_id, epoch, overlapping))
                return kept
        key = (organization_id, epoch, number)
        try:
            chunk = await self._flights.join(key, lambda: self._read_block(key))
        except PositionTooOldError:
            # The block begins before the log does; the position itself may not.
            return await self._read(organization_id, after)
        if chunk is None or after < chunk.last:
            return chunk
        # The flight that was joined set out before this change was there.
        return await self._read(organization_id, after)

    async def _read_block(self, key: tuple[str, str, int]) -> Chunk | None:
        """Read and keep a block. It is kept before the flight has landed: who comes then does not set out again."""
        organization_id, _, number = key
        chunk = await self._read(organization_id, number * STRIDE)
        if chunk is not None:
            self._keep(key, chunk)
        return chunk

    async def _read(self, organization_id: str, after: int) -> Chunk | None:
        changes = await self._source.read(
            organization_id, after + 1, lambda connection: self._fetch(connection, organization_id, after)
        )
        return chunk_of(organization_id, changes) if changes else None

    async def _fetch(self, connection: Connection, organization_id: str, after: int) -> list[LoggedChange]:
        self._metrics.log_reads += 1
        try:
            return await fetch_changes(connection, organization_id, after, BLOCK)
        except orjson.JSONDecodeError as error:
            _log.error("log.unreadable", organization_id=organization_id, after=after)
            raise PositionTooOldError(organization_id, after) from error

    def _keep(self, key: tuple[str, str, int], chunk: Chunk) -> None:
        old = self._blocks.pop(key, None)
        if old is not None:
            self._kept_bytes -= old.cost_bytes
        self._blocks[key] = chunk
        self._kept_bytes += chunk.cost_bytes
        while self._kept_bytes > KEPT_BYTES and len(self._blocks) > 1:
            _, oldest = self._blocks.popitem(last=False)
            self._kept_bytes -= oldest.cost_bytes


def chunk_of(organization_id: str, changes: Sequence[LoggedChange]) -> Chunk:
    """Make a chunk of changes that were read from the log."""
    publication = Publication(
        shard=0,
        term=0,
        organization_id=organization_id,
        epoch="",
        from_offset=changes[0].offset - 1,
        to_offset=changes[-1].offset,
        page=0,
        more=False,
        published_at_ms=0,
        changes=tuple(changes),
    )
    return Chunk(changes[0].offset, changes[-1].offset, encode_publication(publication))


@lru_cache(maxsize=8)
def changes_of(chunk: Chunk) -> tuple[LoggedChange, ...]:
    """Give the changes of a chunk; the last few that were asked for are kept decoded."""
    changes = decode_publication(chunk.publication).changes
    return tuple(change for change in changes if chunk.first <= change.offset <= chunk.last)
