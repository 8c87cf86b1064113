"""From the commit in PostgreSQL to a subscriber of Redis: single writes, quietly, then 10,000 changes a second.

Writers are psql's kind, so that the API is not in the figures. A run whose publications are not all there, in order
and once, has no figure.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import orjson
import uuid_utils
from redis.asyncio import Redis

from benchmarks.harness.accounting import list_processes, read_usage
from benchmarks.harness.latencies import Latencies
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from cli.home import Home
from core.lifecycle import StartupError
from core.queries import load

ORGANIZATIONS = 50
LEADS = 200
WRITERS = 8
ROWS_A_STATEMENT = 100
ARRIVAL_SECONDS = 20.0
NOTES = "n" * 256

_queries = load("benchmarks", "relay.sql")


@dataclass(slots=True)
class _Subscriber:
    """What has come from Redis: the position in each organisation's log, and what did not fit."""

    positions: dict[str, int] = field(default_factory=dict)
    arrived_ns: dict[tuple[str, int], int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    publications: int = 0

    def take(self, body: bytes) -> None:
        now = time.monotonic_ns()
        publication = orjson.loads(body)
        organization, changes = publication["organization_id"], publication["changes"]
        if organization not in self.positions:
            return
        self.publications += 1
        expected = self.positions[organization] + 1
        for change in changes:
            if change["offset"] != expected:
                self.faults.append(f"{organization}: expected offset {expected}, got {change['offset']}")
            expected = change["offset"] + 1
        self.positions[organization] = expected - 1
        self.arrived_ns[organization, expected - 1] = now


@asynccontextmanager
async def _subscribed(url: str, subscriber: _Subscriber) -> AsyncIterator[None]:
    redis = Redis.from_url(url, socket_timeout=None)
    pubsub = redis.pubsub()
    await pubsub.psubscribe("branchline:{*")

    async def read() -> None:
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                subscriber.take(message["data"])

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        await redis.aclose()


def run(stack: Stack, *, seconds: float, changes_per_second: float) -> int:
    """Measure; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, seconds, changes_per_second))


async def _run(stack: Stack, seconds: float, changes_per_second: float) -> int:
    report = Report("relay")
    await report.introduce(stack)
    url = Home(stack.home).environment().get("REDIS_URL") if stack.home else None
    if url is None:
        raise StartupError("this benchmark reads from the Redis of a `branchline up` on this machine.")
    pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
        stack.owner_database_url, min_size=WRITERS, max_size=WRITERS
    )
    subscriber = _Subscriber()
    try:
        async with _subscribed(url, subscriber):
            organizations = await _prepare(pool, subscriber)
            quiet = await _quiet(pool, subscriber, organizations, seconds)
            report.histograms["quiet/arrival"] = quiet.counted().histogram()
            report.say(f"20 writes/s, commit returned → subscriber: {report.histograms['quiet/arrival']}")
            report.runs["quiet"] = report.histograms["quiet/arrival"].summary()
            await _loaded(pool, subscriber, organizations, seconds, changes_per_second, stack, report)
    finally:
        pool.terminate()
    p50 = report.histograms["quiet/arrival"].percentile_ms(50)
    report.judge("quiet, p50 ≤ 2 ms", p50 <= 2, f"p50 {p50:.2f} ms")
    return report.finish()


async def _prepare(pool: "asyncpg.Pool[asyncpg.Record]", subscriber: _Subscriber) -> list[UUID]:
    """Organisations with leads, everything of them published."""
    organizations = [UUID(str(uuid_utils.uuid7())) for _ in range(ORGANIZATIONS)]
    for organization in organizations:
        subscriber.positions[str(organization)] = 0
        await pool.execute(_queries.create_organization, organization, f"bench-{organization}")
        await pool.execute(_queries.create_leads, organization, NOTES, LEADS)
    await _all_arrived(pool, subscriber, organizations)
    return organizations


async def _all_arrived(
    pool: "asyncpg.Pool[asyncpg.Record]", subscriber: _Subscriber, organizations: list[UUID]
) -> None:
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        heads = {
            str(row["organization_id"]): row["head"]
            for row in await pool.fetch(_queries.fetch_heads, organizations)
        }
        behind = {key: head for key, head in heads.items() if subscriber.positions[key] < head}
        if not behind:
            return
        if time.monotonic() > deadline:
            subscriber.faults.append(f"{len(behind)} organisations did not come up to their heads")
            return
        await asyncio.sleep(0.01)


async def _quiet(
    pool: "asyncpg.Pool[asyncpg.Record]", subscriber: _Subscriber, organizations: list[UUID], seconds: float
) -> Latencies:
    """Twenty single writes a second."""
    committed: dict[tuple[str, int], int] = {}
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(int(seconds * 20)):
        await asyncio.sleep(max(0.0, begun + number / 20 - loop.time()))
        organization = organizations[number % len(organizations)]
        await pool.execute(_queries.update_leads, organization, 1, f"quiet {number}")
        at = time.monotonic_ns()
        committed[str(organization), await pool.fetchval(_queries.fetch_head, organization)] = at
    await _all_arrived(pool, subscriber, organizations)
    latencies = Latencies()
    for key, at in committed.items():
        # It may have come before the writer had its answer.
        latencies.record(at, max(at, subscriber.arrived_ns.get(key, at)))
    return latencies


async def _loaded(
    pool: "asyncpg.Pool[asyncpg.Record]",
    subscriber: _Subscriber,
    organizations: list[UUID],
    seconds: float,
    changes_per_second: float,
    stack: Stack,
    report: Report,
) -> None:
    """Statements of a hundred rows, each due at its time, whoever is free writes it."""
    processes = list_processes(stack.home, stack.up_pid)
    before, publications = read_usage(processes), subscriber.publications
    statements = int(seconds * changes_per_second / ROWS_A_STATEMENT)
    numbers = iter(range(statements))
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def write() -> None:
        for number in numbers:
            due = begun + number * ROWS_A_STATEMENT / changes_per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
            await pool.execute(
                _queries.update_leads,
                organizations[number % len(organizations)],
                ROWS_A_STATEMENT,
                f"{number} {NOTES}",
            )

    await asyncio.gather(*[write() for _ in range(WRITERS)])
    written_seconds = loop.time() - begun
    await _all_arrived(pool, subscriber, organizations)
    report.invalid += subscriber.faults[:5]
    published_seconds = loop.time() - begun
    changes = statements * ROWS_A_STATEMENT
    used = read_usage(processes).since(before)
    relay_us = 1e6 * used.by_process.get("relay", 0.0) / changes
    figures = {
        "changes": changes,
        "written_per_second": changes / written_seconds,
        "published_per_second": changes / published_seconds,
        "behind_at_the_end_ms": 1000 * (published_seconds - written_seconds),
        "publications": subscriber.publications - publications,
        "relay_cpu_us_per_change": relay_us,
    }
    report.runs["loaded"] = figures
    report.say(
        f"{changes:,} changes: {figures['written_per_second']:,.0f}/s written, all published "
        f"{figures['behind_at_the_end_ms']:.0f} ms after the last commit, in {figures['publications']:,} publications; "
        f"relay {relay_us:.1f} µs of CPU a change; machine {used.busy_share:.0%} busy"
    )
    report.judge(
        f"{changes_per_second:,.0f} changes/s",
        figures["published_per_second"] >= 0.97 * changes_per_second,
        f"{figures['published_per_second']:,.0f}/s",
    )
