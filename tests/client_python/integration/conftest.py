"""The whole system, and clients of its demo people."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from branchline_client import Client, RetryPolicy, connect
from tests.faults.proxy import Proxy
from tests.stack import Stack, run_stack

QUICK = RetryPolicy(base_ms=20, cap_ms=500, lost_ms=200, silent_ms=100, away_ms=200, blocked_ms=5_000)
"""Waits for a test that has one client, not thousands."""

Open = Callable[..., Any]


def client_of(system: Stack, email: str, **options: Any) -> Client:
    """A client of a demo person, for `async with`."""
    token = options.pop("token", None) or system.token(email)
    return connect(system.api_url, token, **{"retry": QUICK, **options})


@pytest.fixture(scope="session")
def system() -> Iterator[Stack]:
    """`branchline up` with two gateways and the demo data."""
    with run_stack("client_python") as running:
        yield running


@pytest.fixture
async def open_client(system: Stack) -> AsyncIterator[Open]:
    """Opens clients, which are closed at the end: `await open_client("ana@demo.test", store=…)`."""
    async with AsyncExitStack() as stack:

        async def open_one(email: str, **options: Any) -> Client:
            client: Client = await stack.enter_async_context(client_of(system, email, **options))
            await client.wait_live()
            return client

        yield open_one


@pytest.fixture
async def gateway_proxy(system: Stack) -> AsyncIterator[Proxy]:
    """A way to the gateways that can be broken."""
    async with Proxy(urlsplit(system.gateway_url).port or 0) as proxy:
        yield proxy


def through(proxy: Proxy) -> str:
    """The gateways' address by way of a proxy."""
    return f"ws://127.0.0.1:{proxy.port}/ws"
