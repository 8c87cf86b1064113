"""The benchmarks' own stack: they run here in short forms, for what they say and not for their figures."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from benchmarks.harness import stack
from benchmarks.harness.people import Connection
from benchmarks.harness.stack import Stack, run_stack
from tests.leaks import leaks_of


@pytest.fixture(scope="session", autouse=True)
def logs_without_secrets() -> Iterator[None]:
    """See at the end of each stack that a benchmark starts that its logs hold no secret."""

    def read_logs(folder: Path) -> None:
        leaks = leaks_of(folder)
        assert not leaks, f"the logs of a benchmark's stack hold what no log may hold: {leaks}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "read_logs", read_logs)
        yield


@pytest.fixture(scope="session")
def bench_stack() -> Iterator[Stack]:
    """`branchline up` as a benchmark starts it, with two gateways."""
    with run_stack(gateways=2) as running:
        yield running


@pytest.fixture
async def bench_owner(bench_stack: Stack) -> AsyncIterator[Connection]:
    """A connection as the owner of the tables."""
    connection = await asyncpg.connect(bench_stack.owner_database_url)
    yield connection
    connection.terminate()
