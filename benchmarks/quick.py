"""A first figure in half a minute: latency as in the target, and writes at full speed, both short."""

import asyncio

from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Work
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from benchmarks.harness.writing import Writing, run_writing
from benchmarks.latency import judge

SECONDS = 8.0
WRITE_SECONDS = 3.0


def run(stack: Stack) -> int:
    """Measure; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack))


async def _run(stack: Stack) -> int:
    report = Report("quick")
    await report.introduce(stack)
    outcome = await run_live(stack, Work(100, 20, SECONDS, warm_up_seconds=1))
    report.add("latency", outcome)
    judge(report, [outcome])
    report.add_writing("writes", await run_writing(stack, Writing(1, 0, WRITE_SECONDS, warm_up_seconds=1)))
    return report.finish()
