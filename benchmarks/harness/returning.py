"""The process whose subscribers come back: their gateway dies, and when told they return, each in its own moment."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness.child import Answer
from benchmarks.harness.subscribers import Subscriber, Subscribers, Swarm

FIRST_WAIT_SECONDS = 10.0
"""The ceiling of the first try after a live connection broke, as clients/CONTRACT.md has it; evenly drawn below it."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Return:
    """When they may come back, on the monotonic clock, the seed of their waits, and how long they may take in all.

    `first_wait_seconds` is the ceiling of the first wait.
    """

    from_ns: int
    seed: int
    deadline_seconds: float
    first_wait_seconds: float = FIRST_WAIT_SECONDS


@dataclass(slots=True)
class Returned:
    """How it went. `live_seconds` is when each was live again, from the moment at which they were let go, in order."""

    live_seconds: list[float] = field(default_factory=list)
    missing: int = 0
    tries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    positions: set[tuple[int, int]] = field(default_factory=set)

    @property
    def most_in_a_second(self) -> int:
        """How many were live within the same second, at most: the peak of the storm."""
        return max(Counter(int(seconds) for seconds in self.live_seconds).values(), default=0)


class Flock(Swarm):
    """Subscribers that come back with their position."""

    def __init__(self, plan: Subscribers) -> None:
        super().__init__(plan)
        self._random = random.Random()
        self._returned = Returned()
        self._coming: dict[Subscriber, asyncio.Future[bool]] = {}

    async def wait_lost(self, seconds: float) -> int:
        """Wait until every socket is lost; how many are not after so long."""
        await self._wait_until(lambda: all(each.lost is not None for each in self.sockets), seconds, None)
        return sum(each.lost is None for each in self.sockets)

    async def come_back(self, plan: Return) -> Returned:
        """Let all come back, each after its own wait; how it went, when all are live or the time is over."""
        self._random = random.Random(plan.seed)
        self._returned = Returned()
        deadline = plan.from_ns / 1e9 + plan.deadline_seconds
        watching = asyncio.create_task(self._watch(deadline))
        async with asyncio.TaskGroup() as tasks:
            for number, group in enumerate(self._groups):
                for index in range(len(group.subscribers)):
                    tasks.create_task(self._come_back(plan, number, index, deadline))
        watching.cancel()
        self._returned.live_seconds.sort()
        return self._returned

    async def _come_back(self, plan: Return, number: int, index: int, deadline: float) -> None:
        group, returned = self._groups[number], self._returned
        before = group.subscribers[index]
        epoch, view = before.follower.place
        since = {"epoch": epoch, "offset": before.follower.position, "view": view}
        returned.positions.add((number, before.follower.position))
        ticket = replace(self._plan.groups[number][index], since=since)
        wait = max(plan.from_ns / 1e9 - time.monotonic(), 0.0)
        await asyncio.sleep(wait + self._random.uniform(0, plan.first_wait_seconds))
        failures = 0
        while time.monotonic() < deadline:
            subscriber = Subscriber(before.url, group, ticket, None)
            if await self._try(subscriber):
                group.subscribers[index] = subscriber
                returned.live_seconds.append(time.monotonic() - plan.from_ns / 1e9)
                returned.snapshots += subscriber.follower.snapshot_records > 0
                return
            failures += 1
            await asyncio.sleep(self._random.uniform(0, min(30.0, 0.5 * 2 ** min(failures, 6))))
        returned.missing += 1

    async def _try(self, subscriber: Subscriber) -> bool:
        self._returned.tries += 1
        loop, parts = asyncio.get_running_loop(), urlsplit(subscriber.url)
        try:
            await loop.create_connection(lambda: subscriber, parts.hostname or "", parts.port or 80)
        except OSError as error:
            self._returned.refused[error.strerror or type(error).__name__] += 1
            return False
        live: asyncio.Future[bool] = loop.create_future()
        self._coming[subscriber] = live
        return await live

    async def _watch(self, deadline: float) -> None:
        """One look at all who are on their way, again and again: a task for each would be the load client's limit."""
        while True:
            for subscriber, live in list(self._coming.items()):
                follower = subscriber.follower
                if follower.is_joined and follower.position >= follower.target:
                    live.set_result(True)
                elif subscriber.lost is not None:
                    self._returned.refused[subscriber.lost] += 1
                    live.set_result(False)
                elif time.monotonic() > deadline:
                    subscriber.abort()
                    live.set_result(False)
                if live.done():
                    del self._coming[subscriber]
            await asyncio.sleep(_POLL_SECONDS)


async def run_returning(plan: Subscribers) -> Mapping[str, Answer]:
    """The program of the process."""
    flock = Flock(plan)
    await flock.connect()
    answers: dict[str, Any] = {
        "joined": flock.joined, "counts": flock.counts, "reach": flock.reach, "verify": flock.verify,
        "wait_lost": flock.wait_lost, "come_back": flock.come_back,
    }  # fmt: skip
    return answers
