"""PURE. Clients of a simulated world: each its own clock, its own notion of the server's time, and a queue that
outlives its process. They stamp as `clients/CONTRACT.md` says, or as one does that knows the outside contract only.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from api.push import skew_of
from core.clock import Clock, effective_clocks, parse_clock, tick

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Kind:
    """`skew_ms`: what the device's clock is ahead of the server's. `corrects`: it reckons in the server's time,
    which it knows to `error_ms`; else it sends its device's time as it is.
    """

    name: str
    skew_ms: int
    corrects: bool
    error_ms: int = 0


KINDS = (
    Kind("right", 0, True),
    Kind("a little ahead", 17 * HOUR_MS, True, 900),
    Kind("a little behind", -3 * HOUR_MS, True, -900),
    Kind("an hour ahead", HOUR_MS, False),
    Kind("an hour behind", -HOUR_MS, False),
    Kind("a year ahead", YEAR_MS, False),
)


@dataclass(slots=True)
class Client:
    """One installation of one person. `queue` holds what has no answer yet, oldest first, with raw clocks."""

    kind: Kind
    person: str
    client_id: str
    last: Clock | None = None
    queue: list[dict[str, Any]] = field(default_factory=list)
    is_online: bool = True
    position: int = 0
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def now_ms(self, server_ms: int) -> int:
        """What the client takes for the time."""
        return server_ms + (self.kind.error_ms if self.kind.corrects else self.kind.skew_ms)

    def stamp(self, server_ms: int) -> str:
        """The clock of a new write."""
        self.last = tick(self.last, self.now_ms(server_ms), self.client_id)
        return str(self.last)

    def see(self, text: str) -> None:
        """Move past a clock that was received."""
        seen = parse_clock(text)
        if self.last is None or (seen.ms, seen.counter) > (self.last.ms, self.last.counter):
            self.last = seen

    def restamp(self, record: str, after: str) -> None:
        """Give the writes of a record that wait clocks above one that the server has given to those before them."""
        last = parse_clock(after)
        for number, mutation in enumerate(self.queue):
            if mutation["id"] != record or mutation.get("clock") is None or mutation["was_sent"]:
                continue
            own = parse_clock(mutation["clock"])
            if (own.ms, own.counter) <= (last.ms, last.counter):
                own = replace(tick(last, own.ms, self.client_id))
                self.queue[number] = {**mutation, "clock": str(own)}
            last = own

    def effective(self, mutations: list[dict[str, Any]], sent_ms: int, received_ms: int) -> list[str | None]:
        """The clocks that the server makes of the mutations', sent and received at these times of its own."""
        raw = [parse_clock(each["clock"]) for each in mutations if each.get("clock") is not None]
        skew_ms = skew_of(self.now_ms(sent_ms), received_ms)
        made = iter(effective_clocks(raw, skew_ms, received_ms))
        return [str(next(made)) if each.get("clock") is not None else None for each in mutations]
