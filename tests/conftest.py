"""Fixtures for every folder of tests: real servers, once a session, and a fresh database where one is asked for."""

from collections.abc import Iterator

import pytest

from tests.servers import Database, Servers, run_servers


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests and fixtures run on asyncio, all of a session on one event loop."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A PostgreSQL with the schema in its template database, and a Valkey."""
    with run_servers() as running:
        yield running


@pytest.fixture
def database(servers: Servers) -> Iterator[Database]:
    """A fresh database with the schema, for one test."""
    with servers.database() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_database(servers: Servers) -> Iterator[Database]:
    """A fresh database with the schema, shared by the tests of one module."""
    with servers.database() as fresh:
        yield fresh
