"""One gateway, two and four: what a delivery and what a write cost with each, and how many deliveries get through with
one and with two, where there are cores enough.
"""

import asyncio
import os
from collections.abc import Sequence

from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Outcome, Work
from benchmarks.harness.report import Report
from benchmarks.harness.stack import run_stack

GROWTH_EACH = 0.05
SPEED_UP = 1.8
NOISE = 0.05
"""Of CPU a delivery: what two runs of the same differ by."""
CONNECTIONS = 64
"""That write, flat out."""
CORES = 6
"""Two gateways, the other four servers' share, and two processes of load: fewer cores and they take from each other."""


def run(*, numbers: Sequence[int], subscribers: int, writes: float, seconds: float) -> int:
    """Measure with each number of gateways, a stack for each; print, keep, judge. The exit status."""
    report = Report("gateways")
    found: dict[int, Outcome] = {}
    flat_out: dict[int, Outcome] = {}
    for number in numbers:
        with run_stack(gateways=number) as stack:
            if not found:
                asyncio.run(report.introduce(stack))
            label = f"{number} gateway{'s' * (number > 1)}"
            found[number] = asyncio.run(run_live(stack, Work(subscribers, writes, seconds)))
            report.add(label, found[number])
            if number <= 2 and _cores() >= CORES:
                work = Work(subscribers, 0, seconds, connections=CONNECTIONS)
                flat_out[number] = asyncio.run(run_live(stack, work))
                report.add(f"{label}, flat out", flat_out[number])
    if (
        1 not in found
        or len(found) < 2
        or any(outcome.invalid for outcome in (*found.values(), *flat_out.values()))
    ):
        report.judge("P8", None, "one gateway and more have to be measured")
    else:
        _judge_deliveries(report, flat_out)
        _judge_cost(report, found)
    return report.finish()


def _cores() -> int:
    return os.cpu_count() or 1


def write_us(outcome: Outcome) -> float:
    """CPU of a write in everything but the gateways, which are paid for by the delivery."""
    servers = {
        name: seconds
        for name, seconds in outcome.usage.by_process.items()
        if not name.startswith(("load:", "gateway"))
    }
    return sum(servers.values()) * 1e6 / max(outcome.written.measured, 1)


def _judge_deliveries(report: Report, flat_out: dict[int, Outcome]) -> None:
    if not {1, 2} <= flat_out.keys():
        report.judge(
            "P8, deliveries with two gateways",
            None,
            f"{CORES} cores would have to be free, here are {_cores()}: CPU a delivery stands in its place",
        )
        return
    one, two = flat_out[1].deliveries_per_second, flat_out[2].deliveries_per_second
    report.judge(
        "P8, deliveries with two gateways",
        two >= SPEED_UP * one,
        f"{one:,.0f} to {two:,.0f} a second, flat out: {two / max(one, 1):.2f} times (at least {SPEED_UP:g})",
    )


def _judge_cost(report: Report, found: dict[int, Outcome]) -> None:
    one = found[1]
    for number, outcome in found.items():
        if number == 1:
            continue
        if number == 2:
            more = outcome.cpu_us_per_delivery / max(one.cpu_us_per_delivery, 0.001) - 1
            report.judge(
                "P8, CPU a delivery with two gateways",
                more <= NOISE,
                f"{one.cpu_us_per_delivery:.2f} to {outcome.cpu_us_per_delivery:.2f} µs: {more:+.1%} "
                f"(at most {NOISE:+.0%})",
            )
        most = GROWTH_EACH * (number - 1)
        growth = write_us(outcome) / max(write_us(one), 1) - 1
        report.judge(
            f"P8, a write with {number} gateways",
            growth <= most,
            f"{write_us(one):.0f} to {write_us(outcome):.0f} µs CPU outside the gateways: {growth:+.0%} "
            f"(at most {most:+.0%})",
        )
