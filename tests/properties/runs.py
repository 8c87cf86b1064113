"""How a property is run: from a seed that is printed, against one database, on one event loop of its own."""

import asyncio
import contextlib
import os
import secrets
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from tests.servers import Database
from tests.tenants import Connection

SEED_VARIABLE = "BRANCHLINE_TEST_SEED"
T = TypeVar("T")


def choose_seed() -> int:
    """The seed of a run: the one that the environment names, to repeat a run, else a fresh one. It is printed."""
    chosen = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(2**32))
    print(f"seed {chosen} (repeat with {SEED_VARIABLE}={chosen})")
    return chosen


def thorough(examples: int, steps: int = 50) -> settings:
    """Settings for so many runs; no deadline, because a database has none that would mean anything."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.target, Phase.shrink),
    )


def run_machine(machine: type[RuleBasedStateMachine], chosen: int, *, examples: int, steps: int) -> None:
    """Run a state machine from a seed."""
    seed(chosen)(get_state_machine_test(machine, settings=thorough(examples, steps)))()


@dataclass(slots=True)
class Bench:
    """A database's connections and the loop that they live on, for tests that are not asynchronous themselves."""

    runner: asyncio.Runner
    owner: Connection
    api: Connection
    other: Connection
    seen: Counter[str] = field(default_factory=Counter)
    _organizations: int = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self.runner.run(coroutine)

    def slug(self) -> str:
        """A name for one more organisation."""
        self._organizations += 1
        return f"run-{self._organizations}"


@contextlib.contextmanager
def open_bench(database: Database) -> Iterator[Bench]:
    """Connect as the owner, and twice as the API does."""

    async def api() -> Connection:
        return await asyncpg.connect(database.url, server_settings={"role": "branchline_api"})

    with asyncio.Runner() as runner:
        bench = Bench(
            runner, runner.run(asyncpg.connect(database.owner_url)), runner.run(api()), runner.run(api())
        )
        try:
            yield bench
        finally:
            for connection in (bench.owner, bench.api, bench.other):
                runner.run(connection.close(timeout=10))
            print(", ".join(f"{name}: {count}" for name, count in sorted(bench.seen.items())))
