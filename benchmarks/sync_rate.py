"""Mutations through `POST /api/sync`: how many a second, also with bad ones, and how a write fares at half load."""

import asyncio
from dataclasses import replace

from benchmarks.harness.offline_work import Mix
from benchmarks.harness.pushing import Pushing, PushingOutcome, run_pushing
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack

RATE, MOONSHOT = 10_000, 20_000
HALF_LOAD_P99_MS = 20.0
BAD_EACH = 100
BAD_SHARE = 0.8
BESIDE_PER_SECOND = 50


def run(stack: Stack, *, seconds: float, batch: int, connections: int, seed: int) -> int:
    """Measure full speed, with bad ones, and half load; print, keep, judge. The exit status."""
    pushing = Pushing(1, 0, seconds, batch=batch, mix=Mix(seed=seed), connections=connections)
    return asyncio.run(_run(stack, pushing))


async def _run(stack: Stack, pushing: Pushing) -> int:
    report = Report("sync_rate")
    await report.introduce(stack)
    report.say(f"seed {pushing.mix.seed}")
    full: dict[int, PushingOutcome] = {}
    for organizations in (1, 100):
        full[organizations] = outcome = await run_pushing(
            stack, replace(pushing, organizations=organizations)
        )
        report.add_pushing(f"full speed, {organizations}", outcome)
        _judge_rate(report, organizations, outcome)
    bad = await run_pushing(stack, replace(pushing, mix=replace(pushing.mix, bad_each=BAD_EACH)))
    report.add_pushing("full speed, 1 % bad", bad)
    share = bad.mutations_per_second / max(full[1].mutations_per_second, 1)
    report.judge(
        "P4, sync with 1 % bad mutations",
        share >= BAD_SHARE,
        f"{share:.0%} of the rate (at least {BAD_SHARE:.0%}), at "
        f"{bad.cpu_us_per_mutation / max(full[1].cpu_us_per_mutation, 1):.2f} times the CPU",
    )
    await _half_load(report, stack, pushing, full[1])
    return report.finish()


def _judge_rate(report: Report, organizations: int, outcome: PushingOutcome) -> None:
    rate = outcome.mutations_per_second
    of = f"{organizations} organisation{'s' * (organizations > 1)}"
    for name, least in (("P4, sync", RATE), ("P4 moonshot, sync", MOONSHOT)):
        report.judge(
            f"{name}, {of}",
            rate >= least,
            f"{rate:,.0f} mutations/s (at least {least:,})",
        )


async def _half_load(report: Report, stack: Stack, pushing: Pushing, full: PushingOutcome) -> None:
    """Half of the target's rate, or of what goes through if that is less; single writes beside it are judged."""
    rate = min(RATE, full.mutations_per_second or RATE) / 2
    half = await run_pushing(stack, replace(pushing, per_second=rate, writes_per_second=BESIDE_PER_SECOND))
    report.add_pushing("half load", half)
    p99 = half.write.percentile_ms(99)
    report.judge(
        "P4, sync at half load",
        p99 <= HALF_LOAD_P99_MS,
        f"p99 of a single write {p99:.1f} ms beside {rate:,.0f} mutations/s (at most {HALF_LOAD_P99_MS:g}); "
        f"of a push {half.push.percentile_ms(99):.1f} ms",
    )
