"""How a gateway leaves: it says so, and closes its sockets one after the other, so that nobody meets a crowd."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection

import structlog

from core.protocol import downstream
from core.protocol.codes import CloseCode
from gateway.options import Options
from gateway.seat import Seat

FEW = 20
"""Sockets that may be closed all at once."""
FEW_MS = 500
TICK_SECONDS = 0.05
GRACE_SECONDS = 3.0

_log = structlog.get_logger()


async def leave(seats: Collection[Seat], options: Options, wait_empty: Callable[[], Awaitable[None]]) -> None:
    """Send `goaway` to all, close them with 1012 over `goaway_spread_seconds`, and wait until they are gone.

    `seats` is the gateway's own collection, which shrinks as they leave; `wait_empty` waits for the last socket to
    be gone. Sockets that do not go are aborted.
    """
    leaving = list(seats)
    random.shuffle(leaving)
    spread_seconds = options.goaway_spread_seconds if len(leaving) > FEW else 0.0
    spread_ms = max(FEW_MS, int(1000 * spread_seconds))
    _log.info("gateway.leaving", connections=len(leaving), spread_seconds=spread_seconds)
    for seat in leaving:
        # Each its own delay: full jitter over the time that the closes take.
        seat.send(downstream.goaway(reconnect_after_ms=random.randrange(spread_ms)))
    ticks = max(1, round(spread_seconds / TICK_SECONDS))
    for tick in range(ticks):
        for seat in leaving[tick::ticks]:
            seat.connection.close(CloseCode.SERVICE_RESTART, "this gateway is leaving")
        if spread_seconds:
            await asyncio.sleep(TICK_SECONDS)
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            await wait_empty()
    except TimeoutError:
        for seat in leaving:
            if not seat.connection.is_gone:
                seat.connection.abort()
