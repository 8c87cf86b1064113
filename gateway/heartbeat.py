"""Tells every socket, once in `heartbeat_ms`, how far it is complete.

One timer for all: the sockets take turns over the period, a slice of them in each tick, and those of an organisation
in the same slice share one frame. Nothing is said while a change that is committed now might not come here: silence
is how a client finds out.
"""

import asyncio
from collections.abc import Iterator

from core.protocol import downstream
from gateway.frame import text_frame
from gateway.intake import Intake
from gateway.options import Options
from gateway.organization import Organization
from gateway.seat import Seat

TICKS = 40


class Heartbeat:
    """Sends `head` messages from `start` to `stop`."""

    def __init__(self, intake: Intake, options: Options) -> None:
        self._intake = intake
        self._period_seconds = options.heartbeat_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._round: Iterator[Seat] = iter(())
        self._share = 0
        self._ticks = 0

    def start(self) -> None:
        """Begin to tick."""
        self._timer = self._loop.call_later(self._period_seconds / TICKS, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._period_seconds / TICKS, self._tick)
        if self._ticks % TICKS == 0:
            seats = [seat for each in self._intake.organizations.values() for seat in each.seats]
            self._round = iter(seats)
            self._share = -(-len(seats) // TICKS)
        self._ticks += 1
        frames: dict[Organization, bytes] = {}
        for _, seat in zip(range(self._share), self._round, strict=False):
            self._send(seat, frames)

    def _send(self, seat: Seat, frames: dict[Organization, bytes]) -> None:
        organization = seat.organization
        if organization is None or not seat.is_ready or not seat.is_up_to_date or not self._intake.is_fresh:
            return
        frame = frames.get(organization)
        if frame is None:
            feed = organization.feed
            # Not now: the moment up to which the log is known to be complete here.
            message = downstream.head(epoch=feed.epoch, offset=feed.position, at_ms=feed.complete_at_ms)
            frame = text_frame(message)
            frames[organization] = frame
        seat.send_frames(frame)
