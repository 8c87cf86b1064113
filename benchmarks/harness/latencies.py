"""PURE but for the files that it writes: latencies, counted cheaply and kept as HDR histograms in microseconds."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # the library has no types

BUCKET_NS = 10_000
_BUCKETS = 1_000_000
LONGEST_US = 3_600_000_000
FIGURES = 4
"""Four figures: 0.1 ms is told apart up to a second."""


class Latencies:
    """Counts latencies in buckets of 10 µs, because a histogram's own bookkeeping would cost more than the work.

    Only what was due from `from_ns` until `until_ns` counts: the rest is warming up. Beyond 10 s each one is kept.
    """

    def __init__(self, from_ns: int = 0, until_ns: int = 1 << 62) -> None:
        self.from_ns = from_ns
        self.until_ns = until_ns
        self._counts = array("Q", bytes(8 * _BUCKETS))
        self._longer: list[int] = []

    def record(self, due_ns: int, now_ns: int) -> None:
        """Count one thing that was due then and done now."""
        if self.from_ns <= due_ns < self.until_ns:
            bucket = (now_ns - due_ns) // BUCKET_NS
            if 0 <= bucket < _BUCKETS:
                self._counts[bucket] += 1
            else:
                self._longer.append(now_ns - due_ns)

    def record_all(self, due_ns: Iterable[int], now_ns: int) -> None:
        """Count what was due at these moments and is done now."""
        for each in due_ns:
            self.record(each, now_ns)

    def counted(self) -> "Counted":
        """What was counted so far, in a form that can be sent to another process."""
        sparse = {bucket: count for bucket, count in enumerate(self._counts) if count}
        return Counted(sparse, list(self._longer))


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts by bucket of 10 µs, and the nanoseconds of those that have no bucket."""

    by_bucket: dict[int, int]
    longer_ns: list[int]

    def histogram(self) -> "Histogram":
        """The same as an HDR histogram. A latency counts as the upper end of its bucket."""
        histogram = Histogram()
        for bucket, count in self.by_bucket.items():
            histogram.add_us((bucket + 1) * BUCKET_NS // 1000, count)
        for nanoseconds in self.longer_ns:
            histogram.add_us(max(nanoseconds // 1000, 1), 1)
        return histogram


class Histogram:
    """An HDR histogram of microseconds, read in milliseconds."""

    def __init__(self, encoded: str | None = None) -> None:
        self._hdr = (
            HdrHistogram(1, LONGEST_US, FIGURES) if encoded is None else HdrHistogram.decode(encoded.encode())
        )

    def add_us(self, microseconds: int, count: int) -> None:
        """Add `count` latencies."""
        self._hdr.record_value(min(microseconds, LONGEST_US), count)

    def add(self, other: "Histogram") -> None:
        """Add all of another histogram's."""
        self._hdr.add(other._hdr)

    @property
    def count(self) -> int:
        """How many latencies are in it."""
        return int(self._hdr.get_total_count())

    def percentile_ms(self, percentile: float) -> float:
        """The latency that this share of all stays below."""
        return float(self._hdr.get_value_at_percentile(percentile)) / 1000

    def percentiles_ms(self, percentiles: Sequence[float]) -> dict[float, float]:
        """Several at once, by percentile, in one pass."""
        found = self._hdr.get_percentile_to_value_dict(percentiles)
        return {percentile: value / 1000 for percentile, value in found.items()}

    @property
    def max_ms(self) -> float:
        """The longest."""
        return float(self._hdr.get_max_value()) / 1000 if self.count else 0.0

    def encoded(self) -> str:
        """Its compressed form (V2, base64), as other HDR tools and `Histogram(…)` read it."""
        text: bytes = self._hdr.encode()
        return text.decode()

    def summary(self) -> dict[str, Any]:
        """Count and the usual percentiles, in milliseconds."""
        points = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}
        values = {name: round(self.percentile_ms(point), 3) for name, point in points.items()}
        return {"count": self.count, **values, "max": round(self.max_ms, 3)}

    def __str__(self) -> str:
        p50, p90, p99, p999 = (self.percentile_ms(point) for point in (50, 90, 99, 99.9))
        return f"p50 {p50:.1f}  p90 {p90:.1f}  p99 {p99:.1f}  p99.9 {p999:.1f}  max {self.max_ms:.1f} ms"


def write_log(path: Path, histograms: dict[str, Histogram], *, start_s: float, seconds: float) -> None:
    """Write histograms as one HDR log (format 1.3: tagged lines), which the common HDR tools read."""
    lines = [
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {start_s:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for tag, histogram in histograms.items():
        name = tag.replace(",", ";")  # a comma would end it
        lines.append(f"Tag={name},0.000,{seconds:.3f},{histogram.max_ms:.3f},{histogram.encoded()}")
    path.write_text("\n".join(lines) + "\n")
