"""A connection that the relay keeps, and that never makes it wait.

A pool hands out whichever connection is free and, when one is given back in the middle of a statement, waits for the
server to end it. The relay keeps a connection for each purpose instead, and waits for no answer beyond a deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from core.transport import closed_transports_are_errors

DATABASE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # asyncpg's own word for a connection that ended while a statement was being begun.
    asyncpg.InternalClientError,
)
"""What a statement raises when the server, the way to it or the connection fails."""


class HeldConnection:
    """One connection that `connect` opens, kept from the first statement to the last; one statement at a time.

    A statement that is late or whose connection breaks costs the connection: it is cut, without waiting, and the
    next statement opens another. The error is the caller's to treat. An error of the statement itself does not.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def fetch(
        self, statement: str, *arguments: object, deadline_seconds: float
    ) -> list[asyncpg.Record]:
        """Run one statement and give its rows.

        Raises TimeoutError after `deadline_seconds` (the wait for an earlier statement included), OSError or an
        asyncpg error.
        """
        rows: list[asyncpg.Record] = await self._within(
            deadline_seconds, lambda connection: connection.fetch(statement, *arguments)
        )
        return rows

    async def execute(self, script: str, *, deadline_seconds: float) -> None:
        """Run statements without arguments by the simple protocol, which a pooler understands as well.

        Raises what `fetch` raises.
        """
        await self._within(deadline_seconds, lambda connection: connection.execute(script))

    async def _within(self, deadline_seconds: float, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(deadline_seconds), self._turn:
            try:
                with closed_transports_are_errors():
                    return await self._work(work)
            except asyncpg.PostgresError:
                raise
            except BaseException:
                self.cut()
                raise

    async def _work(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return await work(self._connection)

    def cut(self) -> None:
        """End the connection at once, whatever it is doing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
