"""Connections to a test's fresh database, and an organisation in it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from tests.servers import Database
from tests.tenants import Connection, Tenant, create_tenant

Connect = Callable[..., Awaitable[Connection]]


@pytest.fixture
async def connect(database: Database) -> AsyncIterator[Connect]:
    """Opens connections to the test's database: as the owner, or as one of the application's roles."""
    opened: list[Connection] = []

    async def open_one(role: str | None = None) -> Connection:
        if role is None:
            connection = await asyncpg.connect(database.owner_url)
        else:
            connection = await asyncpg.connect(database.url, server_settings={"role": role})
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.terminate()


@pytest.fixture
async def owner(connect: Connect) -> Connection:
    """The owner's connection, as somebody in psql has."""
    return await connect()


@pytest.fixture
async def api(connect: Connect) -> Connection:
    """A connection under the API's role."""
    return await connect("branchline_api")


@pytest.fixture
async def tenant(owner: Connection) -> Tenant:
    """An organisation with two branches and five people."""
    return await create_tenant(owner)
