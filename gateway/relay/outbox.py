"""Reads what is new in the log, of all organisations at once, and keeps how far it was published.

Which commits are new is found exactly, and as cheaply beside a transaction that has been open for an hour as
without: every reading remembers the snapshot that it was made under, and the next one asks for the commits of
transactions that this snapshot could not see, those that began after it and those that were in progress. A commit
found in this way was invisible and is visible now; nothing is found twice or passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from core.queries import load
from gateway.relay.backlog import Commit, Part
from gateway.relay.held import HeldConnection

LOOK_SECONDS = 1.5
"""How long a look at the news may take. It takes a millisecond: one that does not answer is on a dead connection."""
READ_SECONDS = 5.0
"""How long any other reading may take; the largest one reads a round of changes."""
WRITE_SECONDS = 5.0
CLASSES_OF_DATA = ("21", "22", "54", "XX")
"""Classes of SQLSTATE that speak of what was read, not of the server or the connection."""
ROUND_BYTES = 8 * 1024 * 1024
"""Bytes, as PostgreSQL stores them, after which a round of changes is cut short."""
CHANGES_WITH_NEWS = 200
"""Changes that a look at the news may bring with the commits, in place of a reading of their own."""
COMMITS_AT_ONCE = 500
"""Commits of one organisation that are read at once when it is behind."""

_queries = load("gateway.relay")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a reading could see: transactions from `upper` on, and those `in_progress`, were invisible to it."""

    upper: int
    in_progress: tuple[int, ...]

    def could_see(self, transaction_id: int) -> bool:
        """Whether what this transaction did was visible, had it committed."""
        return transaction_id < self.upper and transaction_id not in self.in_progress


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot, the epoch under it and the database's time at it."""

    snapshot: Snapshot
    epoch: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an organisation stands in the database: its head, which transaction made it and when, what is published."""

    organization_id: UUID
    head: int
    head_transaction: int
    head_at: datetime | None
    published: int
    published_epoch: str | None


class Outbox:
    """The database as one shard's relay sees it. Its methods may raise OSError, TimeoutError or an asyncpg error."""

    def __init__(self, reader: HeldConnection, writer: HeldConnection, *, shard: int, holder: UUID) -> None:
        self._reader = reader
        self._writer = writer
        self._shard = shard
        self._holder = holder

    async def fetch_standing(self) -> tuple[Reading, list[Standing]]:
        """Every organisation that has a log: one snapshot of it all."""
        first, *rows = await self._read(_queries.fetch_standing, self._shard)
        standings = [
            Standing(
                row["organization_id"],
                row["head"] or 0,
                row["head_transaction"] or 0,
                row["head_at"],
                row["published"] or 0,
                row["published_epoch"],
            )
            for row in rows
        ]
        return _reading(first), standings

    async def fetch_news(self, since: Snapshot, changes: int = 0) -> tuple[Reading, list[Commit]]:
        """The commits that a reading under `since` could not see and that are visible now, in no order.

        The first of them come with their changes, `changes` of these at most.
        """
        first, *rows = await self._reader.fetch(
            _queries.fetch_news, since.upper, since.in_progress, changes, deadline_seconds=LOOK_SECONDS
        )
        return _reading(first), [_commit(row, row["changes"]) for row in rows]

    async def fetch_commits(self, after: Sequence[tuple[UUID, int]]) -> dict[UUID, list[Commit]]:
        """For each organisation the commits after its offset, in order, at most `COMMITS_AT_ONCE`."""
        organization_ids = [organization_id for organization_id, _ in after]
        offsets = [offset for _, offset in after]
        rows = await self._read(_queries.fetch_commits, organization_ids, offsets, COMMITS_AT_ONCE)
        found: dict[UUID, list[Commit]] = {organization_id: [] for organization_id in organization_ids}
        for row in rows:
            found[row["organization_id"]].append(_commit(row))
        return found

    async def fetch_parts(self, parts: Sequence[Part]) -> list[tuple[int, int, str]]:
        """The changes of `parts`: number of the part from 1, ordinal, JSON as in a publication; in order.

        Ends early where the changes would be more than about `ROUND_BYTES`; gives at least one if there is one.
        """
        rows = await self._read(
            _queries.fetch_parts,
            [part.commit.organization_id for part in parts],
            [part.commit.transaction_id for part in parts],
            [part.commit.logged_on for part in parts],
            [part.after for part in parts],
            [part.upto for part in parts],
            ROUND_BYTES,
        )
        return [(row["part"], row["ordinal"], row["change"]) for row in rows]

    async def move_positions(self, positions: Sequence[tuple[UUID, int]], *, term: int, epoch: str) -> bool:
        """Keep published offsets; false if this relay does not lead under `term` any more, and nothing was kept."""
        rows = await self._writer.fetch(
            _queries.move_positions,
            self._shard,
            self._holder,
            term,
            epoch,
            [organization_id for organization_id, _ in positions],
            [offset for _, offset in positions],
            deadline_seconds=WRITE_SECONDS,
        )
        return bool(rows[0]["leading"])

    async def renew_epoch(self, reason: str) -> str:
        """Begin another life of the log; gives its epoch."""
        rows = await self._writer.fetch(_queries.renew_epoch, reason, deadline_seconds=WRITE_SECONDS)
        epoch: str = rows[0]["epoch"]
        return epoch

    async def _read(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._reader.fetch(statement, *arguments, deadline_seconds=READ_SECONDS)


def _reading(row: Any) -> Reading:
    _, upper, in_progress = row["snapshot"]
    return Reading(Snapshot(upper, tuple(in_progress)), row["epoch"], row["at"])


def speaks_of_data(error: asyncpg.PostgresError) -> bool:
    """Whether an error is about what was read, not about the server or the connection."""
    state: str = getattr(error, "sqlstate", None) or ""
    return state.startswith(CLASSES_OF_DATA)


def _commit(row: Any, texts: list[str] | None = None) -> Commit:
    return Commit(
        row["organization_id"],
        row["transaction_id"],
        row["first_offset"],
        row["size"],
        row["logged_on"],
        row["numbered_at"],
        # Of a commit of another day, or one whose rows are gone, they are read apart, and missed there if they are.
        tuple(texts) if texts is not None and len(texts) == row["size"] else None,
    )
