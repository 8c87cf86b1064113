"""What a figure was measured on, and how durable its writes were: printed and kept with each result."""

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.people import Connection
from core.queries import load

_queries = load("benchmarks.harness")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, and the source that ran on it."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    commit: str
    at: str
    priority: str

    def as_dict(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gib:.0f} GiB, {self.system}, "
            f"Python {self.python}, source {self.commit}, {self.priority} priority"
        )


def read_machine() -> Machine:
    """This machine, now."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=pages / 2**30,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        commit=_commit(),
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        priority=_priority(),
    )


async def read_durability(connection: Connection) -> dict[str, str]:
    """PostgreSQL's settings that decide what a commit is worth."""
    return {row["name"]: row["setting"] for row in await connection.fetch(_queries.fetch_durability)}


def file_system(path: Path) -> str:
    """The kind of file system that a folder is on: an fsync to one in memory costs nothing."""
    best = ("", "unknown")
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return best[1]
    for line in mounts:
        point, kind = line.split()[1:3]
        if path.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _priority() -> str:
    """How the kernel favours what is measured: a run beside other work may have been given real-time priority."""
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        return "real-time"
    return "raised" if os.getpriority(os.PRIO_PROCESS, 0) < 0 else "ordinary"


def _commit() -> str:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return answer.stdout.strip() or "unknown"
