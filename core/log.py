"""Reads the change log: what came after a position, in order and without a gap (I1)."""

from typing import Any

import asyncpg
import orjson

from core.database import Connection
from core.protocol.change import LoggedChange
from core.queries import load

_queries = load("core", "log.sql")


class PositionTooOldError(Exception):
    """The log no longer holds what came after the position: its reader needs a snapshot."""

    def __init__(self, organization_id: str, after: int) -> None:
        super().__init__(
            f"the log of organisation {organization_id} no longer reaches back to offset {after}"
        )


async def fetch_head(connection: Connection, organization_id: str) -> tuple[str, int]:
    """The epoch and the organisation's newest offset; 0 if nothing was ever logged."""
    row = await connection.fetchrow(_queries.fetch_head, organization_id)
    assert row is not None
    return row["epoch"], row["head"]


async def fetch_rows(
    connection: Connection, organization_id: str, after: int, limit: int
) -> list[asyncpg.Record]:
    """Rows of the log with offsets after+1, after+2, …: at most `limit`, none if `after` is the head or beyond it.

    The JSON columns (record, previous, overwrote) are text, so that they can be passed on unread. Raises
    PositionTooOldError if the log was pruned beyond `after`.
    """
    rows = await connection.fetch(_queries.fetch_changes, organization_id, after, limit)
    for expected, row in enumerate(rows, after + 1):
        if row["log_offset"] != expected:
            raise PositionTooOldError(organization_id, after)
    if not rows:
        _, head = await fetch_head(connection, organization_id)
        if head > after:
            # Either a commit since the first statement, or the rows are gone.
            rows = await connection.fetch(_queries.fetch_changes, organization_id, after, limit)
            if not rows or rows[0]["log_offset"] != after + 1:
                raise PositionTooOldError(organization_id, after)
    return rows


async def fetch_changes(
    connection: Connection, organization_id: str, after: int, limit: int
) -> list[LoggedChange]:
    """The changes with offsets after+1, after+2, … as objects; as `fetch_rows` in all else."""
    return [to_change(row) for row in await fetch_rows(connection, organization_id, after, limit)]


def to_change(row: asyncpg.Record) -> LoggedChange:
    """Make a change of a row that `fetch_rows` gave; raises orjson.JSONDecodeError if its JSON cannot be read."""
    return LoggedChange(
        offset=row["log_offset"],
        collection=row["collection"],
        id=str(row["record_id"]),
        operation=row["operation"],
        version=row["version"],
        record=orjson.loads(row["record"]),
        changed=tuple(row["changed"]),
        previous=orjson.loads(row["previous"]),
        clock=row["clock"],
        actor=actor_of(row),
        mutation_id=str(row["mutation_id"]) if row["mutation_id"] else None,
        transaction=row["unit"],
        committed_at_ms=int(row["numbered_at"].timestamp() * 1000),
        overwrote=orjson.loads(row["overwrote"]) if row["overwrote"] else None,
        last_of_commit=row["last_of_commit"],
    )


def actor_of(row: asyncpg.Record) -> dict[str, Any] | None:
    """Who made the change: `{user_id, name, branch_id}`, the branch if they write to exactly one; None if unknown."""
    if row["actor_id"] is None:
        return None
    branches = row["actor_branches"]
    return {
        "user_id": str(row["actor_id"]),
        "name": row["actor_name"],
        "branch_id": str(branches[0]) if branches and len(branches) == 1 else None,
    }
