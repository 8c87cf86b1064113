"""The gateway dies under thousands of clients: how long until all are live again, and what it costs everybody else.

Each organisation's clients are at the same position when it dies. Before they are let go, so many changes are
committed that each of them is behind. Meanwhile people of another organisation write on.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.harness.accounting import list_processes
from benchmarks.harness.child import Child
from benchmarks.harness.hops import read_counter
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.log_checks import find_different, find_gaps, find_lost
from benchmarks.harness.people import Connection, Organization, create_organization, create_organizations
from benchmarks.harness.report import Report
from benchmarks.harness.returning import FIRST_WAIT_SECONDS, Return, Returned, run_returning
from benchmarks.harness.stack import Stack
from benchmarks.harness.subscribers import Subscribers, Verified
from benchmarks.harness.writers import Writes, Written, run_writers
from core.lifecycle import StartupError
from core.queries import load

CLIENTS = 10_000
LIVE_SECONDS = 20.0
WRITE_RATIO = 2.0
PEAK_SHARE = 0.15
WRITES_PER_SECOND = 50.0
PATIENCE_SECONDS = 120.0
_queries = load("benchmarks.harness")


@dataclass(frozen=True, slots=True)
class Storm:
    """What is to happen: so many clients in so many organisations, each so many changes behind."""

    clients: int
    organizations: int
    behind: int
    baseline_seconds: float
    seed: int
    first_wait_seconds: float = FIRST_WAIT_SECONDS

    def __str__(self) -> str:
        of = f"{self.clients:,} clients of {self.organizations} organisations"
        return f"{of}, {self.behind} changes behind, seed {self.seed}"


def run(stack: Stack, storm: Storm) -> int:
    """Measure; print, keep, judge. The exit status."""
    return asyncio.run(_Run(stack, storm).run())


class _Run:
    """One storm. `owner` is the way into the database, the children are the load client."""

    def __init__(self, stack: Stack, storm: Storm) -> None:
        self._stack = stack
        self._storm = storm
        self._report = Report("reconnect_storm")

    async def run(self) -> int:
        """The exit status."""
        await self._report.introduce(self._stack)
        self._report.say(f"{self._storm}:")
        if not any(
            name.startswith("gateway") for name in list_processes(self._stack.home, self._stack.up_pid)
        ):
            raise StartupError("this benchmark kills the gateway of a `branchline up` on this machine.")
        owner: Connection = await asyncpg.connect(self._stack.owner_database_url)
        children: list[Child] = []
        try:
            organizations, plan = await self._prepare(owner)
            children.append(flock := Child("load: subscribers", run_returning, plan))
            children.append(writers := Child("load: writers", run_writers, None))
            joined = await flock.ask("joined")
            self._report.say(f"  subscribed in {joined.seconds:.1f} s")
            await self._storm_over(owner, organizations, flock, writers)
        finally:
            for child in children:
                child.stop()
            await owner.close()
        return self._report.finish()

    async def _prepare(self, owner: Connection) -> tuple[list[Organization], Subscribers]:
        each = self._storm.clients // self._storm.organizations
        key = self._stack.signing_key
        organizations = await create_organizations(owner, key, self._storm.organizations, max(each, 1))
        groups = tuple(organization.tickets(each, "leads") for organization in organizations)
        return organizations, Subscribers((self._stack.gateway_url,), groups)

    async def _storm_over(
        self, owner: Connection, organizations: list[Organization], flock: Child, writers: Child
    ) -> None:
        beside = await create_organization(owner, self._stack.signing_key, 8)
        calm = await self._write(owner, writers, beside, self._storm.baseline_seconds)
        self._report.expect_killed("gateway")
        for name, pid in list_processes(self._stack.home, self._stack.up_pid).items():
            if name.startswith("gateway"):
                os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        if left := await flock.ask("wait_lost", 30.0):
            self._report.invalid.append(f"{left} clients did not notice that their gateway was killed")
        for organization in organizations:
            await owner.execute(
                _queries.add_leads, organization.id, organization.branch_id, self._storm.behind
            )
        seconds = time.monotonic() - killed
        self._report.say(f"  all lost and {self._storm.behind} changes behind {seconds:.1f} s after the kill")
        # The longest wait and as long again for the catching up: about as long as the storm takes.
        storming = asyncio.create_task(
            self._write(owner, writers, beside, 2 * self._storm.first_wait_seconds)
        )
        wait = self._storm.first_wait_seconds
        go = Return(time.monotonic_ns(), self._storm.seed, PATIENCE_SECONDS, wait)
        try:
            returned: Returned = await flock.ask("come_back", go, seconds=PATIENCE_SECONDS + 30)
            reads = await read_counter(self._stack, "branchline_log_reads_total")
            stormy = await storming
        finally:
            storming.cancel()
        await self._check(owner, organizations, flock)
        self._report.invalid += await find_gaps(owner, [*organizations, beside])
        self._judge(returned, reads, calm, stormy)

    async def _write(
        self, owner: Connection, writers: Child, beside: Organization, seconds: float
    ) -> Histogram:
        from_ns = time.monotonic_ns() + 100_000_000
        until_ns = from_ns + int(seconds * 1e9)
        plan = Writes(self._stack.api_url, beside.writers(8), WRITES_PER_SECOND, from_ns, until_ns)
        written: Written = await writers.ask("write", plan, seconds=seconds + 120)
        self._report.invalid += [f"{count} writes failed: {kind}" for kind, count in written.failures.items()]
        self._report.invalid += await find_lost(owner, [beside], written.record_ids)
        assert written.latencies is not None
        return written.latencies.histogram()

    async def _check(self, owner: Connection, organizations: list[Organization], flock: Child) -> None:
        """Every client has exactly what PostgreSQL has, in order, through the storm."""
        offsets = []
        for organization in organizations:
            rows = await owner.fetch(_queries.fetch_offsets, organization.id)
            offsets.append([row["log_offset"] for row in rows])
        await flock.ask("reach", ([each[-1] if each else 0 for each in offsets], 10.0))
        verified: Verified = await flock.ask("verify", offsets)
        self._report.invalid += [f"subscribers: {problem}" for problem in verified.problems]
        if verified.faulty:
            self._report.invalid.append(
                f"{verified.faulty} subscribers were not sent exactly what PostgreSQL has"
            )
        for organization, records in zip(organizations, verified.records, strict=True):
            self._report.invalid += await find_different(owner, organization, records)

    def _judge(self, returned: Returned, reads: float, calm: Histogram, stormy: Histogram) -> None:
        report, storm = self._report, self._storm
        longest = returned.live_seconds[-1] if returned.live_seconds else 0.0
        ratio = stormy.percentile_ms(99) / max(calm.percentile_ms(99), 0.001)
        per_range = reads / max(len(returned.positions), 1)
        peak = returned.most_in_a_second / max(storm.clients, 1)
        report.runs["storm"] = {
            "work": {name: getattr(storm, name) for name in storm.__slots__},
            "write_ms": stormy.summary(),
            "calm_write_ms": calm.summary(),
            "figures": _figures(returned, longest, per_range, ratio, peak),
            "refused": dict(returned.refused),
            "invalid": report.invalid,
        }
        report.histograms |= {"storm/write": stormy, "calm/write": calm}
        if returned.missing:
            report.invalid.append(
                f"{returned.missing} clients did not come back within {PATIENCE_SECONDS:.0f} s"
            )
        report.say(
            f"  {len(returned.live_seconds):,} live after {longest:.1f} s, {returned.tries:,} tries, at most "
            f"{peak:.0%} of them in one second; {_middle(returned.live_seconds):.1f} s in the middle"
        )
        report.say(
            f"  refused or lost on the way: {dict(Counter(returned.refused).most_common(3)) or 'nobody'}"
        )
        report.say(f"  writes before  {calm}")
        report.say(f"  writes during  {stormy}")
        met = longest <= LIVE_SECONDS and per_range <= 1 and ratio <= WRITE_RATIO and not returned.snapshots
        report.judge(
            "P6" if storm.clients >= CLIENTS else f"P6 with {storm.clients:,} clients only",
            met,
            f"all live in {longest:.1f} s (at most {LIVE_SECONDS:g}); {reads:.0f} reads of the log for "
            f"{len(returned.positions)} ranges, {per_range:.2f} a range (at most 1), {returned.snapshots} snapshots; "
            f"write p99 {calm.percentile_ms(99):.1f} to {stormy.percentile_ms(99):.1f} ms: {ratio:.1f} times "
            f"(at most {WRITE_RATIO:g})",
        )


def _figures(
    returned: Returned, longest: float, per_range: float, ratio: float, peak: float
) -> dict[str, Any]:
    return {
        "seconds until all were live": round(longest, 2),
        "seconds until half were live": round(_middle(returned.live_seconds), 2),
        "reads of the log a range": round(per_range, 3),
        "write p99 ratio": round(ratio, 2),
        "most in one second, share": round(peak, 3),
        "snapshots": returned.snapshots,
        "tries": returned.tries,
    }


def _middle(values: list[float]) -> float:
    return values[len(values) // 2] if values else 0.0
