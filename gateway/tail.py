"""PURE. The recent part of one organisation's log, kept in memory for those who come back.

Kept as the JSON that came, since bytes can be counted and most of it is never looked at again. The chunks
adjoin: the tail covers every offset from `start` (exclusive) to `end`.
"""

from bisect import bisect_right
from dataclasses import dataclass

_CHUNK_OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Changes `first` to `last`, as the JSON of a publication that holds them, and perhaps some before
    `first`.
    """

    first: int
    last: int
    publication: bytes

    @property
    def cost_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.publication) + _CHUNK_OVERHEAD_BYTES


class Tail:
    """Adjoining chunks of the log up to the feed's cursor, at most `limit_bytes` of them."""

    __slots__ = ("_chunks", "_limit_bytes", "end", "used_bytes")

    def __init__(self, end: int, limit_bytes: int) -> None:
        self._chunks: list[Chunk] = []
        self._limit_bytes = limit_bytes
        self.end = end
        self.used_bytes = 0

    @property
    def start(self) -> int:
        """The lowest offset after which the tail holds everything."""
        return self._chunks[0].first - 1 if self._chunks else self.end

    def append(self, chunk: Chunk) -> None:
        """Add the newest chunk; the oldest go where there is no room."""
        if chunk.first != self.end + 1:
            raise ValueError(f"expected a chunk from {self.end + 1}, got one from {chunk.first}")
        self._chunks.append(chunk)
        self.end = chunk.last
        self.used_bytes += chunk.cost_bytes
        self.shrink(self._limit_bytes)

    def run(self, after: int, most_changes: int) -> list[Chunk]:
        """Give the adjoining chunks from the one that holds `after` + 1, with about `most_changes` changes.

        Empty at the end, and where the tail does not reach back.
        """
        if not self.start <= after < self.end:
            return []
        first = bisect_right(self._chunks, after, key=_last)
        last = bisect_right(self._chunks, after + most_changes, lo=first, key=_last)
        return self._chunks[first : max(last, first + 1)]

    def shrink(self, limit_bytes: int) -> None:
        """Drop the oldest chunks until no more than `limit_bytes` are used."""
        dropped = 0
        while self.used_bytes > limit_bytes and dropped < len(self._chunks):
            self.used_bytes -= self._chunks[dropped].cost_bytes
            dropped += 1
        del self._chunks[:dropped]


def _last(chunk: Chunk) -> int:
    return chunk.last
