"""A process of the load client: started apart, so that it shares neither the interpreter nor the loop with anybody.

Parent and child speak in pairs: the parent asks with a name and an argument, the child answers with one value.
"""

import asyncio
import multiprocessing
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import uvloop

ANSWER_SECONDS = 180.0
LAG_TICK_SECONDS = 0.01
_SPAWN = multiprocessing.get_context("spawn")

Answer = Callable[[Any], Awaitable[Any]]
Program = Callable[[Any], Awaitable[Mapping[str, Answer]]]


class ChildError(Exception):
    """A process of the load client failed; the message is its own."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a process works: the share of a core that it used, and how late its loop was (99 % and worst), ms."""

    cpu_share: float
    lag_p99_ms: float
    lag_max_ms: float

    @property
    def is_limit(self) -> bool:
        """Whether the load client, and not what it measures, may have made the figure."""
        return self.cpu_share > 0.85


class Child:
    """A child process that runs `program(argument)` and then answers by the answers that this gives."""

    def __init__(self, name: str, program: Program, argument: Any) -> None:
        self.name = name
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_main, args=(theirs, program, argument), name=name, daemon=True)
        # Ctrl-C reaches every process of a terminal. A child never hears it, not even while it starts: its parent
        # ends it.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid or 0

    async def ask(self, question: str, argument: Any = None, *, seconds: float = ANSWER_SECONDS) -> Any:
        """The child's answer. Raises ChildError if it fails, ends, or does not answer in time."""
        return await asyncio.to_thread(self._ask, question, argument, seconds)

    def _ask(self, question: str, argument: Any, seconds: float) -> Any:
        try:
            self._ours.send((question, argument))
            if not self._ours.poll(seconds):
                raise ChildError(f"{self.name} did not answer {question!r} within {seconds:.0f} s")
            succeeded, answer = self._ours.recv()
        except (EOFError, OSError) as error:
            raise ChildError(f"{self.name} ended while it was asked {question!r}") from error
        if not succeeded:
            raise ChildError(f"{self.name}: {answer}")
        return answer

    def stop(self) -> None:
        """End the process, whatever it is asked at the moment: it keeps nothing. Who still waits has a ChildError."""
        self._process.kill()
        self._process.join()


def _main(theirs: Connection, program: Program, argument: Any) -> None:
    uvloop.run(_serve(theirs, program, argument))


async def _serve(theirs: Connection, program: Program, argument: Any) -> None:
    effort = EffortMeter()
    answers: Mapping[str, Answer] = {}
    begun: Exception | None = None
    try:
        answers = await program(argument)
    except Exception as error:  # noqa: BLE001 - the process's boundary: the parent is told at its first question
        begun = error
    questions = _questions(theirs)
    while (asked := await questions.get()) is not None:
        name, value = asked
        try:
            if begun is not None:
                raise begun
            answer: Any = None
            match name:
                case "mark":
                    effort.mark()
                case "effort":
                    answer = effort.read()
                case _:
                    answer = await answers[name](value)
            theirs.send((True, answer))
        except Exception as error:  # noqa: BLE001 - the process's boundary: the parent is told
            theirs.send((False, f"{type(error).__name__}: {error}"))


def _questions(theirs: Connection) -> "asyncio.Queue[tuple[str, Any] | None]":
    """A queue of what the parent asks; None when it is gone."""
    queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        # In a thread: a loop would make the pipe non-blocking, and then large answers do not fit.
        asked: tuple[str, Any] | None = ("", None)
        while asked is not None:
            try:
                asked = theirs.recv()
            except (EOFError, OSError):
                asked = None
            loop.call_soon_threadsafe(queue.put_nowait, asked)

    threading.Thread(target=listen, name="questions", daemon=True).start()
    return queue


class EffortMeter:
    """Measures this process from `mark` to `read`. The lag is how late a timer of 10 ms is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lags: list[float] = []
        self.mark()
        self._tick(self._loop.time())

    def mark(self) -> None:
        """Begin anew."""
        self._lags.clear()
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def read(self) -> Effort:
        """How it was since."""
        lags = sorted(self._lags) or [0.0]
        wall = max(time.monotonic() - self._wall, 1e-9)
        return Effort(
            cpu_share=(time.process_time() - self._cpu) / wall,
            lag_p99_ms=lags[int(len(lags) * 0.99)] * 1000,
            lag_max_ms=lags[-1] * 1000,
        )

    def _tick(self, due: float) -> None:
        now = self._loop.time()
        self._lags.append(max(now - due, 0.0))
        self._loop.call_later(LAG_TICK_SECONDS, self._tick, now + LAG_TICK_SECONDS)
