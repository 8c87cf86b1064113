"""PURE. The hybrid logical clock: a time that sorts, never goes back, and moves past what it has seen.

After S. Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases" (2014). A
clock is the text `<unix ms, 13 digits>-<counter, 4 hex>-<client id>`; compared as text it is compared by time, then by
counter, then by client. `next_clock`, `latest_clock` and `merge_fields` in schema.sql are its twins; both are held to
`tests/vectors/`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SERVER_ID = "00000000-0000-0000-0000-000000000000"
"""The client id in stamps by the server."""
AHEAD_LIMIT_MS = 60_000
"""How far a clock may be ahead of the server before it is clamped."""
LATEST_MS = 9_999_999_999_999

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


def effective_clocks(clocks: list[Clock], skew_ms: int, now_ms: int) -> list[Clock]:
    """What a client's clocks count as: its skew taken off, then clamped to 60 s ahead of the server, order kept.

    `skew_ms` is the client's time less the server's, when the clocks were sent. Clamped clocks share one
    millisecond and differ by the counter, so that the client's own order stays. A skew that would move a clock
    before 1970 stops there.
    """
    limit = now_ms + AHEAD_LIMIT_MS
    last: dict[str, Clock] = {}
    result: dict[int, Clock] = {}
    for index in sorted(range(len(clocks)), key=lambda i: clocks[i]):
        clock = clocks[index]
        moved = Clock(min(max(clock.ms - skew_ms, 0), LATEST_MS), clock.counter, clock.client_id)
        if moved.ms > limit:
            before = last.get(clock.client_id)
            moved = (
                Clock(limit, 0, clock.client_id)
                if before is None or before.ms < limit
                else tick(before, limit, clock.client_id)
            )
        last[clock.client_id] = moved
        result[index] = moved
    return [result[i] for i in range(len(clocks))]


Stamp = tuple[str, int, str | None]
"""Clock, version and author of a field."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What becomes of a write's fields: see `merge_fields`."""

    winners: dict[str, Any]
    lost: list[dict[str, Any]]
    overwrote: list[dict[str, Any]]
    clocks: dict[str, Stamp]


def merge_fields(
    record: Mapping[str, Any],
    clocks: Mapping[str, Stamp],
    fields: Mapping[str, Any],
    clock: str,
    base_version: int | None,
    author: str | None,
    version: int,
) -> Merge:
    """Merge a write into a record, each field for itself: the greater clock wins, an equal one is the same write.

    `clocks` has a stamp for each field, `*` standing for all without one. `lost` lists fields beaten by a later
    write of another value; `overwrote` values that the write replaces although their authors wrote them at a
    version that the writer had not seen (`base_version`). `clocks` of the answer holds the stamps after the
    write at `version`.
    """
    winners: dict[str, Any] = {}
    lost: list[dict[str, Any]] = []
    overwrote: list[dict[str, Any]] = []
    after = dict(clocks)
    for name in sorted(fields):
        value = fields[name]
        stored = clocks.get(name) or clocks.get("*")
        won = stored is None or clock > stored[0]
        differs = name not in record or record[name] != value
        if won:
            winners[name] = value
            after[name] = (clock, version, author)
        if stored is None or not differs or (not won and clock == stored[0]):
            continue
        beaten = {"by": stored[2], "at_ms": int(stored[0][:13])}
        if not won:
            lost.append({"field": name, "mine": value, "theirs": record.get(name), **beaten})
        elif base_version is not None and stored[1] > base_version and stored[2] != author and name in record:
            overwrote.append({"field": name, "value": record[name], **beaten})
    return Merge(winners, lost, overwrote, after)
