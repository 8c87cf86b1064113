"""Pushes alone, or with single writes beside them: mutations a second, and what PostgreSQL has in the end."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from benchmarks.harness.accounting import Usage, find_replaced, list_processes, read_usage
from benchmarks.harness.child import Child
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.log_checks import find_gaps
from benchmarks.harness.offline_work import Folded, Mix
from benchmarks.harness.people import Connection, Organization, create_organization, create_organizations
from benchmarks.harness.pushers import Pushed, Pushes, run_pushers
from benchmarks.harness.stack import Stack
from benchmarks.harness.writers import Writes, Written, run_writers
from benchmarks.harness.writing import KEEPING_UP
from core.queries import load

_queries = load("benchmarks.harness")

CLIENTS = 16
LEAD_TIME_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Pushing:
    """What is to be pushed. `per_second` counts mutations; 0: as much as goes through, by `connections` at a time.

    `writes_per_second` are single writes beside it, by other people, to see how they fare.
    """

    organizations: int
    per_second: float
    seconds: float
    batch: int = 100
    mix: Mix = field(default_factory=Mix)
    connections: int = CLIENTS
    writes_per_second: float = 0.0
    warm_up_seconds: float = 2.0

    def __str__(self) -> str:
        rate = f"{self.per_second:,.0f} mutations/s" if self.per_second else "full speed"
        bad = f", 1 in {self.mix.bad_each} bad" if self.mix.bad_each else ""
        beside = f", {self.writes_per_second:g} single writes/s beside it" if self.writes_per_second else ""
        plural = "s" * (self.organizations > 1)
        return f"{self.organizations} organisation{plural}, pushes of {self.batch}, {rate}{bad}{beside}"


@dataclass(slots=True)
class PushingOutcome:
    """What came of it. `invalid` says why there is no figure. `write` is of the single writes beside it."""

    pushing: Pushing
    push: Histogram
    write: Histogram
    pushed: Pushed
    results: Counter[str]
    usage: Usage
    commits: int
    invalid: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    @property
    def mutations_per_second(self) -> float:
        """Mutations that were due in the measured time and applied, merged or known as a repeat, over that time.

        At a rate, what it takes for those that are owed at its end counts as well.
        """
        owing = self.pushed.measured_seconds if self.pushing.per_second else 0.0
        return self.pushed.measured / max(self.pushing.seconds, owing)

    @property
    def cpu_us_per_mutation(self) -> float:
        """Over all server processes and the whole run."""
        return self.usage.servers * 1e6 / max(self.results.total(), 1)

    def as_dict(self) -> dict[str, Any]:
        """For the result file."""
        work = {name: getattr(self.pushing, name) for name in self.pushing.__slots__ if name != "mix"}
        mix = {name: getattr(self.pushing.mix, name) for name in self.pushing.mix.__slots__}
        return {
            "work": work | {"mix": mix},
            "push_ms": self.push.summary(),
            "write_ms": self.write.summary(),
            "mutations_per_second": round(self.mutations_per_second, 1),
            "results": dict(self.results),
            "commits": self.commits,
            "cpu_us_per_mutation": round(self.cpu_us_per_mutation, 1),
            "cpu_seconds": {name: round(value, 2) for name, value in self.usage.by_process.items()},
            "machine_busy_share": round(self.usage.busy_share, 3),
            "others_share": round(self.usage.others_share, 3),
            "pushers_cpu_share": round(self.pushed.effort.cpu_share, 3),
            "invalid": self.invalid,
            "caveats": self.caveats,
        }

    def lines(self) -> list[str]:
        """For a person."""
        first = f"{self.pushing}:"
        if self.invalid:
            return [first, "  INVALID: no figure", *(f"    {fault}" for fault in self.invalid)]
        total = max(self.results.total(), 1)
        servers = sorted(self.usage.by_process.items(), key=lambda pair: -pair[1])
        cpu = ", ".join(
            f"{name} {value * 1e6 / total:.0f}" for name, value in servers if not name.startswith("load:")
        )
        shares = ", ".join(f"{count / total:.0%} {status}" for status, count in self.results.most_common())
        beside = [f"  write     {self.write}"] if self.write.count else []
        return [
            f"{first} {self.mutations_per_second:,.0f} mutations/s",
            f"  push      {self.push}",
            *beside,
            f"  {shares}; {total / max(self.commits, 1):.0f} mutations a commit",
            "  log, remembered answers and rows are what the answers add up to",
            f"  CPU {self.cpu_us_per_mutation:.0f} µs a mutation: {cpu}",
            f"  load client {self.pushed.effort.cpu_share:.0%} of a core; machine {self.usage.busy_share:.0%} busy",
            *(f"  note: {caveat}" for caveat in self.caveats),
        ]


async def run_pushing(stack: Stack, pushing: Pushing) -> PushingOutcome:
    """Push and measure, in organisations of its own."""
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    pushers = Child("load: pushers", run_pushers, None)
    writers = Child("load: writers", run_writers, None)
    try:
        each = max(1, CLIENTS // pushing.organizations)
        organizations = await create_organizations(owner, stack.signing_key, pushing.organizations, each)
        beside = await create_organization(owner, stack.signing_key, CLIENTS)
        processes = list_processes(stack.home, stack.up_pid) | {
            child.name: child.pid for child in (pushers, writers)
        }
        pushes = plan_pushes(stack, pushing, organizations)
        writes = _plan_writes(stack, pushing, pushes, beside)
        usage, commits = read_usage(processes), await _count_commits(owner)
        pushed, written = await _ask(pushers, writers, pushes, writes)
        assert pushed.push is not None
        outcome = PushingOutcome(
            pushing=pushing,
            push=pushed.push.histogram(),
            write=written.latencies.histogram() if written and written.latencies else Histogram(),
            pushed=pushed,
            results=sum((folded.results for folded in pushed.folded), Counter()),
            usage=read_usage(processes).since(usage),
            commits=await _count_commits(owner) - commits,
        )
        outcome.invalid = await find_faults(owner, organizations, pushed)
        outcome.invalid += find_replaced(processes, list_processes(stack.home, stack.up_pid))
        if written is not None:
            outcome.invalid += [f"{count} writes failed: {kind}" for kind, count in written.failures.items()]
        outcome.caveats = _list_caveats(outcome)
        return outcome
    finally:
        for child in (pushers, writers):
            child.stop()
        await owner.close()


def plan_pushes(stack: Stack, pushing: Pushing, organizations: list[Organization]) -> Pushes:
    """The pushes that begin in a moment, by all people of these organisations."""
    from_ns = time.monotonic_ns() + LEAD_TIME_NS
    measured_ns = from_ns + int(pushing.warm_up_seconds * 1e9)
    return Pushes(
        stack.api_url,
        tuple(organization.writers(len(organization.people)) for organization in organizations),
        pushing.per_second,
        pushing.batch,
        pushing.mix,
        from_ns,
        measured_ns + int(pushing.seconds * 1e9),
        measured_ns,
        connections=256 if pushing.per_second else pushing.connections,
    )


def _plan_writes(stack: Stack, pushing: Pushing, pushes: Pushes, beside: Organization) -> Writes | None:
    if not pushing.writes_per_second:
        return None
    return Writes(
        stack.api_url,
        beside.writers(CLIENTS),
        pushing.writes_per_second,
        pushes.from_ns,
        pushes.until_ns,
        pushes.measured_ns,
    )


async def _ask(
    pushers: Child, writers: Child, pushes: Pushes, writes: Writes | None
) -> tuple[Pushed, Written | None]:
    seconds = (pushes.until_ns - pushes.from_ns) / 1e9 + 120
    pushing = pushers.ask("push", pushes, seconds=seconds)
    if writes is None:
        return await pushing, None
    pushed, written = await asyncio.gather(pushing, writers.ask("write", writes, seconds=seconds))
    return pushed, written


async def find_faults(owner: Connection, organizations: list[Organization], pushed: Pushed) -> list[str]:
    """Why a run has no figure: an answer that was not due, or PostgreSQL has not what the answers add up to."""
    faults = [f"{count} pushes failed: {kind}" for kind, count in pushed.failures.items()]
    faults += [f"a failed push: {error}" for error in pushed.errors[:2]]
    for organization, folded in zip(organizations, pushed.folded, strict=True):
        found = [f"{count} mutations: {kind}" for kind, count in folded.faults.items()]
        found += folded.examples[:1]
        found += await _compare(owner, organization, folded)
        faults += found
        if len(faults) > 10:
            break
    return faults


async def _compare(owner: Connection, organization: Organization, folded: Folded) -> list[str]:
    faults = await find_gaps(owner, [organization])
    rows = await owner.fetch(_queries.fetch_logged_mutations, organization.id)
    logged = {str(row["mutation_id"]): row["times"] for row in rows}
    if logged != dict.fromkeys(folded.logged, 1):
        often = sum(times > 1 for times in logged.values())
        faults.append(
            f"the log has {len(logged)} mutations, {often} of them more than once; {len(folded.logged)} won (I6)"
        )
    remembered = await owner.fetchval(_queries.count_remembered, organization.id)
    if remembered != folded.remembered:
        faults.append(f"{remembered} answers are remembered; {folded.remembered} were given (I6)")
    stored = {
        str(row["id"]): orjson.loads(row["record"])
        for row in await owner.fetch(_queries.fetch_records, organization.id)
    }
    return faults + _compare_records(stored, folded)


def _compare_records(stored: Mapping[str, dict[str, Any]], folded: Folded) -> list[str]:
    if stored.keys() != folded.fields.keys():
        return [f"PostgreSQL has {len(stored)} records; the answers make {len(folded.fields)}"]
    wrong = [
        f"{name} of {record_id}: PostgreSQL has {stored[record_id][name]!r}, the answers make {value!r}"
        for record_id, fields in folded.fields.items()
        for name, (value, _) in fields.items()
        if stored[record_id][name] != value
    ]
    return [f"{len(wrong)} fields are not what the answers add up to (I7)", *wrong[:1]] if wrong else []


async def _count_commits(owner: Connection) -> int:
    return int(await owner.fetchval(_queries.count_commits))


def _list_caveats(outcome: PushingOutcome) -> list[str]:
    found = []
    lateness = outcome.pushed.lateness
    if outcome.pushed.effort.is_limit:
        found.append("the load client is the limit: the system may do better")
    if outcome.pushing.per_second and lateness is not None and lateness.histogram().percentile_ms(99) > 5:
        found.append(f"1 % of the pushes left {lateness.histogram().percentile_ms(99):.1f} ms late or more")
    if outcome.pushing.per_second and outcome.pushed.measured_seconds > KEEPING_UP * outcome.pushing.seconds:
        found.append("the system did not keep up: the latencies are those of a queue that grew")
    if outcome.usage.others_share > 0.05:
        found.append(f"other programs used {outcome.usage.others_share:.0%} of the machine meanwhile")
    return found
