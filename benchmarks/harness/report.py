"""What a benchmark says, and what it keeps: lines for a person, a JSON file and an HDR log for a program."""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.harness.accounting import find_replaced, list_processes
from benchmarks.harness.latencies import Histogram, write_log
from benchmarks.harness.live import Outcome
from benchmarks.harness.machine import ROOT, file_system, read_durability, read_machine
from benchmarks.harness.pushing import PushingOutcome
from benchmarks.harness.results import describe_verdict
from benchmarks.harness.stack import Stack
from benchmarks.harness.writing import WritingOutcome
from cli.home import Home

RESULTS = ROOT / "benchmarks" / "results"
_folder = RESULTS
current_arguments: list[str] = sys.argv[2:]
"""What `branchline bench` was told; in a suite, what would run the one benchmark alone."""


def keep_in(folder: Path) -> None:
    """Keep the results of this process in a folder of their own from now on."""
    global _folder  # one process runs one suite
    _folder = folder


@dataclass(slots=True)
class Verdict:
    """A target, whether it was met (None: it could not be measured), and the figures that say so.

    Of an invalid run `met` is None and nothing is said.
    """

    target: str
    met: bool | None
    figures: str
    valid: bool = True

    def __str__(self) -> str:
        return describe_verdict(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """For the result file."""
        return {"target": self.target, "met": self.met, "figures": self.figures, "valid": self.valid}


@dataclass(slots=True)
class Report:
    """One benchmark's results: `add` each run, then `finish`."""

    name: str
    command: str = field(default_factory=lambda: "branchline bench " + shlex.join(current_arguments))
    runs: dict[str, Any] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    durability: dict[str, str] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    _begun: float = field(default_factory=time.time)
    _stack: Stack | None = None
    _processes: Mapping[str, int] = field(default_factory=dict)
    _killed: str = ""

    def say(self, line: str = "") -> None:
        """Print a line."""
        print(line, flush=True)

    async def introduce(self, stack: Stack) -> None:
        """Print what is measured, on what, how durable, and without which limits."""
        self._stack, self._processes = stack, list_processes(stack.home, stack.up_pid)
        self.say(f"{self.name}: {read_machine()}")
        connection = await asyncpg.connect(stack.owner_database_url)
        try:
            self.durability = await read_durability(connection)
        finally:
            await connection.close()
        if stack.home is not None:
            self.durability["file_system"] = file_system(stack.home)
        settings = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "file_system")
        shown = " ".join(f"{name}={self.durability[name]}" for name in settings if name in self.durability)
        self.say(f"PostgreSQL {self.durability['server_version']}: {shown}")
        if stack.lifted:
            self.say("limits lifted for the load client: " + " ".join(f"{name}=0" for name in stack.lifted))
        else:
            self.say("limits are those of the running system")

    def add(self, label: str, outcome: Outcome) -> None:
        """Keep and print the outcome of a run."""
        self.runs[label] = outcome.as_dict()
        self.histograms[f"{label}/delivery"] = outcome.delivery
        self.histograms[f"{label}/write"] = outcome.write
        for line in describe(outcome):
            self.say(line)
        self.invalid += [f"{label}: {fault}" for fault in outcome.invalid]

    def add_peer(self, label: str, outcome: Outcome) -> None:
        """Keep and print the outcome of another system. Its faults are its own: they spoil its figure, not the run."""
        valid = list(self.invalid)
        self.add(label, outcome)
        self.invalid = valid

    def note_absent(self, name: str, reason: str) -> None:
        """Say and keep that a peer could not be measured, and why."""
        self.absent[name] = reason
        self.say(f"  ABSENT: {name}: {reason}")

    def add_writing(self, label: str, outcome: WritingOutcome) -> None:
        """Keep and print the outcome of a run of writes alone."""
        self.runs[label] = outcome.as_dict()
        self.histograms[f"{label}/write"] = outcome.write
        for line in outcome.lines():
            self.say(line)
        self.invalid += [f"{label}: {fault}" for fault in outcome.invalid]

    def add_pushing(self, label: str, outcome: PushingOutcome) -> None:
        """Keep and print the outcome of a run of pushes."""
        self.runs[label] = outcome.as_dict()
        self.histograms[f"{label}/push"] = outcome.push
        if outcome.write.count:
            self.histograms[f"{label}/write"] = outcome.write
        for line in outcome.lines():
            self.say(line)
        self.invalid += [f"{label}: {fault}" for fault in outcome.invalid]

    def judge(self, target: str, met: bool | None, figures: str) -> None:
        """Print and keep a verdict; none if something was wrong with a run."""
        verdict = Verdict(target, None, "", False) if self.invalid else Verdict(target, met, figures)
        self.verdicts.append(verdict)
        self.say(str(verdict))

    def expect_killed(self, role: str) -> None:
        """Take the end of a role's processes for the benchmark's own doing."""
        self._killed = role

    def finish(self) -> int:
        """Write the files; the exit status: 0 if every run is valid, whatever its figures."""
        stack = self._stack if self._stack and self._stack.home and self._stack.home.exists() else None
        if stack is not None:
            after = list_processes(stack.home, stack.up_pid)
            replaced = find_replaced(self._processes, after, killed=self._killed)
            self.invalid += [fault for fault in replaced if not any(fault in known for known in self.invalid)]
        for fault in self.invalid:
            self.say(f"INVALID: {fault}")
        if self.invalid:
            self.verdicts = [Verdict(verdict.target, None, "", False) for verdict in self.verdicts]
        _folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._begun))
        path = _folder / f"{stamp}-{self.name}.json"
        if self.invalid and stack is not None and stack.home is not None:
            logs = shutil.copytree(Home(stack.home).logs, path.with_suffix(".logs"))
            self.say(f"the logs of the processes are kept in {logs}")
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n")
        if self.histograms:
            seconds = time.time() - self._begun
            write_log(path.with_suffix(".hlog"), self.histograms, start_s=self._begun, seconds=seconds)
        self.say(f"kept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
        return 1 if self.invalid else 0

    def as_dict(self) -> dict[str, Any]:
        """The content of the result file."""
        return {
            "name": self.name,
            "command": self.command,
            "valid": not self.invalid,
            "invalid": self.invalid,
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "machine": read_machine().as_dict(),
            "durability": self.durability,
            "absent": self.absent,
            "runs": self.runs,
        }


def describe(outcome: Outcome) -> list[str]:
    """The outcome of a run, for a person. An invalid one has no figures."""
    lines = [f"{outcome.subject}, {outcome.work}:"]
    if outcome.invalid:
        return [*lines, "  INVALID: no figure", *(f"    {fault}" for fault in outcome.invalid)]
    counts = outcome.counts
    a_read = counts.deliveries / max(counts.chunks, 1)
    lines += [
        f"  delivery  {outcome.delivery}",
        f"  write     {outcome.write}",
        f"  {outcome.writes_per_second:,.0f} writes/s done, {outcome.deliveries_per_second:,.0f} deliveries/s, "
        f"{outcome.bytes_per_delivery:,.0f} bytes a delivery, {a_read:.1f} deliveries a read; "
        + (
            "every change came, in order, once, or in the latest state of its record"
            if outcome.conflated
            else "every delivery came, in order, once"
        ),
        f"  CPU {outcome.cpu_us_per_delivery:.1f} µs a delivery: {describe_usage(outcome)}",
        *_describe_hops(outcome),
        f"  load client {outcome.usage.load:.1f} s of CPU, timers {outcome.subscriber_effort.lag_p99_ms:.1f} ms late "
        f"(p99); requests {outcome.lateness.percentile_ms(99):.1f} ms late (p99); "
        f"machine {outcome.usage.busy_share:.0%} busy",
    ]
    return [*lines, *(f"  note: {caveat}" for caveat in outcome.caveats)]


def _describe_hops(outcome: Outcome) -> list[str]:
    hops = sorted(outcome.hops_ms.items(), key=lambda pair: pair[1])
    return ["  from commit, mean ms: " + ", ".join(f"{hop} {mean:.1f}" for hop, mean in hops)] if hops else []


def describe_usage(outcome: Outcome) -> str:
    """Microseconds a delivery of each server process."""
    deliveries = max(outcome.counts.deliveries, 1)
    servers: Mapping[str, float] = {
        name: value for name, value in outcome.usage.by_process.items() if not name.startswith("load:")
    }
    return ", ".join(
        f"{name} {value * 1e6 / deliveries:.1f}"
        for name, value in sorted(servers.items(), key=lambda pair: -pair[1])
    )


def median(values: Sequence[float]) -> float:
    """The middle one; of an even number the lower of the two, so that it was measured."""
    return sorted(values)[(len(values) - 1) // 2]
