"""Many subscribers: how much a delivery costs, and how many a second arrive in time."""

import asyncio

from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Outcome, Work
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack

SUBSCRIBERS = 1_000
CALM, BUSY, MOONSHOT = 20, 500, 1_000
CPU_US = 12.0
P99_MS = 100.0
DONE_SHARE = 0.995


def run(stack: Stack, *, subscribers: int, writes: list[float], seconds: float) -> int:
    """Measure at each rate of writes; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, subscribers, writes, seconds))


async def _run(stack: Stack, subscribers: int, writes: list[float], seconds: float) -> int:
    report = Report("fan_out")
    await report.introduce(stack)
    for rate in writes:
        outcome = await run_live(stack, work := Work(subscribers, rate, seconds))
        report.add(work.label, outcome)
        if subscribers == SUBSCRIBERS:
            _judge(report, outcome)
    return report.finish()


def _judge(report: Report, outcome: Outcome) -> None:
    rate = outcome.work.writes_per_second
    if outcome.invalid:
        report.judge("P3" if rate == CALM else "P2", None, "the run is invalid")
        return
    cpu, p99 = outcome.cpu_us_per_delivery, outcome.delivery.percentile_ms(99)
    if rate == CALM:
        report.judge("P3", cpu <= CPU_US, f"{cpu:.1f} µs CPU a delivery (at most {CPU_US:g})")
    elif rate in (BUSY, MOONSHOT):
        all_done = outcome.writes_per_second >= rate * DONE_SHARE
        report.judge(
            "P2" if rate == BUSY else "P2 moonshot",
            all_done and p99 <= P99_MS,
            f"p99 {p99:.1f} ms (at most {P99_MS:g}), {outcome.writes_per_second:,.0f} of {rate:g} writes/s done, "
            f"{outcome.bytes_per_delivery:,.0f} bytes a delivery",
        )
