"""A few subscribers that never read: what the others notice of it."""

import asyncio

from benchmarks.harness.branchline import run_live
from benchmarks.harness.hops import read_counter
from benchmarks.harness.live import Outcome, Work
from benchmarks.harness.report import Report, median
from benchmarks.harness.stack import Stack

SUBSCRIBERS, STUCK = 500, 5
WRITES = 200.0
"""A second: enough to fill every buffer of those that do not read within seconds."""
MOST = 1.10
CUT_OFF = 'branchline_closes_total{code="4008"}'


def run(stack: Stack, *, subscribers: int, stuck: int, writes: float, seconds: float, repeats: int) -> int:
    """Measure without and with them in turn; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, Work(subscribers - stuck, writes, seconds), stuck, repeats))


async def _run(stack: Stack, work: Work, stuck: int, repeats: int) -> int:
    report = Report("slow_readers")
    await report.introduce(stack)
    outcomes: dict[int, list[Outcome]] = {0: [], stuck: []}
    cut_off = 0.0
    for number in range(1, repeats + 1):
        # In turn, because a machine drifts.
        for some in (0, stuck):
            before = await read_counter(stack, CUT_OFF)
            outcome = await run_live(
                stack, Work(work.subscribers, work.writes_per_second, work.seconds, stuck=some)
            )
            cut_off += await read_counter(stack, CUT_OFF) - before
            report.add(f"{some} never read, run {number}", outcome)
            outcomes[some].append(outcome)
    if not cut_off:
        report.invalid.append(
            "nobody was cut off: those that do not read were not noticed, or not enough was sent"
        )
    valid = [[outcome for outcome in runs if not outcome.invalid] for runs in outcomes.values()]
    if not all(valid):
        report.judge("P9", None, "no valid run")
        return report.finish()
    alone, beside = (median([outcome.delivery.percentile_ms(99) for outcome in runs]) for runs in valid)
    ratio = beside / max(alone, 0.001)
    report.judge(
        "P9",
        ratio <= MOST,
        f"{stuck} of {work.subscribers + stuck} never read: the others' p99 {alone:.1f} ms without them, "
        f"{beside:.1f} ms with them: {ratio:.2f} (at most {MOST:g}), medians of {repeats}; "
        f"{cut_off:.0f} of {stuck * repeats} were cut off",
    )
    return report.finish()
