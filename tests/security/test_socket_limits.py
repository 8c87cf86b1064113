"""The limits on sockets, by their defaults, and that whoever keeps to them is not harmed by whoever does not."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from core.addresses import parse_networks
from gateway.options import Options
from tests.gateways import RunningGateway, Socket, run_gateway
from tests.security.people import people_of
from tests.servers import Database, Servers
from tests.tenants import Tenant, new_id

DEFAULTS = Options()
SECONDS = 30.0


@pytest.fixture
async def gateway(module_database: Database, servers: Servers) -> AsyncIterator[RunningGateway]:
    """A gateway with the limits that it has by default."""
    limits: dict[str, Any] = {
        "connections_per_user": DEFAULTS.connections_per_user,
        "connections_per_address": DEFAULTS.connections_per_address,
        "messages_per_second_per_user": DEFAULTS.messages_per_second_per_user,
    }
    async with run_gateway(module_database, servers.redis_url, **limits) as running:
        yield running


@pytest.fixture
async def tenant(module_database: Database) -> Tenant:
    """A fresh organisation."""
    return await people_of(module_database)


async def status_of(gateway: RunningGateway, **options: object) -> int:
    with pytest.raises(InvalidStatus) as raised:
        async with Socket.open(gateway.url, **options):
            pass
    return raised.value.response.status_code


async def test_the_eleventh_socket_of_a_person_is_one_too_many_however_it_signs_in(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    headers = {"Authorization": f"Bearer {gateway.token(tenant)}"}
    async with AsyncExitStack() as opened:
        for _ in range(10):
            await opened.enter_async_context(gateway.socket(tenant))
        assert await status_of(gateway, additional_headers=headers) == 429
        async with Socket.open(gateway.url) as eleventh:
            await eleventh.send(type="authenticate", client_id=new_id(), token=gateway.token(tenant))
            assert await eleventh.wait_closed() == 4509
            assert eleventh.messages == []
        async with gateway.socket(tenant, "ben"):
            pass
    # A place that is free again is given again.
    async with asyncio.timeout(SECONDS):
        while True:
            async with Socket.open(gateway.url) as again:
                await again.send(type="authenticate", client_id=new_id(), token=gateway.token(tenant))
                try:
                    await again.next("ready")
                    break
                except AssertionError:
                    await asyncio.sleep(0.05)


async def test_the_hundred_and_first_socket_from_an_address_is_refused_before_the_upgrade(
    gateway: RunningGateway,
) -> None:
    async with AsyncExitStack() as opened:
        for _ in range(100):
            await opened.enter_async_context(Socket.open(gateway.url))
        assert await status_of(gateway) == 429


async def test_a_message_may_be_as_long_as_the_limit_and_no_longer(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    def padded(size: int) -> str:
        message = orjson.dumps({"type": "ping", "sent_at_ms": 1, "padding": ""}).decode()
        return message.replace('""', '"' + "x" * (size - len(message)) + '"')

    async with gateway.socket(tenant) as socket, gateway.socket(tenant, "ben") as other:
        await socket.connection.send(padded(65_536))
        await socket.next("pong")
        await socket.connection.send(padded(65_537))
        assert await socket.wait_closed() == 1009
        await other.send(type="ping", sent_at_ms=2)
        assert (await other.next("pong"))["sent_at_ms"] == 2


async def test_more_messages_than_the_burst_close_their_socket_and_delay_nobody_else(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "ben") as flooding, gateway.socket(tenant, "ana") as quiet:
        with suppress(ConnectionClosed):
            for number in range(10_000):
                await flooding.send(type="ping", sent_at_ms=number)
                await asyncio.sleep(0)
        assert await flooding.wait_closed() == 4508
        answered = [each for each in flooding.messages if each["type"] == "pong"]
        assert len(answered) >= 39  # 40 at once, of which signing in is not one
        await quiet.send(type="ping", sent_at_ms=1)
        await quiet.next("pong")


async def test_behind_a_trusted_proxy_the_clients_are_counted_and_not_the_proxy(
    module_database: Database, servers: Servers
) -> None:
    options: dict[str, Any] = {"connections_per_address": 2, "trusted_proxies": parse_networks(["127.0.0.1"])}
    async with (
        run_gateway(module_database, servers.redis_url, **options) as gateway,
        AsyncExitStack() as opened,
    ):
        for client, _ in itertools.product(("198.51.100.1", "198.51.100.2"), range(2)):
            headers = {"X-Forwarded-For": f"8.8.8.8, {client}"}
            await opened.enter_async_context(Socket.open(gateway.url, additional_headers=headers))
        headers = {"X-Forwarded-For": "9.9.9.9, 198.51.100.1"}
        assert await status_of(gateway, additional_headers=headers) == 429
        await opened.enter_async_context(Socket.open(gateway.url))
