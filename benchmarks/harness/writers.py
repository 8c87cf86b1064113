"""The process that writes, by HTTP, in open loop: a write is due at its time whether or not the last one returned."""

import gc
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uuid_utils

from benchmarks.harness.child import Answer, Effort, EffortMeter
from benchmarks.harness.deltas import mark_due
from benchmarks.harness.latencies import Counted, Latencies
from benchmarks.harness.requests import Pool, due_times, request_head

_MOST_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who writes: their token, and the branch that their leads belong to."""

    token: str
    branch_id: str


@dataclass(frozen=True, slots=True)
class Writes:
    """What the process is to do: `per_second` writes of `record_bytes` each, by the writers in turn, from `from_ns` on.

    `per_second` 0 means closed loop: each of the connections writes again as soon as it is answered. The n-th write is
    one that the server must refuse where n is a multiple of `bad_each` (0: never). Only what is due from `measured_ns`
    is timed. `connections` is the most that are open; one carries one request at a time.
    """

    api_url: str
    writers: tuple[Writer, ...]
    per_second: float
    from_ns: int = 0
    until_ns: int = 0
    measured_ns: int = 0
    record_bytes: int = 256
    bad_each: int = 0
    connections: int = 256
    path: str = "/api/leads"
    headers: tuple[tuple[str, str], ...] = ()
    id_field: str = "id"


@dataclass(slots=True)
class Written:
    """What became of it. `record_ids` are those of the writes that were acknowledged.

    `lateness` is how long after its due time a request left: the load client's own delay, or a server so far behind
    that all connections were taken. `measured` counts acknowledged writes that were due from `measured_ns`, and
    `measured_seconds` is from there to the last answer.
    """

    due: int = 0
    acknowledged: int = 0
    refused_as_expected: int = 0
    measured: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    record_ids: list[str] = field(default_factory=list)
    latencies: Counted | None = None
    lateness: Counted | None = None
    measured_seconds: float = 0.0
    effort: Effort = field(default_factory=lambda: Effort(0.0, 0.0, 0.0))


class _Write:
    """One write that is due."""

    __slots__ = ("_is_bad", "_number", "_record_id", "_score", "due_ns")

    def __init__(self, score: "_Score", number: int, due_ns: int) -> None:
        bad_each = score.plan.bad_each
        self.due_ns = due_ns
        self._score = score
        self._number = number
        self._record_id = str(uuid_utils.uuid7())
        self._is_bad = bad_each > 0 and number % bad_each == 0
        score.written.due += 1

    def encode(self) -> bytes:
        """The request that creates a record of the size asked for. A bad one has a status that there is none of."""
        plan, heads = self._score.plan, self._score.heads
        index = self._number % len(heads)
        status = "nonsense" if self._is_bad else "new"
        start = (
            f'{{"{plan.id_field}":"{self._record_id}","branch_id":"{plan.writers[index].branch_id}",'
            f'"name":"Lead {self._number}","status":"{status}","notes":"{mark_due(self.due_ns)} '
        )
        body = (start + "x" * max(plan.record_bytes - len(start) - 2, 0) + '"}').encode()
        return b"%b%d\r\n\r\n%b" % (heads[index], len(body), body)

    def answered(self, status: int, body: bytes) -> None:
        """Score the answer."""
        written, plan = self._score.written, self._score.plan
        if status != (422 if self._is_bad else 201):
            self.failed(f"HTTP {status}")
            if len(written.errors) < _MOST_ERRORS:
                written.errors.append(body[-300:].decode(errors="replace"))
        elif self._is_bad:
            written.refused_as_expected += 1
        else:
            written.acknowledged += 1
            written.measured += self.due_ns >= plan.measured_ns
            written.record_ids.append(self._record_id)
            self._score.latencies.record(self.due_ns, time.monotonic_ns())

    def failed(self, kind: str) -> None:
        """Score that there was none."""
        self._score.written.failures[kind] += 1


class _Score:
    """The plan, and what has come of it so far."""

    def __init__(self, plan: Writes) -> None:
        self.plan = plan
        host = urlsplit(plan.api_url).netloc
        self.heads = [
            request_head("POST", plan.path, host, writer.token, plan.headers) for writer in plan.writers
        ]
        self.latencies = Latencies(plan.measured_ns)
        self.written = Written()


async def run_writes(plan: Writes) -> Written:
    """Write as planned; the score, once every write is answered or has failed."""
    score = _Score(plan)
    pool = Pool(plan.api_url, plan.connections, plan.measured_ns)
    times = due_times(plan.per_second, plan.from_ns, plan.until_ns) if plan.per_second else None
    await pool.open_for(times)
    gc.freeze()
    meter = EffortMeter()
    await pool.run(times, plan.until_ns, lambda number, due_ns: _Write(score, number, due_ns))
    written = score.written
    written.effort = meter.read()
    await pool.wait_answered()
    written.measured_seconds = (time.monotonic_ns() - max(plan.measured_ns, plan.from_ns)) / 1e9
    pool.close()
    written.latencies = score.latencies.counted()
    written.lateness = pool.lateness.counted()
    return written


async def run_writers(_: object) -> Mapping[str, Answer]:
    """The program of the process: it writes each plan that it is asked to."""
    return {"write": run_writes}
