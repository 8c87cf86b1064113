"""The process that asks: GET requests of several kinds in open loop, each answer checked."""

import gc
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson

from benchmarks.harness.child import Answer, Effort, EffortMeter
from benchmarks.harness.latencies import Counted, Latencies
from benchmarks.harness.requests import Pool, due_times


@dataclass(frozen=True, slots=True)
class Question:
    """One request, and what its answer must be: a status, and at least `length` entries in the list `entries`."""

    kind: str
    path: str
    token: str
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    entries: str = ""
    length: int = 0


@dataclass(frozen=True, slots=True)
class Questions:
    """What the process is to do: these in turn, so many a second. What is due before `measured_ns` is not timed."""

    api_url: str
    questions: tuple[Question, ...]
    per_second: float
    from_ns: int
    until_ns: int
    measured_ns: int
    connections: int = 32


@dataclass(slots=True)
class Answered:
    """What became of it, by kind."""

    latencies: dict[str, Counted] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    lateness: Counted | None = None
    effort: Effort = field(default_factory=lambda: Effort(0.0, 0.0, 0.0))


class _Asked:
    """One that is due."""

    __slots__ = ("_question", "_score", "due_ns")

    def __init__(self, score: "_Score", question: Question, due_ns: int) -> None:
        self._score = score
        self._question = question
        self.due_ns = due_ns

    def encode(self) -> bytes:
        """The request."""
        asked = self._question
        more = "".join(f"{name}: {value}\r\n" for name, value in asked.headers)
        return (
            f"GET {asked.path} HTTP/1.1\r\nHost: {self._score.host}\r\n"
            f"Authorization: Bearer {asked.token}\r\n{more}\r\n"
        ).encode()

    def answered(self, status: int, body: bytes) -> None:
        """Check it, and count how long it took."""
        now_ns, asked = time.monotonic_ns(), self._question
        if status != asked.status:
            self.failed(f"HTTP {status} for {asked.kind}", body)
        elif asked.entries and len(orjson.loads(body)[asked.entries]) < asked.length:
            self.failed(f"fewer {asked.entries} than {asked.length} for {asked.kind}", body)
        else:
            self._score.latencies[asked.kind].record(self.due_ns, now_ns)

    def failed(self, kind: str, body: bytes = b"") -> None:
        """It was not what it must be."""
        answered = self._score.answered
        answered.failures[kind] += 1
        if body and len(answered.errors) < 3:
            answered.errors.append(body[:300].decode(errors="replace"))


class _Score:
    """The plan, and what has come of it so far."""

    def __init__(self, plan: Questions) -> None:
        self.host = urlsplit(plan.api_url).netloc
        kinds = dict.fromkeys(question.kind for question in plan.questions)
        self.latencies = {kind: Latencies(plan.measured_ns) for kind in kinds}
        self.answered = Answered()


async def ask(plan: Questions) -> Answered:
    """Ask as planned."""
    score = _Score(plan)
    pool = Pool(plan.api_url, plan.connections, plan.measured_ns)
    times = due_times(plan.per_second, plan.from_ns, plan.until_ns)
    await pool.open_for(times)
    gc.freeze()
    meter = EffortMeter()
    questions = plan.questions
    await pool.run_paced(
        times, lambda number, due_ns: _Asked(score, questions[number % len(questions)], due_ns)
    )
    answered = score.answered
    answered.effort = meter.read()
    await pool.wait_answered()
    pool.close()
    answered.latencies = {kind: latencies.counted() for kind, latencies in score.latencies.items()}
    answered.lateness = pool.lateness.counted()
    return answered


async def run_askers(_: object) -> Mapping[str, Answer]:
    """The program of the process: it asks each plan that it is given."""
    return {"ask": ask}
