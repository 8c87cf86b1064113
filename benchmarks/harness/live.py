"""One run of the whole path: subscribers listen, writers write, and what came is held against PostgreSQL."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import asyncpg
import orjson

from benchmarks.harness.accounting import Usage, list_processes, read_memory, read_usage
from benchmarks.harness.child import Child, Effort
from benchmarks.harness.hops import read_hops
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.people import Connection, Organization, create_organization
from benchmarks.harness.stack import Stack
from benchmarks.harness.subscribers import (
    TIMED_PER_SECOND,
    Counts,
    Joined,
    Subscribers,
    Verified,
    run_subscribers,
)
from benchmarks.harness.writers import Writes, Written, run_writers
from core.queries import load

_queries = load("benchmarks.harness")

LEAD_TIME_SECONDS = 0.5
DRAIN_SECONDS = 30.0
WRITERS = 32


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be carried: so many subscribers to all leads of one organisation, and so many writes a second."""

    subscribers: int
    writes_per_second: float
    seconds: float
    warm_up_seconds: float = 3.0
    record_bytes: int = 256
    topic: str = "leads"

    def __str__(self) -> str:
        return f"{self.subscribers:,} subscribers × {self.writes_per_second:g} writes/s, {self.seconds:g} s"


@dataclass(slots=True)
class Outcome:
    """What came of it. `invalid` says why the run has no figure; `caveats` what else a reader should know.

    `delivery` runs from a write's due time to its arrival at a subscriber, `write` to the API's answer. `usage` and
    `counts` are of the same stretch of time: the measured writes until the last of them was delivered.
    `gateway_bytes` is by how much the gateways' own memory grew while the subscribers came, `hops_ms` the mean from
    the commit to each hop.
    """

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
    hops_ms: dict[str, float] = field(default_factory=dict)
    conflated: int = 0
    invalid: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    @property
    def writes_per_second(self) -> float:
        """Writes that were due in the measured time and acknowledged."""
        return self.written.measured / self.work.seconds

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
            "work": {name: getattr(self.work, name) for name in self.work.__slots__},
            "delivery_ms": self.delivery.summary(),
            "write_ms": self.write.summary(),
            "lateness_ms": self.lateness.summary(),
            "writes_per_second": round(self.writes_per_second, 1),
            "deliveries": self.counts.deliveries,
            "deliveries_per_second": round(self.counts.deliveries / self.work.seconds),
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


async def run_live(stack: Stack, work: Work) -> Outcome:
    """Carry the work through the stack and measure it. Raises ChildError if the load client itself fails."""
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    children: list[Child] = []
    try:
        people = max(work.subscribers, WRITERS)
        organization = await create_organization(owner, stack.signing_key, people)
        time_each = max(1, ceil(work.subscribers * work.writes_per_second / TIMED_PER_SECOND))
        tickets = organization.tickets(work.subscribers, work.topic)
        memory = read_gateway_memory(stack)
        plan = Subscribers((stack.gateway_url,), (tickets,), time_each)
        children.append(subscribers := Child("load: subscribers", run_subscribers, plan))
        children.append(writers := Child("load: writers", run_writers, None))
        joined: Joined = await subscribers.ask("joined")
        memory = read_gateway_memory(stack) - memory
        outcome = await _measure(stack, work, owner, organization, subscribers, writers, joined)
        outcome.gateway_bytes = memory
        return outcome
    finally:
        for child in children:
            child.stop()
        await owner.close()


def read_gateway_memory(stack: Stack) -> int:
    """Bytes that the gateways hold for themselves."""
    processes = list_processes(stack.home, stack.up_pid)
    return sum(read_memory(pid) for name, pid in processes.items() if name.startswith("gateway"))


async def _measure(
    stack: Stack,
    work: Work,
    owner: Connection,
    organization: Organization,
    subscribers: Child,
    writers: Child,
    joined: Joined,
) -> Outcome:
    processes = list_processes(stack.home, stack.up_pid)
    processes |= {child.name: child.pid for child in (subscribers, writers)}
    from_ns = time.monotonic_ns() + int(LEAD_TIME_SECONDS * 1e9)
    measured_ns = from_ns + int(work.warm_up_seconds * 1e9)
    until_ns = measured_ns + int(work.seconds * 1e9)
    await subscribers.ask("time_from", measured_ns)
    plan = Writes(
        stack.api_url,
        organization.writers(WRITERS),
        work.writes_per_second,
        from_ns,
        until_ns,
        measured_ns,
        record_bytes=work.record_bytes,
    )
    seconds = work.warm_up_seconds + work.seconds + 120
    writing = asyncio.create_task(writers.ask("write", plan, seconds=seconds))
    await asyncio.sleep((measured_ns - time.monotonic_ns()) / 1e9)
    await subscribers.ask("mark")
    usage, counts, hops = read_usage(processes), await subscribers.ask("counts"), await read_hops(stack)
    written: Written = await writing
    offsets = [row["log_offset"] for row in await owner.fetch(_queries.fetch_offsets, organization.id)]
    await subscribers.ask("reach", ([offsets[-1] if offsets else 0], DRAIN_SECONDS))
    used = read_usage(processes).since(usage)
    replaced = find_replaced(processes, list_processes(stack.home, stack.up_pid))
    came = _difference(await subscribers.ask("counts"), counts)
    effort = await subscribers.ask("effort")
    verified: Verified = await subscribers.ask("verify", [offsets])
    assert written.latencies is not None
    assert written.lateness is not None
    outcome = Outcome(
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
        hops_ms=(await read_hops(stack)).means_ms(hops),
        conflated=verified.conflated,
    )
    outcome.invalid = await find_faults(owner, organization, written, verified)
    outcome.caveats = [*replaced, *list_caveats(outcome, stack)]
    return outcome


async def find_faults(
    owner: Connection, organization: Organization, written: Written, verified: Verified
) -> list[str]:
    """Why a run has no figure: something was lost, doubled, out of order, refused, or not as PostgreSQL has it."""
    faults = [f"subscribers: {problem}" for problem in verified.problems]
    if verified.faulty:
        faults.append(f"{verified.faulty} subscribers were not sent exactly what PostgreSQL has")
    faults += [f"{count} writes failed: {kind}" for kind, count in written.failures.items()]
    faults += [f"a failed write: {error}" for error in written.errors[:2]]
    bounds = await owner.fetchrow(_queries.fetch_log_bounds, organization.id)
    assert bounds is not None
    if (bounds["lowest"], bounds["highest"]) != (1, bounds["changes"]):
        faults.append(
            f"the log has {bounds['changes']} changes from {bounds['lowest']} to {bounds['highest']} (I1)"
        )
    rows = await owner.fetch(_queries.fetch_records, organization.id)
    stored = {str(row["id"]): orjson.loads(row["record"]) for row in rows}
    missing = sum(1 for record_id in written.record_ids if record_id not in stored)
    if missing:
        faults.append(f"{missing} acknowledged writes are not in PostgreSQL")
    for records in verified.records:
        if records != stored:
            different = sum(1 for key in {*records, *stored} if records.get(key) != stored.get(key))
            faults.append(f"{different} of {len(stored)} records are not what the deltas add up to")
    return faults


def find_replaced(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Processes of the stack that ended during the run, or were not there at its start."""
    return [
        f"{name} ended or was started during the run"
        for name in sorted({*before, *after})
        if not name.startswith("load:") and before.get(name) != after.get(name)
    ]


def list_caveats(outcome: Outcome, stack: Stack) -> list[str]:
    """What a reader of the figure should know."""
    found = []
    if outcome.subscriber_effort.is_limit:
        found.append("the load client's subscribers are the limit: the system may do better")
    if outcome.writer_effort.is_limit or outcome.lateness.percentile_ms(99) > 5:
        found.append(
            f"1 % of the writes left {outcome.lateness.percentile_ms(99):.1f} ms late or more: the load client or a "
            "server that was behind"
        )
    if outcome.usage.others_share > 0.05:
        found.append(f"other programs used {outcome.usage.others_share:.0%} of the machine meanwhile")
    if outcome.conflated:
        found.append(f"{outcome.conflated} deltas were conflated")
    if not stack.lifted:
        found.append("limits were not lifted")
    return found


def _difference(later: Counts, earlier: Counts) -> Counts:
    return Counts(
        deliveries=later.deliveries - earlier.deliveries,
        bytes_in=later.bytes_in - earlier.bytes_in,
        chunks=later.chunks - earlier.chunks,
        frames=later.frames - earlier.frames,
        lost_sockets=later.lost_sockets,
    )
