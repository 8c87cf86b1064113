"""A gateway on a test's fresh database, with a relay that does what the test says."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.gateways import RunningGateway, run_gateway
from tests.servers import Database, Servers
from tests.tenants import Tenant, create_tenant


@pytest.fixture
async def gateway(servers: Servers, database: Database) -> AsyncIterator[RunningGateway]:
    """A gateway on the test's database."""
    async with run_gateway(database, servers.redis_url) as running:
        yield running


@pytest.fixture(scope="module")
async def shared_gateway(servers: Servers, module_database: Database) -> AsyncIterator[RunningGateway]:
    """A gateway for all tests of a module, on the module's database."""
    async with run_gateway(module_database, servers.redis_url) as running:
        yield running


@pytest.fixture(scope="module")
async def shared_tenant(module_database: Database) -> Tenant:
    """An organisation in the module's database."""
    owner = await asyncpg.connect(module_database.owner_url)
    try:
        return await create_tenant(owner)
    finally:
        await owner.close()
