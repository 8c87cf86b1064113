"""The relay: leads its shard whenever it is elected, and follows the election when it is not."""

import asyncio
import time
from collections.abc import Callable

import structlog

from core.cancellation import raise_if_cancelled
from gateway.relay import metrics
from gateway.relay.held import DATABASE_ERRORS
from gateway.relay.leadership import Leadership, LeadershipLostError
from gateway.relay.leading import Leading, State
from gateway.relay.outbox import Outbox
from gateway.relay.positions import Positions
from gateway.relay.publisher import PUBLISH_ERRORS, Publisher
from gateway.relay.wake import Wake

LAST_POSITIONS_SECONDS = 0.5
PING_SECONDS = 1.0

log = structlog.get_logger()


class Relay:
    """Relays one shard's changes while `leadership` says that it may. `run` does it until cancelled."""

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        leadership: Leadership,
        wake: Wake,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State()
        self._outbox = outbox
        self._publisher = publisher
        self._leadership = leadership
        self._wake = wake
        self._clock = clock

    async def run(self) -> None:
        """Lead whenever elected, until cancelled."""
        while True:
            term = await self._wait_elected()
            positions = Positions(self._outbox, term)
            leading = Leading(
                self._outbox,
                self._publisher,
                self._leadership,
                self._wake,
                positions,
                self.state,
                self._clock,
                term,
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch(term), name="watch of the lease")
                    tasks.create_task(positions.run(), name="positions")
                    tasks.create_task(leading.run(), name="leading")
            except* LeadershipLostError as lost:
                log.warning("relaying_stopped", term=term, error=str(lost.exceptions[0]))
                self._leadership.doubt(term)
            finally:
                metrics.leading.labels(self._leadership.shard).set(0)
                await self._keep_last(positions)

    async def _wait_elected(self) -> int:
        """Wait for the election; meanwhile know whether Redis could be reached."""
        elected = asyncio.ensure_future(self._leadership.wait_elected())
        try:
            while not elected.done():
                try:
                    await self._publisher.ping()
                    self.state.redis_error = None
                except PUBLISH_ERRORS as error:
                    raise_if_cancelled()
                    self.state.redis_error = repr(error)
                await asyncio.wait((elected,), timeout=PING_SECONDS)
            return elected.result()
        finally:
            elected.cancel()

    async def _watch(self, term: int) -> None:
        await self._leadership.wait_lost(term)
        raise LeadershipLostError(f"term {term} has ended")

    async def _keep_last(self, positions: Positions) -> None:
        # Only saves the next leader some repetition; without the lease it does nothing.
        try:
            async with asyncio.timeout(LAST_POSITIONS_SECONDS):
                await positions.flush()
        except (LeadershipLostError, *DATABASE_ERRORS) as error:
            log.info("last_positions_not_kept", error=repr(error))
