"""Writes alone: how many a second, how fast each, over so many organisations; nobody listens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from benchmarks.harness.accounting import Usage, find_replaced, list_processes, read_usage
from benchmarks.harness.child import Child
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.log_checks import find_gaps, find_lost
from benchmarks.harness.people import Connection, Organization, create_organizations
from benchmarks.harness.stack import Stack
from benchmarks.harness.writers import Writer, Writes, Written, run_writers
from core.queries import load

_queries = load("benchmarks.harness")

WRITERS = 64
KEEPING_UP = 1.05
"""Times the planned time: who takes longer for the last answer has fallen behind the rate."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What is to be written. `per_second` 0: as much as goes through, by `connections` that each wait for an answer."""

    organizations: int
    per_second: float
    seconds: float
    bad_each: int = 0
    connections: int = 64
    warm_up_seconds: float = 2.0

    def __str__(self) -> str:
        rate = (
            f"{self.per_second:g} writes/s"
            if self.per_second
            else f"{self.connections} connections at full speed"
        )
        bad = f", 1 in {self.bad_each} bad" if self.bad_each else ""
        return f"{self.organizations} organisation{'s' * (self.organizations > 1)}, {rate}{bad}"


@dataclass(slots=True)
class WritingOutcome:
    """What came of it. `invalid` says why there is no figure."""

    writing: Writing
    write: Histogram
    written: Written
    usage: Usage
    commits: int
    invalid: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    @property
    def writes_per_second(self) -> float:
        """Writes that were due in the measured time and acknowledged, over that time.

        At a rate a server that cannot follow owes some of them at the end: what it takes for them counts as well.
        """
        owing = self.written.measured_seconds if self.writing.per_second else 0.0
        return self.written.measured / max(self.writing.seconds, owing)

    def as_dict(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "work": {name: getattr(self.writing, name) for name in self.writing.__slots__},
            "write_ms": self.write.summary(),
            "writes_per_second": round(self.writes_per_second, 1),
            "refused_as_expected": self.written.refused_as_expected,
            "commits": self.commits,
            "cpu_seconds": {name: round(value, 2) for name, value in self.usage.by_process.items()},
            "machine_busy_share": round(self.usage.busy_share, 3),
            "others_share": round(self.usage.others_share, 3),
            "writers_cpu_share": round(self.written.effort.cpu_share, 3),
            "invalid": self.invalid,
            "caveats": self.caveats,
        }

    def lines(self) -> list[str]:
        """For a person."""
        first = f"{self.writing}:"
        if self.invalid:
            return [first, "  INVALID: no figure", *(f"    {fault}" for fault in self.invalid)]
        done = self.written.acknowledged + self.written.refused_as_expected
        servers = sorted(self.usage.by_process.items(), key=lambda pair: -pair[1])
        cpu = ", ".join(
            f"{name} {value * 1e6 / done:.0f}" for name, value in servers if not name.startswith("load:")
        )
        return [
            f"{first} {self.writes_per_second:,.0f} writes/s done",
            f"  write     {self.write}",
            f"  CPU {self.usage.servers * 1e6 / done:.0f} µs a write: {cpu}; "
            f"{done / max(self.commits, 1):.1f} writes a commit",
            f"  load client {self.written.effort.cpu_share:.0%} of a core; machine {self.usage.busy_share:.0%} busy",
            *(f"  note: {caveat}" for caveat in self.caveats),
        ]


async def run_writing(
    stack: Stack, writing: Writing, *, beside: Mapping[str, int] | None = None
) -> WritingOutcome:
    """Write and measure, in organisations of its own; `beside` are other processes of the load client, by name."""
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    child = Child("load: writers", run_writers, None)
    try:
        each = max(1, WRITERS // writing.organizations)
        organizations = await create_organizations(owner, stack.signing_key, writing.organizations, each)
        # In turn, so that neighbours in a batch are of different organisations.
        writers: list[Writer] = [
            organization.writers(each)[number] for number in range(each) for organization in organizations
        ]
        from_ns = time.monotonic_ns() + 500_000_000
        measured_ns = from_ns + int(writing.warm_up_seconds * 1e9)
        plan = Writes(
            stack.api_url,
            tuple(writers),
            writing.per_second,
            from_ns,
            measured_ns + int(writing.seconds * 1e9),
            measured_ns,
            bad_each=writing.bad_each,
            connections=256 if writing.per_second else writing.connections,
        )
        processes = list_processes(stack.home, stack.up_pid) | {child.name: child.pid} | dict(beside or {})
        usage, commits = read_usage(processes), await _commits(owner)
        written: Written = await child.ask("write", plan, seconds=writing.seconds + 120)
        assert written.latencies is not None
        outcome = WritingOutcome(
            writing=writing,
            write=written.latencies.histogram(),
            written=written,
            usage=read_usage(processes).since(usage),
            commits=await _commits(owner) - commits,
        )
        outcome.invalid = await _find_faults(owner, organizations, written)
        outcome.invalid += find_replaced(processes, list_processes(stack.home, stack.up_pid))
        outcome.caveats = _list_caveats(outcome)
        return outcome
    finally:
        child.stop()
        await owner.close()


async def _commits(owner: Connection) -> int:
    """Transactions that have written to the log, by the log's own account."""
    return int(await owner.fetchval(_queries.count_commits))


async def _find_faults(owner: Connection, organizations: list[Organization], written: Written) -> list[str]:
    faults = [f"{count} writes failed: {kind}" for kind, count in written.failures.items()]
    faults += [f"a failed write: {error}" for error in written.errors[:2]]
    faults += await find_gaps(owner, organizations)
    faults += await find_lost(owner, organizations, written.record_ids)
    stored = await owner.fetchval(_queries.count_leads, [organization.id for organization in organizations])
    if stored > len(written.record_ids):
        faults.append(f"PostgreSQL has {stored} leads, of which {len(written.record_ids)} were acknowledged")
    return faults


def _list_caveats(outcome: WritingOutcome) -> list[str]:
    found = []
    lateness = outcome.written.lateness
    if outcome.written.effort.is_limit:
        found.append("the load client is the limit: the system may do better")
    if outcome.writing.per_second and lateness is not None and lateness.histogram().percentile_ms(99) > 5:
        found.append(f"1 % of the writes left {lateness.histogram().percentile_ms(99):.1f} ms late or more")
    if outcome.writing.per_second and outcome.written.measured_seconds > KEEPING_UP * outcome.writing.seconds:
        found.append("the system did not keep up: the latencies are those of a queue that grew")
    if outcome.usage.others_share > 0.05:
        found.append(f"other programs used {outcome.usage.others_share:.0%} of the machine meanwhile")
    return found
