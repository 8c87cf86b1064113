"""A flood of sign-ins with a wrong password: what people who write notice of it.

From one address the limit by address turns nearly all of them away by their head. From many addresses, at many
accounts, each is let as far as its password is looked at, until too many wait: the most work that a stranger can make.
"""

import asyncio

import asyncpg

from benchmarks.harness.child import Child
from benchmarks.harness.people import create_organization
from benchmarks.harness.report import Report, median
from benchmarks.harness.stack import Stack
from benchmarks.harness.strangers import Knocked, Knocks, run_strangers
from benchmarks.harness.writing import Writing, WritingOutcome, run_writing
from core.queries import load

MOST = 2.0
ANSWERED_SHARE = 0.99
CALM, ONE, MANY = "no flood", "from one address", "from 200 addresses"
ADDRESSES: dict[str, tuple[str, ...]] = {
    CALM: (),
    ONE: ("127.0.9.1",),
    MANY: tuple(f"127.0.10.{number}" for number in range(1, 201)),
}
"""All of 127.0.0.0/8 is this machine, and each of it an address of its own to a limit."""
ACCOUNTS = 10_000
REFUSALS = {401, 429, 503}
_queries = load("benchmarks.harness")


def run(stack: Stack, *, knocks: float, writes: float, seconds: float, repeats: int) -> int:
    """Measure without a flood and with each in turn; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, knocks, Writing(1, writes, seconds), repeats))


async def _run(stack: Stack, knocks: float, writing: Writing, repeats: int) -> int:
    report = Report("login_flood")
    await report.introduce(stack)
    if "BRANCHLINE_LOGINS_PER_MINUTE_PER_ADDRESS" in stack.lifted:
        report.invalid.append(
            "the limit on sign-ins is lifted: the flood from one address would measure nothing"
        )
    # So many that none is guessed at more often than the limit by account allows.
    unknown = (f"nobody-{number}@example.test" for number in range(ACCOUNTS - 1))
    emails = (await _somebody(stack), *unknown)
    p99: dict[str, list[float]] = {kind: [] for kind in ADDRESSES}
    strangers = Child("load: strangers", run_strangers, None)
    try:
        for number in range(1, repeats + 1):
            # In turn, because a machine drifts.
            for kind, addresses in ADDRESSES.items():
                plan = Knocks(stack.api_url, emails, addresses, knocks)
                outcome, knocked = await _measure(stack, strangers, writing, plan)
                report.add_writing(f"{kind}, run {number}", outcome)
                if knocked is not None:
                    _add_knocks(report, f"{kind}, run {number}", knocked, knocks)
                if not outcome.invalid:
                    p99[kind].append(outcome.write.percentile_ms(99))
    finally:
        strangers.stop()
    for kind in (ONE, MANY):
        _judge(report, kind, p99[CALM], p99[kind])
    return report.finish()


async def _somebody(stack: Stack) -> str:
    """The address of a person of an organisation: that they were refused is written down there."""
    owner = await asyncpg.connect(stack.owner_database_url)
    try:
        organization = await create_organization(owner, stack.signing_key, 1)
        user_id = organization.people[0].user_id
        return str(await owner.fetchval(_queries.enter_for_good, user_id, organization.id))
    finally:
        await owner.close()


async def _measure(
    stack: Stack, strangers: Child, writing: Writing, plan: Knocks
) -> tuple[WritingOutcome, Knocked | None]:
    """Write, and meanwhile have the strangers knock, if there are any."""
    if not plan.addresses:
        return await run_writing(stack, writing), None
    await strangers.ask("begin", plan)
    outcome = await run_writing(stack, writing, beside={strangers.name: strangers.pid})
    return outcome, await strangers.ask("end")


def _add_knocks(report: Report, label: str, knocked: Knocked, knocks: float) -> None:
    answers = dict(sorted(knocked.by_status.items()))
    report.runs[label]["knocks"] = {
        "due": knocked.due,
        "answers": answers,
        "failures": dict(knocked.failures),
    }
    report.say(
        f"  {knocked.due:,} sign-ins at {knocks:,.0f} a second: "
        + ", ".join(f"{count:,} × {status}" for status, count in answers.items())
        + f"; the knocking client {knocked.effort.cpu_share:.0%} of a core"
    )
    if others := set(answers) - REFUSALS:
        report.invalid.append(f"{label}: sign-ins were answered {sorted(others)}, not refused")
    if sum(answers.values()) < ANSWERED_SHARE * knocked.due:
        report.invalid.append(f"{label}: sign-ins were not answered: {dict(knocked.failures)}")


def _judge(report: Report, kind: str, calm: list[float], flooded: list[float]) -> None:
    target = f"a login flood {kind}"
    if not calm or not flooded:
        report.judge(target, None, "no valid run")
        return
    before, during = median(calm), median(flooded)
    ratio = during / max(before, 0.001)
    report.judge(
        target,
        ratio <= MOST,
        f"write p99 {before:.1f} ms without, {during:.1f} ms with it: {ratio:.2f} times (at most {MOST:g}), "
        f"medians of {len(flooded)}",
    )
