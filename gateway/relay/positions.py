"""Keeps, in the database, how far was published: behind the publishing, never ahead of it.

A relay that begins goes on from the kept position, not from the head, so nothing is passed over. What was published
and not kept yet is published again, and readers drop what they have.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog

from core.cancellation import raise_if_cancelled
from gateway.relay.held import DATABASE_ERRORS
from gateway.relay.leadership import LeadershipLostError

PAUSE_SECONDS = 0.2
"""Between two writes, so that a relay keeps the positions of many publications with one statement."""
RETRY_SECONDS = 0.25

log = structlog.get_logger()


class PositionStore(Protocol):
    """Where positions are kept: the outbox."""

    async def move_positions(self, positions: Sequence[tuple[UUID, int]], *, term: int, epoch: str) -> bool:
        """Keep published offsets; false if another relay leads. May raise OSError, TimeoutError or an asyncpg error."""


class Positions:
    """Published offsets that are not kept yet, of one leadership. `run` keeps them until cancelled."""

    def __init__(self, store: PositionStore, term: int) -> None:
        self._store = store
        self._term = term
        self._epoch = ""
        self._offsets: dict[UUID, int] = {}
        self._some = asyncio.Event()

    def begin(self, epoch: str) -> None:
        """Go on in this epoch; offsets of another mean nothing any more."""
        if epoch != self._epoch:
            self._epoch, self._offsets = epoch, {}

    def moved(self, organization_id: UUID, offset: int) -> None:
        """Everything of the organisation up to `offset` has been published."""
        self._offsets[organization_id] = offset
        self._some.set()

    async def run(self) -> None:
        """Keep what has moved, soon after it has. Raises LeadershipLostError when another relay leads."""
        while True:
            await self._some.wait()
            pause = PAUSE_SECONDS
            try:
                await self.flush()
            except DATABASE_ERRORS as error:
                raise_if_cancelled()
                log.warning("positions_not_kept", error=repr(error))
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def flush(self) -> None:
        """Keep what has moved until now. Raises LeadershipLostError, OSError, TimeoutError or an asyncpg error."""
        self._some.clear()
        if not self._offsets:
            return
        epoch, offsets = self._epoch, dict(self._offsets)
        try:
            leads = await self._store.move_positions(sorted(offsets.items()), term=self._term, epoch=epoch)
        except BaseException:
            self._some.set()
            raise
        if not leads:
            raise LeadershipLostError(f"the lease of term {self._term} is another relay's")
        if epoch == self._epoch:
            self._offsets = {key: now for key, now in self._offsets.items() if offsets.get(key) != now}
