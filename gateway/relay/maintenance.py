"""Keeps the log's partitions: days ahead are made before they are needed, days past retention become history.

The relay that leads does it, over a connection of the tables' owner, because nobody else may. No step makes a writer
wait: whatever does not get its lock within `LOCK_TIMEOUT` is tried again. Every step can be broken off at any moment;
the next pass goes on from what it finds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog

from core.cancellation import raise_if_cancelled
from core.queries import load
from core.transport import closed_transports_are_errors
from gateway.relay import metrics
from gateway.relay.held import DATABASE_ERRORS

LOCK_TIMEOUT = "200ms"
STATEMENT_SECONDS = 600.0
DAYS_AHEAD = 7
RETENTION_DAYS = 7
MUTATION_DAYS = 90
"""How long the answer to a mutation is kept, so that a repeat is known. The API refuses what is older."""
OVERWRITTEN_DAYS = 90
PASS_SECONDS = 3600.0
RETRY_SECONDS = 5.0
RETRY_AT_MOST_SECONDS = 300.0

log = structlog.get_logger()
_queries = load("gateway.relay", "maintenance.sql")

Connect = Callable[[], Awaitable[Any]]
"""Opens a connection of asyncpg as the owner of the tables."""


def today() -> date:
    """The day that the log is at, in UTC."""
    return datetime.now(UTC).date()


class Maintenance:
    """Passes over the partitions. `error` says why the last one did not end well, None if it did."""

    def __init__(
        self, connect: Connect, *, may_prune: Callable[[], bool], day: Callable[[], date] = today
    ) -> None:
        self.error: str | None = None
        self.last_pass: datetime | None = None
        self._connect = connect
        self._may_prune = may_prune
        self._day = day

    async def run(self, wait_leading: Callable[[], Awaitable[object]]) -> None:
        """Make a pass every hour, whenever `wait_leading` lets through, until cancelled."""
        pause = RETRY_SECONDS
        while True:
            await wait_leading()
            try:
                with closed_transports_are_errors():
                    await self.make_pass()
            except DATABASE_ERRORS as error:
                raise_if_cancelled()
                self.error = repr(error)
                log.warning("maintenance_broken_off", error=self.error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_AT_MOST_SECONDS)
            else:
                self.error, self.last_pass = None, datetime.now(UTC)
                pause = RETRY_SECONDS
                await asyncio.sleep(PASS_SECONDS)

    async def make_pass(self) -> None:
        """Do what there is to do. Raises OSError, TimeoutError or an asyncpg error; a next pass goes on."""
        connection = await self._connect()
        try:
            await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
            made = await connection.fetchval(_queries.ensure_log_partitions, DAYS_AHEAD)
            metrics.partitions.labels("log").inc(made)
            made = await connection.fetchval(_queries.ensure_activity_partitions)
            metrics.partitions.labels("activity").inc(made)
            await self._until_none(connection, _queries.prune_mutations, MUTATION_DAYS)
            await self._until_none(connection, _queries.prune_overwritten, OVERWRITTEN_DAYS)
            if self._may_prune():
                await self._retire(connection, self._day() - timedelta(days=RETENTION_DAYS))
        finally:
            connection.terminate()

    async def _retire(self, connection: Any, before: date) -> None:
        """Move the days of the log before `before` to the history."""
        await self._until_none(connection, _queries.prune_commits, before)
        for row in await connection.fetch(_queries.fetch_past_partitions, before):
            name, day = row["name"], row["day"]
            if row["attached"]:
                await self._write_and_run(connection, _queries.write_detach, name, row["pending"])
            await self._write_and_run(connection, _queries.write_forget, name)
            await self._write_and_run(connection, _queries.write_attach, name, day)
            metrics.partitions.labels("history").inc()
            log.info("day_moved_to_history", day=day.isoformat())

    async def _write_and_run(self, connection: Any, statement: str, *arguments: object) -> None:
        # DDL takes no parameters, so the database writes the statement, with its own quoting.
        ddl = await connection.fetchval(statement, *arguments)
        await connection.execute(ddl, timeout=STATEMENT_SECONDS)

    async def _until_none(self, connection: Any, statement: str, limit: date | int) -> None:
        pruned = 1
        while pruned:
            pruned = await connection.fetchval(statement, limit, timeout=STATEMENT_SECONDS)
