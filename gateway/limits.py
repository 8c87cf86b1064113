"""PURE. Counts and rates that a limit is set on. A limit of 0 is none."""


class Counts:
    """How many there are of each key, up to a limit."""

    __slots__ = ("_counts", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[str, int] = {}

    def has_room(self, key: str) -> bool:
        """Whether one more is allowed."""
        return not self._limit or self._counts.get(key, 0) < self._limit

    def add(self, key: str) -> bool:
        """Count one more, and say whether it is allowed; one that is not is not counted."""
        if not self.has_room(key):
            return False
        self._counts[key] = self._counts.get(key, 0) + 1
        return True

    def remove(self, key: str) -> None:
        """Count one less."""
        left = self._counts.get(key, 0) - 1
        if left > 0:
            self._counts[key] = left
        else:
            self._counts.pop(key, None)


class Rates:
    """Token buckets: `per_second` on average, twice as many in a burst. Full buckets are forgotten."""

    __slots__ = ("_buckets", "_burst", "_per_second")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._burst = 2 * per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now: float) -> bool:
        """Take one token of `key` at `now` (seconds of any clock), and say whether there was one."""
        if not self._per_second:
            return True
        tokens, at = self._buckets.get(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            return False
        self._buckets[key] = (tokens - 1, now)
        return True

    def forget_full(self, now: float) -> None:
        """Forget the buckets that have filled up again."""
        full_after = self._burst / self._per_second if self._per_second else 0.0
        for key in [key for key, (_, at) in self._buckets.items() if now - at >= full_after]:
            del self._buckets[key]
