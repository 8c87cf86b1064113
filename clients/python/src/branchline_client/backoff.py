"""PURE. How long to wait before trying again: exponential backoff with full jitter.

After M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). Chance is an argument: a number of
[0, 1).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits in milliseconds; each is drawn evenly from nothing up to a ceiling.

    `lost_ms`: the ceiling for the first try after a connection that was live broke. It is long, because thousands
    of clients lose the same gateway in the same moment, and no second may see more than a seventh of them.
    `silent_ms`: the same after a silence, which was this client's own line most of the time. `base_ms` doubles with
    each further try up to `cap_ms`. `away_ms`: the least wait when the server has sent the client away and named no
    time. `blocked_ms`: without a socket for so long, while the API answers, sockets do not get through; from then on
    one is tried at growing distances, up to `blocked_cap_ms`. `refused_tries`: how often one write is tried against
    an error of the server's own before it goes to the inbox; at least 3.
    """

    base_ms: int = 500
    cap_ms: int = 30_000
    lost_ms: int = 10_000
    silent_ms: int = 4_000
    away_ms: int = 30_000
    blocked_ms: int = 15_000
    blocked_cap_ms: int = 300_000
    refused_tries: int = 5

    def __post_init__(self) -> None:
        if self.refused_tries < 3:
            raise ValueError(f"expected at least 3 tries, got {self.refused_tries}")

    def delay_ms(self, attempt: int, chance: float) -> int:
        """The wait before try number `attempt`, counted from 1."""
        return int(chance * min(self.cap_ms, self.base_ms * 2 ** min(attempt, 30)))

    def lost_delay_ms(self, chance: float) -> int:
        """The wait after a live connection broke."""
        return int(chance * self.lost_ms)

    def silent_delay_ms(self, chance: float) -> int:
        """The wait after a live connection fell silent."""
        return int(chance * self.silent_ms)

    def blocked_delay_ms(self, attempt: int, chance: float) -> int:
        """The time until a socket is tried again, for try number `attempt` from 1: at least half of its ceiling."""
        ceiling = min(self.blocked_cap_ms, self.blocked_ms * 2 ** min(attempt, 30))
        return int((1 + chance) * ceiling / 2)

    def away_delay_ms(self, named_ms: int | None, chance: float) -> int:
        """The wait after being sent away: what the server named, or `away_ms`; and up to a fifth more."""
        least = self.away_ms if named_ms is None else named_ms
        return least + int(chance * least / 5)
