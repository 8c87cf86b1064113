"""The deadlines of all connections, kept by one timer.

Deadlines of one kind are equally far away when they are set, so a queue for each kind is in order by
itself. A wheel visits every connection twice in `ping_seconds` and pings it each second time. Its slots are
visited one after the other, so that ten thousand pings never leave in one tick.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.connection import Connection, Stage
from gateway.options import Options

TICK_SECONDS = 0.25
RECOVERY_BYTES = 16 * 1024
"""What a slow socket must read in `drain_seconds` to be given as long again: a thin line is not a dead one.
"""


class Sweep:
    """One timer for the deadlines of every connection of a gateway.

    `unauthenticated` says whether an open connection still owes its first message; `too_late` and `too_slow`
    act on those that let a deadline pass. `visit` is called with each connection at each visit. A dead peer,
    one that answers no ping until the next, is aborted.
    """

    def __init__(
        self,
        options: Options,
        *,
        unauthenticated: Callable[[Connection], bool],
        too_late: Callable[[Connection], None],
        too_slow: Callable[[Connection], None],
        visit: Callable[[Connection], None],
    ) -> None:
        self._options = options
        self._unauthenticated = unauthenticated
        self._too_late = too_late
        self._too_slow = too_slow
        self._visit = visit
        self._loop = asyncio.get_running_loop()
        self._handshakes: deque[tuple[float, Connection]] = deque()
        self._first_messages: deque[tuple[float, Connection]] = deque()
        self._closes: deque[tuple[float, Connection]] = deque()
        self._slow: dict[Connection, tuple[float, int]] = {}
        self._slots: list[set[Connection]] = [
            set() for _ in range(max(2, round(options.ping_seconds / 2 / TICK_SECONDS)))
        ]
        self._hand = 0
        self._is_ping_turn = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tick."""
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def began(self, connection: Connection) -> None:
        """Give a new socket its time for the handshake."""
        self._handshakes.append((self._loop.time() + self._options.handshake_seconds, connection))

    def opened(self, connection: Connection) -> None:
        """Give an open connection its time for the first message, and a place on the wheel."""
        self._first_messages.append((self._loop.time() + self._options.authenticate_seconds, connection))
        # Behind the hand: the first visit is a whole turn away.
        self._slots[self._hand - 1].add(connection)

    def closing(self, connection: Connection) -> None:
        """Give the peer a moment to answer a close."""
        self._closes.append((self._loop.time() + self._options.close_seconds, connection))

    def slowed(self, connection: Connection) -> None:
        """Give a slow peer its time to read."""
        deadline = self._loop.time() + self._options.drain_seconds
        self._slow[connection] = (deadline, connection.unsent_bytes)

    def drained(self, connection: Connection) -> None:
        """Take the deadline of a slow peer away: it has read."""
        self._slow.pop(connection, None)

    @property
    def slow_count(self) -> int:
        """How many connections are slow at the moment."""
        return len(self._slow)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        now = self._loop.time()
        for _, connection in _due(self._handshakes, now):
            if connection.stage is Stage.HANDSHAKE:
                connection.abort()
        for _, connection in _due(self._first_messages, now):
            if connection.stage is Stage.OPEN and self._unauthenticated(connection):
                self._too_late(connection)
        for _, connection in _due(self._closes, now):
            if connection.stage is not Stage.CLOSED:
                connection.abort()
        self._judge_slow(now)
        self._turn()

    def _judge_slow(self, now: float) -> None:
        for connection, (deadline, most) in list(self._slow.items()):
            unsent = connection.unsent_bytes
            if connection.stage is not Stage.OPEN:
                del self._slow[connection]
            elif now < deadline:
                # What was pending when it became slow may have been added since.
                self._slow[connection] = (deadline, max(most, unsent))
            elif most - unsent >= RECOVERY_BYTES:
                self._slow[connection] = (now + self._options.drain_seconds, unsent)
            else:
                del self._slow[connection]
                self._too_slow(connection)

    def _turn(self) -> None:
        self._hand = (self._hand + 1) % len(self._slots)
        if self._hand == 0:
            self._is_ping_turn = not self._is_ping_turn
        slot = self._slots[self._hand]
        for connection in list(slot):
            if connection.stage is not Stage.OPEN:
                slot.discard(connection)
                continue
            self._visit(connection)
            # A slow one is not read from, so it cannot be heard; its deadline is that of the slow.
            if not self._is_ping_turn or connection.is_slow:
                continue
            if connection.heard:
                connection.ping()
            else:
                slot.discard(connection)
                connection.abort()


def _due(queue: deque[tuple[float, Connection]], now: float) -> list[tuple[float, Connection]]:
    due = []
    while queue and queue[0][0] <= now:
        due.append(queue.popleft())
    return due
