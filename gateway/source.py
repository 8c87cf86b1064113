"""Where catch-up reads from: a replica as far as it has what is asked for, the primary otherwise."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from core.cancellation import raise_if_cancelled
from core.database import Connection, Pool, scoped
from core.queries import load

READ_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a read may raise when the database, or the way to it, has a problem."""

Result = TypeVar("Result")

_log = structlog.get_logger()
_queries = load("gateway")


class Source:
    """Reads one organisation's rows. A replica is never read beyond what it has."""

    def __init__(self, primary: Pool, replica: "Pool | None" = None) -> None:
        self._primary = primary
        self._replica = replica

    async def read(
        self, organization_id: str, at: int, read: Callable[[Connection], Awaitable[Result]]
    ) -> Result:
        """Give what `read` gives of a database that has the log up to offset `at`. Raises one of READ_ERRORS."""
        if self._replica is not None:
            try:
                async with scoped(self._replica, organization_id) as connection:
                    if await connection.fetchval(_queries.fetch_offset, organization_id) >= at:
                        return await read(connection)
            except READ_ERRORS as error:
                raise_if_cancelled()
                _log.warning("replica.unread", error=type(error).__name__)
        async with scoped(self._primary, organization_id) as connection:
            return await read(connection)
