"""Single writes over HTTP: how many a second, in one organisation and in a hundred, and how fast at half of that."""

import asyncio

from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from benchmarks.harness.writing import Writing, WritingOutcome, run_writing

RATE = 1_500
HALF_LOAD_P99_MS = 20.0
BAD_EACH = 100
BAD_SHARE = 0.8


def run(stack: Stack, *, seconds: float, connections: int) -> int:
    """Measure full speed, the target's rate and half of it; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, seconds, connections))


async def _run(stack: Stack, seconds: float, connections: int) -> int:
    report = Report("write_rate")
    await report.introduce(stack)
    full: dict[int, WritingOutcome] = {}
    for organizations in (1, 100):
        writing = Writing(organizations, 0, seconds, connections=connections)
        full[organizations] = outcome = await run_writing(stack, writing)
        report.add_writing(f"full speed, {organizations}", outcome)
        report.judge(
            f"P4, {organizations} organisation{'s' * (organizations > 1)}",
            outcome.writes_per_second >= RATE,
            f"{outcome.writes_per_second:,.0f} writes/s (at least {RATE:,})",
        )
    bad = await run_writing(stack, Writing(1, 0, seconds, bad_each=BAD_EACH, connections=connections))
    report.add_writing("full speed, 1 % bad", bad)
    share = bad.writes_per_second / max(full[1].writes_per_second, 1)
    report.judge(
        "P4, 1 % bad mutations",
        share >= BAD_SHARE,
        f"{share:.0%} of the rate (at least {BAD_SHARE:.0%})",
    )
    half = await run_writing(stack, Writing(1, RATE / 2, seconds))
    report.add_writing("half load", half)
    p99 = half.write.percentile_ms(99)
    report.judge(
        "P4, half load",
        p99 <= HALF_LOAD_P99_MS,
        f"p99 of a write {p99:.1f} ms at {RATE / 2:g} writes/s (at most {HALF_LOAD_P99_MS:g})",
    )
    return report.finish()
