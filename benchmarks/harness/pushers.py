"""The process that pushes: clients that come back and send what they wrote meanwhile, by `POST /api/sync`."""

import gc
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson

from benchmarks.harness.child import Answer, Effort, EffortMeter
from benchmarks.harness.latencies import Counted, Latencies
from benchmarks.harness.offline_work import Asked, Branch, Desk, Folded, Mix
from benchmarks.harness.requests import Pool, due_times, request_head
from benchmarks.harness.writers import Writer


@dataclass(frozen=True, slots=True)
class Pushes:
    """What the process is to do: pushes of `batch` mutations each, by the people of each organisation in turn.

    `per_second` counts mutations; 0 means closed loop: each of the connections pushes again as soon as it is answered.
    Only what is due from `measured_ns` is counted and timed.
    """

    api_url: str
    organizations: tuple[tuple[Writer, ...], ...]
    per_second: float
    batch: int
    mix: Mix
    from_ns: int
    until_ns: int
    measured_ns: int
    connections: int


@dataclass(slots=True)
class Pushed:
    """What became of it. `measured` counts mutations that were due in the measured time and not refused, and
    `measured_seconds` is from its begin to the last answer.

    `folded` says what PostgreSQL must have, by organisation; `push` is the latency of a push, `lateness` how long after
    its due time it left.
    """

    pushes: int = 0
    measured: int = 0
    measured_seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    folded: list[Folded] = field(default_factory=list)
    push: Counted | None = None
    lateness: Counted | None = None
    effort: Effort = field(default_factory=lambda: Effort(0.0, 0.0, 0.0))


class _Client:
    """Somebody who pushes, one push at a time in their own order."""

    def __init__(self, host: str, writer: Writer, desk: Desk) -> None:
        self.branch = Branch(desk)
        self.head = request_head("POST", "/api/sync", host, writer.token)


class _Push:
    """One push that is due."""

    __slots__ = ("_asked", "_client", "_score", "due_ns")

    def __init__(self, score: "_Score", number: int, due_ns: int) -> None:
        self.due_ns = due_ns
        self._score = score
        self._client = score.clients[number % len(score.clients)]
        self._asked: list[Asked] = []
        score.pushed.pushes += 1

    def encode(self) -> bytes:
        """Drawn when it leaves, as a client's queue is."""
        client = self._client
        now_ms, self._asked = client.branch.draw(self._score.plan.batch)
        body = orjson.dumps(
            {
                "client_id": client.branch.client_id,
                "now_ms": now_ms,
                "mutations": [asked.mutation for asked in self._asked],
            }
        )
        return b"%b%d\r\n\r\n%b" % (client.head, len(body), body)

    def answered(self, status: int, body: bytes) -> None:
        """Score the results."""
        score = self._score
        if status != 200:
            self.failed(f"HTTP {status}")
            score.pushed.errors = [*score.pushed.errors, body[-300:].decode(errors="replace")][:3]
            return
        score.latencies.record(self.due_ns, time.monotonic_ns())
        results = orjson.loads(body)["results"]
        self._client.branch.settle(self._asked, results)
        if self.due_ns >= score.plan.measured_ns:
            score.pushed.measured += sum(result["status"] != "rejected" for result in results)

    def failed(self, kind: str) -> None:
        """Score that there was no answer."""
        self._score.pushed.failures[kind] += 1


class _Score:
    """The plan, its clients, and what has come of it so far."""

    def __init__(self, plan: Pushes) -> None:
        self.plan = plan
        self.pushed = Pushed()
        self.latencies = Latencies(plan.measured_ns)
        host = urlsplit(plan.api_url).netloc
        self.desks = [
            Desk(writers[0].branch_id, plan.mix, plan.mix.seed + number)
            for number, writers in enumerate(plan.organizations)
        ]
        # In turn, so that neighbours in a batch are of different organisations.
        most = max(map(len, plan.organizations))
        self.clients = [
            _Client(host, writers[number], desk)
            for number in range(most)
            for writers, desk in zip(plan.organizations, self.desks, strict=True)
            if number < len(writers)
        ]


async def run_pushes(plan: Pushes) -> Pushed:
    """Push as planned; the score, once every push is answered or has failed."""
    score = _Score(plan)
    pool = Pool(plan.api_url, plan.connections, plan.measured_ns)
    per_second = plan.per_second / plan.batch
    times = due_times(per_second, plan.from_ns, plan.until_ns) if per_second else None
    await pool.open_for(times)
    gc.freeze()
    meter = EffortMeter()
    await pool.run(times, plan.until_ns, lambda number, due_ns: _Push(score, number, due_ns))
    score.pushed.effort = meter.read()
    await pool.wait_answered()
    score.pushed.measured_seconds = (time.monotonic_ns() - max(plan.measured_ns, plan.from_ns)) / 1e9
    pool.close()
    score.pushed.folded = [desk.folded for desk in score.desks]
    score.pushed.push = score.latencies.counted()
    score.pushed.lateness = pool.lateness.counted()
    return score.pushed


async def run_pushers(_: object) -> Mapping[str, Answer]:
    """The program of the process: it pushes each plan that it is asked to."""
    return {"push": run_pushes}
