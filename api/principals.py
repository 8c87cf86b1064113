"""Who acts, read from the database for each request: a right that was taken away is gone with the next one.

Requests that come while a read is under way share the next read, which begins after they came. So nobody is answered by
a read that is older than their request, and a hundred requests at once cost one read or two.
"""

import asyncio

from core.cancellation import raise_if_cancelled
from core.database import Connection, Pool, fetch_principal, fetch_principal_and_head, fetch_principals
from core.principal import Principal
from core.tokens import Claims

AT_ONCE = 500
"""Principals in one read; more wait for the next."""

_Key = tuple[str, str, str]


class SessionEndedError(Exception):
    """The session, membership, person or organisation behind a token is no longer in force."""


class Principals:
    """Reads principals, many at once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[_Key, asyncio.Future[Principal | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def fetch(self, claims: Claims) -> Principal:
        """Who a token's claims stand for today. Raises SessionEndedError, and what the database raises."""
        key = (claims.organization_id, claims.user_id, claims.session_id)
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="read principals")
        # Shielded: others may wait for the same read when one of them goes away.
        principal = await asyncio.shield(future)
        if principal is None:
            raise SessionEndedError
        return principal

    async def close(self) -> None:
        """End the read under way."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while self._waiting:
                asked = list(self._waiting)[:AT_ONCE]
                await self._read_batch({key: self._waiting.pop(key) for key in asked})
        finally:
            self._reader = None
            for future in self._waiting.values():
                future.cancel()  # none, unless the process ends

    async def _read_batch(self, batch: dict[_Key, asyncio.Future[Principal | None]]) -> None:
        try:
            found = await fetch_principals(self._pool, list(batch))
            for future, principal in zip(batch.values(), found, strict=True):
                if not future.done():
                    future.set_result(principal)
        except Exception as error:  # noqa: BLE001 - the task's boundary: those who wait are told
            raise_if_cancelled()
            for future in batch.values():
                if not future.done():
                    future.set_exception(error)
        finally:
            for future in batch.values():
                future.cancel()  # those that have no answer, because the process ends


async def fetch_in(connection: Connection, claims: Claims) -> Principal:
    """Who the claims stand for, in a transaction that is scoped to their organisation already."""
    principal = await fetch_principal(connection, claims.organization_id, claims.user_id, claims.session_id)
    if principal is None:
        raise SessionEndedError
    return principal


async def fetch_with_head(connection: "Connection | Pool", claims: Claims) -> tuple[Principal, str, int]:
    """As `fetch_in`, with the epoch and the newest offset of the organisation's log; in a transaction or without."""
    found = await fetch_principal_and_head(
        connection, claims.organization_id, claims.user_id, claims.session_id
    )
    if found is None:
        raise SessionEndedError
    return found
