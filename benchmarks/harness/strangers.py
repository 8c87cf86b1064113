"""The process that knocks: sign-ins with a wrong password, in open loop, from one address or from many."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlsplit

from benchmarks.harness.child import Answer, Effort, EffortMeter
from benchmarks.harness.requests import Pool

_TICK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Knocks:
    """What the process is to do: `per_second` sign-ins to these accounts in turn, over `connections`, which come from
    these addresses in turn.
    """

    api_url: str
    emails: tuple[str, ...]
    addresses: tuple[str, ...]
    per_second: float
    connections: int = 200


@dataclass(slots=True)
class Knocked:
    """What became of it: answers by status, and what was not answered."""

    due: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    effort: Effort = field(default_factory=lambda: Effort(0.0, 0.0, 0.0))


class _Knock:
    """One sign-in that is due."""

    __slots__ = ("_knocked", "_text", "due_ns")

    def __init__(self, knocked: Knocked, text: bytes) -> None:
        self.due_ns = time.monotonic_ns()
        self._knocked = knocked
        self._text = text
        knocked.due += 1

    def encode(self) -> bytes:
        """The request."""
        return self._text

    def answered(self, status: int, body: bytes) -> None:
        """Count the answer."""
        self._knocked.by_status[status] += 1

    def failed(self, kind: str) -> None:
        """Count that there was none."""
        self._knocked.failures[kind] += 1


class _Strangers:
    """Knocks from `begin` to `end`."""

    def __init__(self) -> None:
        self._is_over = asyncio.Event()
        self._knocking: asyncio.Task[Knocked] | None = None

    async def begin(self, plan: Knocks) -> None:
        """Begin to knock; the connections are open when this returns."""
        self._is_over.clear()
        pool = Pool(plan.api_url, plan.connections, local_addresses=plan.addresses)
        await pool.open()
        self._knocking = asyncio.create_task(self._knock(plan, pool))

    async def end(self, _: object) -> Knocked:
        """Stop; what came of it, once every sign-in is answered or has failed."""
        assert self._knocking is not None, "`begin` comes first"
        self._is_over.set()
        return await self._knocking

    async def _knock(self, plan: Knocks, pool: Pool) -> Knocked:
        texts = cycle([_request(plan, email) for email in plan.emails])
        knocked, meter = Knocked(), EffortMeter()
        begun = time.monotonic()
        while not self._is_over.is_set():
            while knocked.due < (time.monotonic() - begun) * plan.per_second:
                pool.add(_Knock(knocked, next(texts)))
            await asyncio.sleep(_TICK_SECONDS)
        knocked.effort = meter.read()
        try:
            await pool.wait_answered()
        except TimeoutError:
            answered = sum(knocked.by_status.values()) + sum(knocked.failures.values())
            knocked.failures["no answer within a minute"] += knocked.due - answered
        pool.close()
        return knocked


def _request(plan: Knocks, email: str) -> bytes:
    body = f'{{"email":"{email}","password":"a guess"}}'
    return (
        f"POST /api/auth/login HTTP/1.1\r\nHost: {urlsplit(plan.api_url).netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def run_strangers(_: object) -> Mapping[str, Answer]:
    """The program of the process: it knocks by each plan, until it is told to end."""
    strangers = _Strangers()
    return {"begin": strangers.begin, "end": strangers.end}
