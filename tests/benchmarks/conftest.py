"""The benchmarks' own stack: they run here in short forms, for what they say and not for their figures."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from benchmarks.harness.people import Connection
from benchmarks.harness.stack import Stack, run_stack


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
