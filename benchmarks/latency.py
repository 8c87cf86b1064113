"""Write to delivery: from the moment a write is due to its arrival at every subscriber."""

import asyncio

from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Outcome, Work
from benchmarks.harness.report import Report, median
from benchmarks.harness.stack import Stack

P50_MS = 5.0
P99_MS = 10.0


def run(stack: Stack, *, subscribers: int, writes_per_second: float, seconds: float, repeats: int) -> int:
    """Measure `repeats` times; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, Work(subscribers, writes_per_second, seconds), repeats))


async def _run(stack: Stack, work: Work, repeats: int) -> int:
    report = Report("latency")
    await report.introduce(stack)
    outcomes = []
    for number in range(1, repeats + 1):
        outcome = await run_live(stack, work)
        report.add(f"run {number}", outcome)
        outcomes.append(outcome)
    if (work.subscribers, work.writes_per_second) == (100, 20):
        judge(report, outcomes)
    return report.finish()


def judge(report: Report, outcomes: list[Outcome]) -> None:
    """Hold the median of the runs against the target P1."""
    valid = [outcome for outcome in outcomes if not outcome.invalid]
    if not valid:
        report.judge("P1", None, "no valid run")
        return
    p50 = median([outcome.delivery.percentile_ms(50) for outcome in valid])
    p99 = median([outcome.delivery.percentile_ms(99) for outcome in valid])
    of = f"median of {len(valid)} runs, " if len(valid) > 1 else ""
    report.judge(
        "P1",
        p50 <= P50_MS and p99 <= P99_MS,
        f"{of}p50 {p50:.1f} ms (at most {P50_MS:g}), p99 {p99:.1f} ms (at most {P99_MS:g})",
    )
