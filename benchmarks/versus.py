"""Branchline beside other systems: the same work, the same load client, the same machine, one after the other."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.harness.branchline import NAME, run_live
from benchmarks.harness.child import ChildError
from benchmarks.harness.live import Outcome, Work, run_subject
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from benchmarks.peers.catalogue import SOCKET_IO, Entry
from benchmarks.peers.installed import AbsentError
from benchmarks.peers.processes import PeerError

OURS = "branchline"
FEW, MANY, BUSY = Work(100, 20, 0), Work(1_000, 20, 0), Work(1_000, 100, 0)
"""Of those that store what is written."""
FLAT_OUT = Work(1_000, 0, 0)
"""For those that only fan out: what counts there is how much of it they do."""
OURS_ALONE = Work(1_000, 500, 0)


def run(stack: Stack, entries: Sequence[Entry], *, seconds: float) -> int:
    """Measure each work, Branchline first and the others right after it; print, keep, judge. The exit status."""
    return asyncio.run(_Versus(stack, entries, seconds).run())


class _Versus:
    """The run: its report, and what has come of each work by the system's key, of Branchline's by `OURS`."""

    def __init__(self, stack: Stack, entries: Sequence[Entry], seconds: float) -> None:
        self._stack = stack
        self._entries = entries
        self._seconds = seconds
        self._report = Report("peers")
        self._outcomes: dict[tuple[str, Work], Outcome] = {}

    async def run(self) -> int:
        """The exit status."""
        await self._report.introduce(self._stack)
        for entry in self._entries:
            self._report.say(f"{entry.name}: {entry.about}")
        for work in (FEW, MANY, BUSY, OURS_ALONE, FLAT_OUT):
            if work is not FLAT_OUT:
                await self._measure_ours(work)
            for entry in self._entries:
                if work in _works_of(entry) and entry.name not in self._report.absent:
                    await self._measure(entry, work)
        judge(self._report, self._outcomes)
        return self._report.finish()

    async def _measure_ours(self, work: Work) -> None:
        self._outcomes[OURS, work] = outcome = await run_live(self._stack, self._timed(work))
        self._report.add(f"{NAME}, {work.label}", outcome)

    async def _measure(self, entry: Entry, work: Work) -> None:
        try:
            # Started anew for each work: what one has left behind must not weigh on the next.
            with entry.run() as peer:
                outcome = await run_subject(peer, self._timed(work))
        except AbsentError as error:
            self._report.note_absent(entry.name, str(error))
        except (PeerError, ChildError) as error:
            self._report.note_absent(f"{entry.name}, {work.label}", f"it failed: {error}")
        else:
            self._outcomes[entry.key, work] = outcome
            self._report.add_peer(f"{entry.name}, {work.label}", outcome)

    def _timed(self, work: Work) -> Work:
        return replace(work, seconds=self._seconds, warm_up_seconds=min(2.0, self._seconds))


def _works_of(entry: Entry) -> tuple[Work, ...]:
    return (FEW, MANY, BUSY) if entry.stores else (MANY, FLAT_OUT)


def judge(report: Report, outcomes: Mapping[tuple[str, Work], Outcome]) -> None:
    """Hold Branchline's p99 against that of the Socket.IO stack: below it at 100 x 20, half of it at 1,000 x 20."""
    for work, most in ((FEW, 1.0), (MANY, 0.5)):
        label = f"P1, against Socket.IO at {work.label}"
        our, their = outcomes.get((OURS, work)), outcomes.get((SOCKET_IO.key, work))
        if our is None or their is None or our.invalid or their.invalid:
            report.judge(label, None, "one of the two has no figure")
            continue
        ratio = our.delivery.percentile_ms(99) / max(their.delivery.percentile_ms(99), 0.001)
        report.judge(
            label,
            ratio <= most,
            f"p99 {our.delivery.percentile_ms(99):.1f} ms to {their.delivery.percentile_ms(99):.1f} ms: "
            f"{ratio:.2f} (at most {most:g}); CPU a delivery {our.cpu_us_per_delivery:.1f} to "
            f"{their.cpu_us_per_delivery:.1f} µs",
        )
