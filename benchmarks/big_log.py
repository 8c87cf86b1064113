"""A log of ten million changes in a thousand organisations: what writes and catching up cost, beside an empty one."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx

from benchmarks.harness.asking import Answered, Question, Questions, run_askers
from benchmarks.harness.child import Child
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.log_checks import find_gaps, find_lost
from benchmarks.harness.people import Connection, Organization, create_organizations, side_by_side
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from benchmarks.harness.writers import Writes, Written, run_writers
from core.queries import load

CHANGES, ORGANIZATIONS = 10_000_000, 1_000
MOST = 1.2
BEHIND = 100
WRITES_PER_SECOND, PULLS_PER_SECOND = 100.0, 40.0
SAMPLE = 20
"""Organisations that write and catch up; the others are there."""
_STATEMENT = 25
"""Rows: an answer never ends within a transaction, so small ones make answers of about the same length."""
_queries = load("benchmarks.harness")


@dataclass(frozen=True, slots=True)
class Size:
    """How much log there is to be."""

    changes: int
    organizations: int


def run(stack: Stack, size: Size, *, seconds: float, seed: int) -> int:
    """Measure on the empty log, fill it, measure again; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, size, seconds, seed))


async def _run(stack: Stack, size: Size, seconds: float, seed: int) -> int:
    report = Report("big_log")
    await report.introduce(stack)
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    children = Child("load: writers", run_writers, None), Child("load: askers", run_askers, None)
    try:
        key = stack.signing_key
        sample = await create_organizations(owner, key, min(SAMPLE, size.organizations), 4)
        await _fill(stack, sample, BEHIND * 2 * len(sample), report)
        before = await _measure(report, owner, "small log", stack, sample, children, seconds, seed)
        others = await create_organizations(owner, key, size.organizations - len(sample), 1)
        await _fill(stack, [*sample, *others], size.changes, report)
        after = await _measure(report, owner, "big log", stack, sample, children, seconds, seed)
        report.invalid += await find_gaps(owner, sample)
        _judge(report, size, before, after)
    finally:
        for child in children:
            child.stop()
        await owner.close()
    return report.finish()


async def _fill(stack: Stack, organizations: Sequence[Organization], changes: int, report: Report) -> None:
    """Changes of every organisation in turn, by statements that the log captures like any other."""
    begun = time.monotonic()
    each = max(1, min(_STATEMENT, changes // len(organizations)))
    numbers = iter(range(-(-changes // each)))

    async def fill(connection: Connection) -> None:
        for number in numbers:
            organization = organizations[number % len(organizations)]
            if number < len(organizations):
                await connection.execute(_queries.add_leads, organization.id, organization.branch_id, each)
            else:
                await connection.execute(_queries.touch_leads, organization.id, f"note {number}", each)

    await side_by_side(stack, fill)
    report.say(
        f"{changes:,} changes in {len(organizations)} organisations made in {time.monotonic() - begun:.0f} s"
    )


async def _measure(
    report: Report,
    owner: Connection,
    label: str,
    stack: Stack,
    sample: Sequence[Organization],
    children: tuple[Child, Child],
    seconds: float,
    seed: int,
) -> tuple[Histogram, Histogram]:
    """Writes and pulls side by side; the histograms of both."""
    writers, askers = children
    questions = await _pulls(stack, sample, seed)
    from_ns = time.monotonic_ns() + 500_000_000
    measured_ns = from_ns + 2_000_000_000
    until_ns = measured_ns + int(seconds * 1e9)
    people = tuple(organization.writers(1)[0] for organization in sample)
    writes = Writes(stack.api_url, people, WRITES_PER_SECOND, from_ns, until_ns, measured_ns)
    pulls = Questions(stack.api_url, questions, PULLS_PER_SECOND, from_ns, until_ns, measured_ns)
    written, answered = await asyncio.gather(
        writers.ask("write", writes, seconds=seconds + 120), askers.ask("ask", pulls, seconds=seconds + 120)
    )
    lost = await find_lost(owner, sample, written.record_ids)
    return _keep(report, label, written, answered, lost)


async def _pulls(stack: Stack, sample: Sequence[Organization], seed: int) -> tuple[Question, ...]:
    """A hundred changes from somewhere in each sampled organisation's log, as somebody asks who was away."""
    chance, questions = Random(seed), []
    for organization in sample:
        token = organization.people[0].token
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=stack.api_url, headers=headers, timeout=60) as client:
            place = (await client.get("/api/changes?topic=leads")).raise_for_status().json()
        head = place["head"]
        where = {"epoch": place["epoch"], "view": place["view"]}
        for _ in range(10):
            offset = chance.randrange(1, max(head - BEHIND, 2))
            query = urlencode({"topic": "leads", **where, "offset": offset, "limit": BEHIND})
            questions.append(
                Question(
                    "pull", f"/api/changes?{query}", token, entries="changes", length=BEHIND - 2 * _STATEMENT
                )
            )
    chance.shuffle(questions)
    return tuple(questions)


def _keep(
    report: Report, label: str, written: Written, answered: Answered, lost: list[str]
) -> tuple[Histogram, Histogram]:
    failures = [f"{label}: {count} {kind}" for kind, count in (written.failures + answered.failures).items()]
    failures += [f"{label}: {fault}" for fault in lost]
    report.invalid += [*failures, *answered.errors[:1]]
    assert written.latencies is not None
    write, pull = written.latencies.histogram(), answered.latencies["pull"].histogram()
    run: dict[str, Any] = {"write_ms": write.summary(), "answer_ms": pull.summary(), "invalid": failures}
    report.runs[label] = run
    report.histograms |= {f"{label}/write": write, f"{label}/answer": pull}
    report.say(f"{label}:\n  write     {write}\n  catch-up  {pull}")
    return write, pull


def _judge(
    report: Report, size: Size, before: tuple[Histogram, Histogram], after: tuple[Histogram, Histogram]
) -> None:
    write, pull = _ratios(before, after, 50)
    write_tail, pull_tail = _ratios(before, after, 99)
    is_whole = size.changes >= CHANGES and size.organizations >= ORGANIZATIONS
    report.judge(
        "P7" if is_whole else f"P7 with {size.changes:,} changes only",
        max(write, pull) <= MOST,
        f"{size.changes:,} changes, {size.organizations:,} organisations: a write takes {write:.2f} times as long in "
        f"the middle, catching up {pull:.2f} times (at most {MOST:g}); at p99 {write_tail:.2f} and {pull_tail:.2f}",
    )


def _ratios(
    before: tuple[Histogram, Histogram], after: tuple[Histogram, Histogram], percentile: float
) -> list[float]:
    pairs = zip(before, after, strict=True)
    return [now.percentile_ms(percentile) / max(was.percentile_ms(percentile), 0.001) for was, now in pairs]
