"""The hot path: frames that were serialised once go to every connection that listens, in as few writes as can be.

What is posted in one turn of the event loop waits in its lanes until the turn is over, and leaves as one write a
connection: at once in an idle system, in ever larger batches in a busy one. No timer, and nobody is awaited.
"""

import asyncio
import time
from collections.abc import Sequence

from core.telemetry import deliveries_counter
from gateway.frame import text_frame
from gateway.hub import Lane, LiveView
from gateway.metrics import Metrics
from gateway.seat import Seat


class FanOut:
    """The lanes of all organisations of a gateway that have frames pending."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._dirty: list[Lane[Seat]] = []
        self._committed_at_ms: list[int] = []

    def post(self, live: LiveView[Seat], messages: Sequence[bytes], changes: int) -> None:
        """Have a view's messages, with `changes` changes in them, sent to its live subscribers."""
        frames = b"".join([text_frame(message) for message in messages])
        for lane in live.lanes:
            if not lane.pending:
                if not self._dirty:
                    self._loop.call_soon(self._flush)
                self._dirty.append(lane)
            lane.pending.append(frames)
            deliveries_counter.inc(changes * len(lane.members))

    def committed(self, committed_at_ms: int) -> None:
        """Measure the way of a change that was just posted, from its commit to the write."""
        # Where nothing waits to be written nobody was concerned, and the next write would be another change's.
        if self._dirty and len(self._committed_at_ms) < 100:
            self._committed_at_ms.append(committed_at_ms)

    def flush_lane(self, lane: Lane[Seat]) -> None:
        """Write what is pending in a lane now, because something else is to be sent behind it."""
        if not lane.pending:
            return
        data = lane.pending[0] if len(lane.pending) == 1 else b"".join(lane.pending)
        lane.pending.clear()
        # A write may find its reader too slow; that is noted, and acted on when the turn is over, so nobody leaves.
        for writer in lane.members.values():
            writer.write(data)
        self._metrics.sent_bytes += len(data) * len(lane.members)
        self._metrics.writes += len(lane.members)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for lane in dirty:
            self.flush_lane(lane)
        if self._committed_at_ms:
            now_ms = time.time() * 1000
            for committed_at_ms in self._committed_at_ms:
                self._metrics.written(now_ms - committed_at_ms)
            self._committed_at_ms.clear()
