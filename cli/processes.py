"""Processes of ours: to tell one from a stranger that got its number, to tie it to its parent, to end it."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process id with the moment at which that process began: the number alone is given out again."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs. One that has ended and waits for its parent does not."""
        return identify(self.pid) == self


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this number now, or None if there is none, or only its remains."""
    if PROC.joinpath("self").exists():
        return _identify_by_proc(pid)
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return ProcessIdentity(pid, started.strip()) if state and not state.startswith("Z") else None


def _identify_by_proc(pid: int) -> ProcessIdentity | None:
    try:
        # The name, in parentheses, may hold anything; what follows the last one does not.
        after_name = PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    state, started = after_name[0], after_name[19]
    return None if state in "ZX" else ProcessIdentity(pid, f"{_boot()} {started}")


@functools.cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
    return "-"


def command_line(pid: int) -> list[str]:
    """The arguments that a process was started with, or nothing where they cannot be had."""
    try:
        return PROC.joinpath(str(pid), "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        answer = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return answer.stdout.split()


def end_processes(
    identities: Iterable[ProcessIdentity], steps: Iterable[tuple[signal.Signals, float]]
) -> bool:
    """Send each signal in turn and wait that many seconds for the processes to be gone; return whether they
    are.

    Blocks. A process that has ended in the meantime, its number given to another, is left alone.
    """
    left = [identity for identity in identities if identity.alive]
    for number, seconds in steps:
        for identity in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            left = [identity for identity in left if identity.alive]
    return not left


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program so that the kernel sends it `number` when its parent is gone.

    For `preexec_fn`, which runs after the change of user (a change of user clears the setting). None where
    the kernel has no such thing; there the roles watch their parent, and the next start ends the servers.
    """
    if not sys.platform.startswith("linux"):
        return None
    # Looked up here: between fork and exec nothing may be loaded.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
