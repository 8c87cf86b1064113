"""One gateway, two and four: what a delivery and what a write cost with each, and how many deliveries get through."""

import asyncio
import os
from collections.abc import Sequence

from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Outcome, Work
from benchmarks.harness.report import Report
from benchmarks.harness.stack import run_stack

GROWTH_EACH = 0.05
SPEED_UP = 1.8
CORES = 6
"""Two gateways, the other four servers' share, and two processes of load: fewer cores and they take from each other."""


def run(*, numbers: Sequence[int], subscribers: int, writes: float, seconds: float) -> int:
    """Measure with each number of gateways, a stack for each; print, keep, judge. The exit status."""
    report = Report("gateways")
    found: dict[int, Outcome] = {}
    for number in numbers:
        with run_stack(gateways=number) as stack:
            if not found:
                asyncio.run(report.introduce(stack))
            outcome = asyncio.run(run_live(stack, Work(subscribers, writes, seconds)))
        report.add(f"{number} gateway{'s' * (number > 1)}", outcome)
        found[number] = outcome
    _judge(report, {number: outcome for number, outcome in found.items() if not outcome.invalid})
    return report.finish()


def write_us(outcome: Outcome) -> float:
    """CPU of a write in everything but the gateways, which are paid for by the delivery."""
    servers = {
        name: seconds
        for name, seconds in outcome.usage.by_process.items()
        if not name.startswith(("load:", "gateway"))
    }
    return sum(servers.values()) * 1e6 / max(outcome.written.measured, 1)


def _judge(report: Report, found: dict[int, Outcome]) -> None:
    if 1 not in found or len(found) < 2:
        report.judge("P8", None, "one gateway and more have to be measured")
        return
    one = found[1]
    for number, outcome in found.items():
        if number == 1:
            continue
        cores = os.cpu_count() or 1
        speed_up = outcome.deliveries_per_second / max(one.deliveries_per_second, 1)
        growth = write_us(outcome) / max(write_us(one), 1) - 1
        cpu = f"CPU a delivery {one.cpu_us_per_delivery:.2f} to {outcome.cpu_us_per_delivery:.2f} µs"
        if number == 2:
            report.judge(
                "P8, deliveries with two gateways",
                speed_up >= SPEED_UP if cores >= CORES else None,
                f"{speed_up:.2f} times (at least {SPEED_UP:g}, where {CORES} cores are free; here are {cores}); {cpu}",
            )
        most = GROWTH_EACH * (number - 1)
        report.judge(
            f"P8, a write with {number} gateways",
            growth <= most,
            f"{write_us(one):.0f} to {write_us(outcome):.0f} µs CPU outside the gateways: {growth:+.0%} "
            f"(at most {most:+.0%}); {cpu}",
        )
