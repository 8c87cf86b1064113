"""Idle sockets: what each costs the gateway, and how long one change takes to reach them all."""

import asyncio
import resource

from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Work
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack

SOCKETS = 10_000
BYTES = 8 * 1024
P99_MS = 150.0
SPARE_FILES = 500


def raise_file_limit(sockets: int) -> str | None:
    """Let this process and those that it starts open so many sockets; what is to be done if that is not allowed."""
    needed = sockets + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return (
            f"{sockets:,} sockets need {needed:,} open files, and {hard:,} are allowed: raise `ulimit -Hn`."
        )
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return None


def run(stack: Stack, *, sockets: int, seconds: float) -> int:
    """Connect, weigh, send one change a second to all; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, sockets, seconds))


async def _run(stack: Stack, sockets: int, seconds: float) -> int:
    report = Report("idle_memory")
    await report.introduce(stack)
    outcome = await run_live(stack, Work(sockets, 1, seconds))
    report.add(f"{sockets:,} sockets", outcome)
    each = outcome.gateway_bytes_per_socket
    if not outcome.invalid:
        report.say(
            f"  subscribed in {outcome.joined.seconds:.1f} s; the gateway grew by {each:,.0f} bytes a socket"
        )
    p99 = outcome.delivery.percentile_ms(99)
    if sockets == SOCKETS:
        report.judge(
            "P5",
            each <= BYTES and p99 <= P99_MS,
            f"{each / 1024:.1f} KB a socket (at most {BYTES / 1024:g}), one change to all in {p99:.0f} ms p99 "
            f"(at most {P99_MS:g})",
        )
    return report.finish()
