"""What processes have used, from the kernel's own accounts in /proc; Linux only."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.home import Home

PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_ROLES = {"api", "gateway", "postgresql", "relay", "valkey"}
"""What `branchline up` runs, whatever of it has just ended."""
HERE = PROC.joinpath("self", "stat").exists()
"""Whether this machine keeps such accounts."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU by process (its children included), and of the whole machine, at one moment."""

    by_process: Mapping[str, float]
    machine_busy: float
    machine_total: float

    def since(self, earlier: "Usage") -> "Usage":
        """What was used in between."""
        return Usage(
            {name: value - earlier.by_process.get(name, 0.0) for name, value in self.by_process.items()},
            self.machine_busy - earlier.machine_busy,
            self.machine_total - earlier.machine_total,
        )

    @property
    def servers(self) -> float:
        """Seconds of all processes that serve: not the load client's."""
        return sum(value for name, value in self.by_process.items() if not name.startswith("load:"))

    @property
    def load(self) -> float:
        """Seconds of the load client."""
        return sum(value for name, value in self.by_process.items() if name.startswith("load:"))

    @property
    def others_share(self) -> float:
        """The share of the machine that went to neither."""
        if not self.machine_total:
            return 0.0
        return max(self.machine_busy - self.servers - self.load, 0.0) / self.machine_total

    @property
    def busy_share(self) -> float:
        """How much of the machine was in use, by anybody."""
        return self.machine_busy / self.machine_total if self.machine_total else 0.0


def list_processes(home: Path | None, up_pid: int | None) -> dict[str, int]:
    """The processes of a stack by name: `api`, `relay`, `gateway` …, `postgresql`, `valkey`, and `up` itself."""
    if home is None:
        return {}
    named = {name: process.pid for name, process in Home(home).processes().items() if process.alive}
    return named | ({"up": up_pid} if up_pid else {})


def find_replaced(before: Mapping[str, int], after: Mapping[str, int], *, killed: str = "") -> list[str]:
    """Processes of the stack that ended during the run, or were not there at its start: what they used is not known.

    `killed` is the role that the benchmark itself has killed.
    """
    running = {_role(name) for name in before}
    missing = sorted(_ROLES - running) if "up" in running else ()
    return [
        *(f"{name} was not running at the start" for name in missing),
        *(
            f"{name} ended or was started during the run"
            for name in sorted({*before, *after})
            if not name.startswith("load:") and _role(name) != killed and before.get(name) != after.get(name)
        ),
    ]


def _role(name: str) -> str:
    return name.partition("-")[0]  # `gateway-1` is a gateway


def read_usage(processes: Mapping[str, int]) -> Usage:
    """What these processes and their children have used so far. `up` counts without its children, who are named."""
    if not HERE:
        return Usage({}, 0.0, 0.0)
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            found = _read_stat(entry)
            if found is not None:
                parent, used = found
                children.setdefault(parent, []).append(int(entry.name))
                seconds[int(entry.name)] = used
    by_process = {
        name: sum(seconds.get(each, 0.0) for each in ([pid] if name == "up" else _tree(pid, children)))
        for name, pid in processes.items()
    }
    if "up" in by_process:
        # What its ended children have used is theirs, and was before.
        by_process["up"] = _own_seconds(processes["up"])
    return Usage(by_process, *_read_machine())


def read_memory(pid: int) -> int:
    """Bytes of memory that a process alone holds; 0 where it cannot be had."""
    try:
        lines = PROC.joinpath(str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return private * 1024


def _tree(pid: int, children: Mapping[int, Iterable[int]]) -> list[int]:
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def _fields(entry: Path) -> list[str] | None:
    try:
        return entry.joinpath("stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _read_stat(entry: Path) -> tuple[int, float] | None:
    """The parent of a process, and its seconds with those of its ended children."""
    fields = _fields(entry)
    return None if fields is None else (int(fields[1]), sum(map(int, fields[11:15])) / _TICK)


def _own_seconds(pid: int) -> float:
    fields = _fields(PROC / str(pid))
    return 0.0 if fields is None else sum(map(int, fields[11:13])) / _TICK


def _read_machine() -> tuple[float, float]:
    """Busy and all seconds of all cores."""
    values = [int(value) for value in PROC.joinpath("stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = values[3] + values[4]
    return (sum(values) - idle) / _TICK, sum(values) / _TICK
