"""The whole system as its users run it, shared by the tests of this folder."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.stack import Stack, run_stack
from tests.tenants import Connection


@pytest.fixture(scope="session")
def system() -> Iterator[Stack]:
    """`branchline up` with two gateways and the demo data."""
    with run_stack("end_to_end") as running:
        yield running


@pytest.fixture
async def owner(system: Stack) -> AsyncIterator[Connection]:
    """A connection as the owner of the tables."""
    connection = await asyncpg.connect(system.owner_url)
    yield connection
    connection.terminate()
