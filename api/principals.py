"""Who acts, read from the database for each request: a right that was taken away is gone with the next one.

Requests that come while a read is under way share the next read of their organisation, which begins after
they came. So nobody is answered by a read that is older than their request, and a hundred requests at once
cost one read or two.
"""

import asyncio

from core.cancellation import raise_if_cancelled
from core.database import Connection, Pool, fetch_principal, scoped
from core.principal import Principal
from core.tokens import Claims

_Key = tuple[str, str, str]


class SessionEndedError(Exception):
    """The session, membership, person or organisation behind a token is no longer in force."""


class Principals:
    """Reads principals in shared transactions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, dict[_Key, asyncio.Future[Principal | None]]] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}

    async def fetch(self, claims: Claims) -> Principal:
        """Who a token's claims stand for today. Raises SessionEndedError, and what the database raises."""
        organization_id = claims.organization_id
        waiting = self._waiting.setdefault(organization_id, {})
        key = (organization_id, claims.user_id, claims.session_id)
        future = waiting.get(key)
        if future is None:
            future = waiting[key] = asyncio.get_running_loop().create_future()
        if organization_id not in self._readers:
            self._readers[organization_id] = asyncio.create_task(
                self._read(organization_id), name="read principals"
            )
        # Shielded: others may wait for the same read when one of them goes away.
        principal = await asyncio.shield(future)
        if principal is None:
            raise SessionEndedError
        return principal

    async def close(self) -> None:
        """End the reads under way."""
        tasks = list(self._readers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, organization_id: str) -> None:
        try:
            while batch := self._waiting.pop(organization_id, None):
                await self._read_batch(organization_id, batch)
        finally:
            del self._readers[organization_id]

    async def _read_batch(
        self, organization_id: str, batch: dict[_Key, asyncio.Future[Principal | None]]
    ) -> None:
        try:
            async with scoped(self._pool, organization_id) as connection:
                for (_, user_id, session_id), future in batch.items():
                    principal = await fetch_principal(connection, organization_id, user_id, session_id)
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
