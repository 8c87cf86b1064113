"""A replica serves catch-up as far as it has what is asked for, and the primary the rest."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from core.database import Connection as DatabaseConnection
from core.database import Pool, create_pool
from core.queries import load
from gateway.source import Source
from tests.integration.gateway.leads import make_lead
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, create_tenant

_queries = load("gateway")


@contextlib.asynccontextmanager
async def pool_of(database: Database) -> AsyncIterator[Pool]:
    pool = await create_pool(database.url, role="branchline_gateway", application_name="test", max_size=2)
    try:
        yield pool
    finally:
        pool.terminate()


async def where(connection: DatabaseConnection) -> str:
    return str(await connection.fetchval("SELECT current_database()"))


@pytest.mark.parametrize("name", sorted(vars(_queries)))
async def test_a_statement_can_be_prepared(database: Database, name: str) -> None:
    connection = await asyncpg.connect(database.url, server_settings={"role": "branchline_gateway"})
    await connection.prepare(getattr(_queries, name))
    await connection.close()


async def test_what_a_replica_has_is_read_there_and_the_rest_from_the_primary(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    await make_lead(api, tenant)
    with servers.database() as copy:
        async with pool_of(database) as primary, pool_of(copy) as replica:
            source = Source(primary, replica)
            head = await primary.fetchval(_queries.fetch_offset, tenant.id)
            assert head > 0
            assert await source.read(tenant.id, 0, where) == copy.name
            assert await source.read(tenant.id, head, where) == database.name
            assert await Source(primary).read(tenant.id, 0, where) == database.name
            owner = await asyncpg.connect(copy.owner_url)
            theirs = await create_tenant(owner)
            await owner.close()
            assert await source.read(theirs.id, 1, where) == copy.name


async def test_a_replica_that_is_away_costs_nothing_but_time(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    with servers.database() as copy:
        async with pool_of(database) as primary, pool_of(copy) as replica:
            replica.terminate()
            assert await Source(primary, replica).read(tenant.id, 0, where) == database.name
