"""The application on a real PostgreSQL and Valkey, called in this process."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.services import Services, open_services
from core.settings import Settings, load_settings
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, create_tenant

SECRET = "a key for tests that is long enough"
_slugs = itertools.count(1)


@dataclass(slots=True)
class Api:
    """The application, and clients that call it."""

    app: FastAPI
    services: Services
    settings: Settings
    _clients: list[httpx.AsyncClient]

    def client(self, tenant: Tenant | None = None, person: str = "ana") -> httpx.AsyncClient:
        """A client, signed in as a person of the tenant if there is one."""
        headers = {}
        if tenant is not None:
            token = self.services.tokens.issue(tenant.people[person], tenant.id, tenant.sessions[person])
            headers["authorization"] = f"Bearer {token}"
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://api.test", headers=headers
        )
        self._clients.append(client)
        return client


@pytest.fixture(scope="module")
def settings(
    servers: Servers, module_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Settings for the module's database."""
    return load_settings(
        database_url=module_database.url,
        redis_url=servers.redis_url,
        secret=SECRET,
        home=tmp_path_factory.mktemp("home"),
        # A test sends in a second what a person does in an hour.
        writes_per_second_per_user=0,
        writes_per_second_per_address=0,
        logins_per_minute_per_address=0,
        logins_per_minute_per_account=0,
        invitations_per_hour_per_organization=0,
        _env_file=None,
    )


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    """The application, for the tests of one module."""
    async with open_services(settings) as services:
        clients: list[httpx.AsyncClient] = []
        yield Api(create_app(services), services, settings, clients)
        for client in clients:
            await client.aclose()


@pytest.fixture(scope="module")
async def owner(module_database: Database) -> AsyncIterator[Connection]:
    """The owner's connection, as somebody in psql has."""
    connection = await asyncpg.connect(module_database.owner_url)
    yield connection
    connection.terminate()


@pytest.fixture
async def tenant(owner: Connection) -> Tenant:
    """A fresh organisation."""
    return await create_tenant(owner, f"acme-{next(_slugs)}")


@pytest.fixture
async def other(owner: Connection) -> Tenant:
    """Another fresh organisation."""
    return await create_tenant(owner, f"other-{next(_slugs)}")


@pytest.fixture
def ana(api: Api, tenant: Tenant) -> httpx.AsyncClient:
    """Signed in as the manager."""
    return api.client(tenant, "ana")


async def eventually(look: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until `look` says yes; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await look():
            await asyncio.sleep(0.05)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem of an answer, which has to have this status and code."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["code"], body["status"]) == (code, status)
    assert {"type", "title", "detail"} <= body.keys()
    return body


async def create(client: httpx.AsyncClient, collection: str = "leads", **fields: Any) -> dict[str, Any]:
    """Create a record; gives it."""
    response = await client.post(f"/api/{collection}", json=fields)
    assert response.status_code == 201, response.text
    record: dict[str, Any] = response.json()
    return record
