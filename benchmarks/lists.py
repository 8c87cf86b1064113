"""Lists of 50 out of half a million contacts: pages by every order and filter that there is an index for, and 304."""

import asyncio
import time
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx

from benchmarks.harness.asking import Answered, Question, Questions, run_askers
from benchmarks.harness.child import Child
from benchmarks.harness.latencies import Histogram
from benchmarks.harness.people import Connection, Organization, create_organization, side_by_side
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from core.queries import load

CONTACTS = 500_000
LIMIT = 50
PER_SECOND = 50.0
WARM_UP_SECONDS = 2.0
LIST_P50_MS, UNCHANGED_P50_MS = 5.0, 2.0
UNCHANGED = "not modified"
_CHUNK = 5_000
_queries = load("benchmarks.harness")


def run(stack: Stack, *, contacts: int, seconds: float) -> int:
    """Make the contacts, ask, print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, contacts, seconds))


async def _run(stack: Stack, contacts: int, seconds: float) -> int:
    report = Report("lists")
    await report.introduce(stack)
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    child = Child("load: askers", run_askers, None)
    try:
        organization = await _prepare(owner, stack, contacts, report)
        questions = _questions(stack, organization)
        from_ns = time.monotonic_ns() + 200_000_000
        measured_ns = from_ns + int(WARM_UP_SECONDS * 1e9)
        until_ns = measured_ns + int(seconds * 1e9)
        plan = Questions(stack.api_url, questions, PER_SECOND, from_ns, until_ns, measured_ns)
        _judge(report, await child.ask("ask", plan, seconds=seconds + 120), contacts)
    finally:
        child.stop()
        await owner.close()
    return report.finish()


async def _prepare(owner: Connection, stack: Stack, contacts: int, report: Report) -> Organization:
    begun = time.monotonic()
    organization = await create_organization(owner, stack.signing_key, 4)
    firsts = iter(range(0, contacts, _CHUNK))

    async def add(connection: Connection) -> None:
        # Past the log, as a restore brings them: only the table is read here, and half a million changes take minutes.
        await connection.execute("SET session_replication_role = replica")
        for first in firsts:
            count = min(_CHUNK, contacts - first)
            await connection.execute(
                _queries.add_contacts, organization.id, organization.branch_id, first, count
            )

    await side_by_side(stack, add)
    await owner.execute("VACUUM ANALYZE contacts")
    report.say(f"{contacts:,} contacts made in {time.monotonic() - begun:.0f} s")
    return organization


def _questions(stack: Stack, organization: Organization) -> tuple[Question, ...]:
    """Each kind once, with the cursors and tags that the API itself gives."""
    token = organization.people[0].token
    found = []
    with httpx.Client(
        base_url=stack.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as client:
        for kind, query in (
            ("newest first", "sort=-id"),
            ("by name", "sort=last_name"),
            ("of a branch", f"branch_id={organization.branch_id}"),
        ):
            path = f"/api/contacts?limit={LIMIT}&{query}"
            found.append(Question(kind, path, token, entries="items", length=LIMIT))
            page = _get(client, path)
            for _ in range(10):
                page = _get(client, f"{path}&cursor={quote(page.json()['next_cursor'])}")
            deep = f"{path}&cursor={quote(page.json()['next_cursor'])}"
            found.append(Question(f"{kind}, a later page", deep, token, entries="items", length=LIMIT))
        path = f"/api/contacts?limit={LIMIT}"
        tag = _get(client, path).headers["ETag"]
        found.append(Question(UNCHANGED, path, token, (("If-None-Match", tag),), status=304))
    return tuple(found)


def _get(client: httpx.Client, path: str) -> httpx.Response:
    answer = client.get(path, headers={"Accept-Encoding": "identity"})
    answer.raise_for_status()
    return answer


def _judge(report: Report, answered: Answered, contacts: int) -> None:
    report.invalid += [f"{count} answers: {kind}" for kind, count in answered.failures.items()]
    report.invalid += answered.errors[:1]
    histograms: dict[str, Histogram] = {kind: each.histogram() for kind, each in answered.latencies.items()}
    for kind, histogram in histograms.items():
        report.say(f"  {kind:28} {histogram}")
        run: dict[str, Any] = {
            "work": {"contacts": contacts},
            "answer_ms": histogram.summary(),
            "invalid": [],
        }
        report.runs[kind] = run
        report.histograms[f"{kind}/answer"] = histogram
    slowest, p50 = max(
        ((kind, each.percentile_ms(50)) for kind, each in histograms.items() if kind != UNCHANGED),
        key=lambda pair: pair[1],
    )
    unchanged = histograms[UNCHANGED].percentile_ms(50)
    is_whole = contacts >= CONTACTS
    report.judge(
        "P10" if is_whole else f"P10 with {contacts:,} contacts only",
        p50 <= LIST_P50_MS and unchanged <= UNCHANGED_P50_MS,
        f"{LIMIT} of {contacts:,}: p50 {p50:.1f} ms for the slowest kind, {slowest} (at most {LIST_P50_MS:g}); "
        f"304 in {unchanged:.1f} ms (at most {UNCHANGED_P50_MS:g})",
    )
