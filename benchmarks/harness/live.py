"""One run of the whole path: subscribers listen, writers write, and what came is held against PostgreSQL."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Protocol

from benchmarks.harness.accounting import Usage, find_replaced, read_memory, read_usage
from benchmarks.harness.child import Child, Effort
from benchmarks.harness.hops import Hops
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.subscribers import (
    TIMED_PER_SECOND,
    Counts,
    Joined,
    Subscribers,
    Verified,
    run_subscribers,
)
from benchmarks.harness.writers import Writes, Written, run_writers

LEAD_TIME_SECONDS = 0.5
LATEST_MARK_SECONDS, LATEST_MARK_SHARE = 0.1, 0.05
DRAIN_SECONDS = 30.0
FLAT_OUT_GUESS = 300
"""Writes a second that flat out may come to, for what the load client takes on itself."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be carried: so many subscribers to all leads of one organisation, and so many writes a second.

    `writes_per_second` 0: as many as go through, by `connections` that each wait for their answer. So many more
    subscribers are `stuck`: they read nothing once they are subscribed.
    """

    subscribers: int
    writes_per_second: float
    seconds: float
    warm_up_seconds: float = 3.0
    record_bytes: int = 256
    topic: str = "leads"
    connections: int = 16
    stuck: int = 0

    @property
    def label(self) -> str:
        """Short, for tables."""
        return (
            f"{self.subscribers:,} × {self.writes_per_second:g}"
            if self.writes_per_second
            else f"{self.subscribers:,} × flat out"
        )

    def __str__(self) -> str:
        rate = f"{self.writes_per_second:g} writes/s" if self.writes_per_second else "flat out"
        stuck = f" and {self.stuck} that never read" if self.stuck else ""
        return f"{self.subscribers:,} subscribers{stuck} × {rate}, {self.seconds:g} s"


@dataclass(slots=True)
class Outcome:
    """What came of it. `invalid` says why the run has no figure; `caveats` what else a reader should know.

    `delivery` runs from a write's due time to its arrival at a subscriber, `write` to the API's answer. `usage` and
    `counts` are of the same stretch of time: the measured writes until the last of them was delivered, which took
    `elapsed_seconds`. `gateway_bytes` is by how much the gateways' own memory grew while the subscribers came,
    `hops_ms` the mean from the commit to each hop.
    """

    subject: str
    work: Work
    delivery: Histogram
    write: Histogram
    lateness: Histogram
    joined: Joined
    written: Written
    counts: Counts
    usage: Usage
    subscriber_effort: Effort
    writer_effort: Effort
    gateway_bytes: int = 0
    elapsed_seconds: float = 0.0
    hops_ms: dict[str, float] = field(default_factory=dict)
    conflated: int = 0
    invalid: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    @property
    def writes_per_second(self) -> float:
        """Writes that were due in the measured time and acknowledged, over the time that this took."""
        return self.written.measured / max(self.work.seconds, self.written.measured_seconds)

    @property
    def deliveries_per_second(self) -> float:
        """Over the time until the last one came: a system that falls behind is not credited for what it owes."""
        return self.counts.deliveries / max(self.elapsed_seconds, 1e-9)

    @property
    def cpu_us_per_delivery(self) -> float:
        """Over all server processes, PostgreSQL and Valkey among them."""
        return self.usage.servers * 1e6 / max(self.counts.deliveries, 1)

    @property
    def bytes_per_delivery(self) -> float:
        """Bytes on the wire to subscribers, frames included."""
        return self.counts.bytes_in / max(self.counts.deliveries, 1)

    @property
    def gateway_bytes_per_socket(self) -> float:
        """Memory of the gateways for each subscriber, the kernel's buffers not counted."""
        return self.gateway_bytes / max(self.joined.sockets, 1)

    def as_dict(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "subject": self.subject,
            "work": {name: getattr(self.work, name) for name in self.work.__slots__},
            "delivery_ms": self.delivery.summary(),
            "write_ms": self.write.summary(),
            "lateness_ms": self.lateness.summary(),
            "writes_per_second": round(self.writes_per_second, 1),
            "deliveries": self.counts.deliveries,
            "deliveries_per_second": round(self.deliveries_per_second),
            "bytes_per_delivery": round(self.bytes_per_delivery),
            "cpu_us_per_delivery": round(self.cpu_us_per_delivery, 2),
            "join_seconds": round(self.joined.seconds, 2),
            "gateway_bytes_per_socket": round(self.gateway_bytes_per_socket),
            "cpu_seconds": {name: round(value, 2) for name, value in self.usage.by_process.items()},
            "hops_ms": {hop: round(mean, 2) for hop, mean in self.hops_ms.items()},
            "machine_busy_share": round(self.usage.busy_share, 3),
            "others_share": round(self.usage.others_share, 3),
            "load_client": {
                "subscribers_cpu_share": round(self.subscriber_effort.cpu_share, 3),
                "subscribers_lag_p99_ms": round(self.subscriber_effort.lag_p99_ms, 2),
                "writers_cpu_share": round(self.writer_effort.cpu_share, 3),
                "writers_lag_p99_ms": round(self.writer_effort.lag_p99_ms, 2),
            },
            "frames": self.counts.frames,
            "chunks": self.counts.chunks,
            "conflated": self.conflated,
            "invalid": self.invalid,
            "caveats": self.caveats,
        }


class Subject(Protocol):
    """What is measured: Branchline, or another system that carries the same work."""

    @property
    def name(self) -> str:
        """As reports call it."""

    def processes(self) -> dict[str, int]:
        """Its processes that run at the moment, by name."""

    async def prepare(self, work: Work) -> tuple[Subscribers, Writes]:
        """Make what the work needs; what the load client is to do, the times of the writes still 0."""

    async def fetch_offsets(self, written: Written) -> list[int]:
        """The offsets of all changes that each subscriber should have been sent."""

    async def find_faults(self, written: Written, verified: Verified) -> list[str]:
        """What is not as the writers and the subscribers say."""

    async def read_hops(self) -> Hops:
        """How long changes have taken to each hop so far."""


async def run_subject(subject: Subject, work: Work) -> Outcome:
    """Have the work carried and measure it. Raises ChildError if the load client itself fails."""
    children: list[Child] = []
    try:
        listen, write = await subject.prepare(work)
        memory = read_gateway_memory(subject.processes())
        children.append(subscribers := Child("load: subscribers", run_subscribers, listen))
        children.append(writers := Child("load: writers", run_writers, None))
        joined: Joined = await subscribers.ask("joined")
        memory = read_gateway_memory(subject.processes()) - memory
        outcome = await _measure(subject, work, write, subscribers, writers, joined)
        outcome.gateway_bytes = memory
        return outcome
    finally:
        for child in children:
            child.stop()


def time_each(work: Work) -> int:
    """At every how many-th socket arrivals are timed, so that the load client is not the limit."""
    writes_per_second = work.writes_per_second or FLAT_OUT_GUESS
    return max(1, ceil(work.subscribers * writes_per_second / TIMED_PER_SECOND))


def read_gateway_memory(processes: Mapping[str, int]) -> int:
    """Bytes that the processes that hold sockets have for themselves."""
    return sum(read_memory(pid) for name, pid in processes.items() if name.startswith("gateway"))


async def _measure(
    subject: Subject, work: Work, write: Writes, subscribers: Child, writers: Child, joined: Joined
) -> Outcome:
    processes = subject.processes() | {child.name: child.pid for child in (subscribers, writers)}
    from_ns = time.monotonic_ns() + int(LEAD_TIME_SECONDS * 1e9)
    measured_ns = from_ns + int(work.warm_up_seconds * 1e9)
    until_ns = measured_ns + int(work.seconds * 1e9)
    await subscribers.ask("time_from", measured_ns)
    plan = replace(write, from_ns=from_ns, until_ns=until_ns, measured_ns=measured_ns)
    seconds = work.warm_up_seconds + work.seconds + 120
    writing = asyncio.create_task(writers.ask("write", plan, seconds=seconds))
    try:
        await asyncio.sleep((measured_ns - time.monotonic_ns()) / 1e9)
        await subscribers.ask("mark")
        usage, counts = read_usage(processes), await subscribers.ask("counts")
        marked_ns = time.monotonic_ns()
        hops = await subject.read_hops()
        written: Written = await writing
    finally:
        writing.cancel()
    offsets = await subject.fetch_offsets(written)
    await subscribers.ask("reach", ([offsets[-1] if offsets else 0], DRAIN_SECONDS))
    used = read_usage(processes).since(usage)
    elapsed = (time.monotonic_ns() - marked_ns) / 1e9
    replaced = find_replaced(processes, subject.processes())
    came = _difference(await subscribers.ask("counts"), counts)
    effort = await subscribers.ask("effort")
    verified: Verified = await subscribers.ask("verify", [offsets])
    assert written.latencies is not None
    assert written.lateness is not None
    outcome = Outcome(
        subject=subject.name,
        work=work,
        delivery=verified.arrivals.histogram(),
        write=written.latencies.histogram(),
        lateness=written.lateness.histogram(),
        joined=joined,
        written=written,
        counts=came,
        usage=used,
        subscriber_effort=effort,
        writer_effort=written.effort,
        elapsed_seconds=elapsed,
        hops_ms=(await subject.read_hops()).means_ms(hops),
        conflated=verified.conflated,
    )
    outcome.invalid = [
        *find_late_mark((marked_ns - measured_ns) / 1e9, work),
        *find_faults(written, verified),
        *await subject.find_faults(written, verified),
        *replaced,
    ]
    outcome.caveats = list_caveats(outcome)
    return outcome


def find_late_mark(late_seconds: float, work: Work) -> list[str]:
    """What is counted from a late mark is not what is timed from the due one."""
    if late_seconds <= max(LATEST_MARK_SECONDS, LATEST_MARK_SHARE * work.seconds):
        return []
    return [
        f"deliveries and CPU were counted from {late_seconds * 1000:.0f} ms after the first timed write on"
    ]


def find_faults(written: Written, verified: Verified) -> list[str]:
    """Why a run has no figure, whatever was measured: something was lost, doubled, out of order, or refused."""
    faults = [f"subscribers: {problem}" for problem in verified.problems]
    if verified.faulty:
        faults.append(f"{verified.faulty} subscribers were not sent exactly what was written")
    faults += [f"{count} writes failed: {kind}" for kind, count in written.failures.items()]
    return faults + [f"a failed write: {error}" for error in written.errors[:2]]


def list_caveats(outcome: Outcome) -> list[str]:
    """What a reader of the figure should know."""
    found = []
    if outcome.subscriber_effort.is_limit:
        found.append("the load client's subscribers are the limit: the system may do better")
    lag_ms = outcome.subscriber_effort.lag_p99_ms
    if lag_ms > outcome.delivery.percentile_ms(99) / 4:
        found.append(
            f"the load client itself was {lag_ms:.0f} ms late (p99): so much of a latency may be its own"
        )
    if outcome.writer_effort.is_limit or outcome.lateness.percentile_ms(99) > 5:
        found.append(
            f"1 % of the writes left {outcome.lateness.percentile_ms(99):.1f} ms late or more: the load client or a "
            "server that was behind"
        )
    if outcome.usage.others_share > 0.05:
        found.append(f"other programs used {outcome.usage.others_share:.0%} of the machine meanwhile")
    if outcome.conflated:
        found.append(f"{outcome.conflated} deltas were conflated")
    return found


def _difference(later: Counts, earlier: Counts) -> Counts:
    return Counts(
        deliveries=later.deliveries - earlier.deliveries,
        bytes_in=later.bytes_in - earlier.bytes_in,
        chunks=later.chunks - earlier.chunks,
        frames=later.frames - earlier.frames,
        lost_sockets=later.lost_sockets,
    )
