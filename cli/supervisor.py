"""Child processes that are kept running: started, logged, started again when they end, stopped in order."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from cli.placement import SystemUser, run_as
from cli.processes import ProcessIdentity, die_with_parent, identify
from core.lifecycle import StartupError

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
# A child that ran this long had started well: the next delay is the first again.
STEADY_SECONDS = 10.0
DESCENDANTS_SECONDS = 5.0
LOG_LIMIT_BYTES = 16 * 1024 * 1024
LINE_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A program to keep running.

    `worth_showing` is given each line that the program writes and returns what the person at the terminal
    should see of it, or None. `death_signal` is what the kernel sends it if we die without a word;
    `stop_steps` are the signals that end it, each with the seconds that it is given.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    stop_steps: Sequence[tuple[signal.Signals, float]]
    death_signal: signal.Signals
    worth_showing: Callable[[bytes], str | None]
    user: SystemUser | None = None
    standard_input: bytes | None = None
    # The exit status by which the program says that starting it again is of no use.
    hopeless_status: int | None = None
    folder: str = "/"


class LogFile:
    """A file that lines are added to; past its limit it is put aside as `<name>.1` and begun again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._size = self._path.stat().st_size

    def write(self, line: bytes) -> None:
        """Add one line, without its end."""
        if self._size > LOG_LIMIT_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._open()
        self._size += self._file.write(line + b"\n") or 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Child:
    """One program, and its process if it runs.

    `say` is given sentences for the person at the terminal, `changed` is called when the process has changed.
    """

    spec: ChildSpec
    say: Callable[[str], None]
    changed: Callable[[], None] = lambda: None
    identity: ProcessIdentity | None = None
    settled: bool = False
    exits: int = 0
    _process: asyncio.subprocess.Process | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _failure: StartupError | None = None
    _last_line: str = ""

    async def run(self) -> None:
        """Keep the program running until `stop`. Returns too if it cannot start and has not `settled`."""
        log = LogFile(self.spec.log_file)
        delay = FIRST_DELAY_SECONDS
        loop = asyncio.get_running_loop()
        try:
            while not self._stopping.is_set():
                began = loop.time()
                status = await self._run_once(log)
                if self._stopping.is_set():
                    return
                self.exits += 1
                if not self.settled and status == self.spec.hopeless_status:
                    self._failure = StartupError(self._last_line or f"the {self.spec.name} cannot start.")
                    return
                if loop.time() - began > STEADY_SECONDS:
                    delay = FIRST_DELAY_SECONDS
                reason = f" ({self._last_line.rstrip('.')})" if status == self.spec.hopeless_status else ""
                self.say(
                    f"{self.spec.name} {_describe_exit(status)}{reason}; starting it again in {delay:.1f} s."
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)
        finally:
            log.close()

    @property
    def failure(self) -> StartupError | None:
        """Why the program cannot start, once it has said so by its exit status."""
        return self._failure

    @property
    def last_line(self) -> str:
        """What it wrote last."""
        return self._last_line

    async def stop(self) -> None:
        """End the process, with ever stronger signals, and start it no more. Returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        for number, seconds in self.spec.stop_steps:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)
                return

    async def _run_once(self, log: LogFile) -> int:
        spec = self.spec
        extra: dict[str, Any] = dict(run_as(spec.user))
        process = await asyncio.create_subprocess_exec(
            *spec.arguments,
            stdin=subprocess.DEVNULL if spec.standard_input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(spec.environment),
            cwd=spec.folder,
            # Out of the terminal's process group: Ctrl-C is for us, and we stop the children in order.
            start_new_session=True,
            preexec_fn=die_with_parent(spec.death_signal),
            **extra,
        )
        self._process = process
        self.identity = identify(process.pid)
        self.changed()
        try:
            if self._stopping.is_set():
                # stop() came while the process was being made and has not seen it.
                process.kill()
            if spec.standard_input is not None and process.stdin is not None:
                process.stdin.write(spec.standard_input)
                process.stdin.close()
            assert process.stdout is not None
            follow = asyncio.create_task(self._follow(process.stdout, log))
            status = await process.wait()
            # Descendants may hold the pipe a little longer: a killed postmaster's backends, until they
            # notice.
            await asyncio.wait([follow], timeout=DESCENDANTS_SECONDS)
            follow.cancel()
            return status
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self._process = self.identity = None
            self.changed()

    async def _follow(self, output: asyncio.StreamReader, log: LogFile) -> None:
        rest = b""
        while chunk := await output.read(LINE_LIMIT_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_LIMIT_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(line, log)
        if rest:
            self._take(rest, log)

    def _take(self, line: bytes, log: LogFile) -> None:
        log.write(line)
        if line.strip():
            self._last_line = line.decode(errors="replace").strip().removeprefix("branchline: ")
        shown = self.spec.worth_showing(line)
        if shown is not None:
            self.say(f"{self.spec.name}: {shown}")


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def show_role_line(line: bytes) -> str | None:
    """What is shown of a line of one of our own roles: warnings, errors, and whatever is not a log event.

    Not the line that says why it cannot start: that one is part of what is said when it has ended.
    """
    text = line.decode(errors="replace").rstrip()
    if text.startswith("branchline: "):
        return None
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return text or None
    if not isinstance(event, dict) or event.get("level") not in ("warning", "error", "critical"):
        return None
    hidden = ("event", "level", "role", "at", "exception")
    details = " ".join(f"{name}={value}" for name, value in event.items() if name not in hidden)
    return f"{event['level']}: {event.get('event', '')} {details}".rstrip()


def show_postgresql_line(line: bytes) -> str | None:
    """What is shown of PostgreSQL's log: what ends the server, and a disk that is full."""
    wanted = (b" PANIC: ", b"No space left on device")
    return line.decode(errors="replace").strip() if any(word in line for word in wanted) else None


def show_nothing(line: bytes) -> str | None:
    """Nothing: the log file has it."""
    return None


@dataclass
class Supervisor:
    """Children in the order in which they were started. `keep` is told who runs whenever that changes."""

    say: Callable[[str], None]
    keep: Callable[[Mapping[str, ProcessIdentity]], None]
    children: list[Child] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, spec: ChildSpec) -> Child:
        """Start a program and keep it running."""
        child = Child(spec, self.say, self._note)
        self.children.append(child)
        self._tasks.append(asyncio.create_task(child.run(), name=f"child {spec.name}"))
        return child

    async def stop(self, children: Sequence[Child]) -> None:
        """Stop some of the children, all at the same time."""
        await asyncio.gather(*(child.stop() for child in children))

    async def wait_ended(self) -> None:
        """Return when every child that was stopped is put away; raise what a child's task has raised."""
        await asyncio.gather(*self._tasks)

    async def wait_defect(self) -> None:
        """Wait for a child's task to fail by a defect of ours, and raise that. A child that ends is no
        defect.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def _note(self) -> None:
        self.keep({c.spec.name: c.identity for c in self.children if c.identity is not None})
