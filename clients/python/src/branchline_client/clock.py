"""PURE. The hybrid logical clock: a time that sorts, never goes back, and moves past what it has seen.

After S. Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases" (2014). A
clock is the text `<unix ms, 13 digits>-<counter, 4 hex>-<client id>`; compared as text it is compared by time, then by
counter, then by client. Held to `tests/vectors/clock.json`, as the server's is.

The client keeps to the server's time: `offset_ms` is what has to be added to this device's clock, learned from every
answer that names the server's time. So the clocks of one device stay comparable with each other and with those that
it receives, whether its own clock is right or an hour off.
"""

import re
from dataclasses import dataclass, replace

LATEST_MS = 9_999_999_999_999
STEADY_MS = 100
"""A difference to the server's time below this, and below the way there and back, is taken for the way's."""
DATE_MS = 5_000
"""How far off the `Date` of an HTTP answer may be: it is to the second, and servers write it a while before."""

_CLOCK = re.compile(r"\d{13}-[0-9a-f]{4}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ClockError(ValueError):
    """The text is not a clock."""

    def __init__(self, text: str) -> None:
        super().__init__(f"expected a clock <13 digits>-<4 hex digits>-<lower-case UUID>, not {text[:80]!r}")


@dataclass(frozen=True, slots=True, order=True)
class Clock:
    """A moment: milliseconds, then a counter within them (0 to 65,535), then who set it."""

    ms: int
    counter: int
    client_id: str

    def __str__(self) -> str:
        return f"{self.ms:013d}-{self.counter:04x}-{self.client_id}"


def parse_clock(text: str) -> Clock:
    """Read a clock; raises ClockError."""
    if not _CLOCK.fullmatch(text):
        raise ClockError(text)
    return Clock(int(text[:13]), int(text[14:18], 16), text[19:])


def tick(last: Clock | None, now_ms: int, client_id: str) -> Clock:
    """The next clock of `client_id`: after `last`, the greatest that it has set or seen, and not before `now_ms`."""
    if last is None or last.ms < now_ms:
        return Clock(now_ms, 0, client_id)
    if last.counter == 0xFFFF:
        return Clock(last.ms + 1, 0, client_id)
    return Clock(last.ms, last.counter + 1, client_id)


def after(first: str, second: str) -> str:
    """Give `second`, or the next clock of its client after `first` if it is not later than that."""
    before, own = parse_clock(first), parse_clock(second)
    if (own.ms, own.counter) > (before.ms, before.counter):
        return second
    return str(tick(before, own.ms, own.client_id))


def shift(clock: str, by_ms: int) -> str:
    """Give a clock moved by a number of milliseconds: all of one device moved alike keep their order."""
    moved = parse_clock(clock)
    return str(replace(moved, ms=min(max(moved.ms + by_ms, 0), LATEST_MS)))


@dataclass(frozen=True, slots=True)
class ClientClock:
    """One client's clock: the last that it has set, the greatest that it has seen, and its difference to the
    server's time.
    """

    client_id: str
    last: Clock | None = None
    seen: Clock | None = None
    offset_ms: int = 0

    def now_ms(self, device_ms: int) -> int:
        """Give the time by the server's clock, as far as it is known."""
        return device_ms + self.offset_ms

    def tick(self, device_ms: int) -> "tuple[ClientClock, str]":
        """Give the clock after a write, and the write's stamp: later than all that was set or seen."""
        before = [each for each in (self.last, self.seen) if each is not None]
        greatest = max(before, key=lambda clock: (clock.ms, clock.counter), default=None)
        stamp = tick(greatest, self.now_ms(device_ms), self.client_id)
        return replace(self, last=stamp), str(stamp)

    def see(self, text: str) -> "ClientClock":
        """Move past a clock that was received; raises ClockError."""
        clock = parse_clock(text)
        if self.seen is not None and (clock.ms, clock.counter) <= (self.seen.ms, self.seen.counter):
            return self
        return replace(self, seen=clock)

    def see_server_time(
        self, server_ms: int, device_ms: int, uncertain_ms: int = 0
    ) -> "tuple[ClientClock, int]":
        """Learn the server's time as it was when `device_ms` was read; give the clock, and by how much it moved.

        What was stamped before and not sent yet has to be moved by as much (`shift`), or this device's own
        order would be lost: see `clients/CONTRACT.md`, "Time". What was seen is the server's, and stays.
        """
        offset = server_ms - device_ms
        moved = offset - self.offset_ms
        if abs(moved) <= max(STEADY_MS, uncertain_ms):
            return self, 0
        last = self.last and replace(self.last, ms=min(max(self.last.ms + moved, 0), LATEST_MS))
        return replace(self, last=last, offset_ms=offset), moved
