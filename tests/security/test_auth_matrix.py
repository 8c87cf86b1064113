"""What proves nothing opens nothing: tokens, origins and tickets, at the handshake and in `authenticate`."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from core.tokens import Claims, claims_to_json, make_ticket, ticket_key
from gateway.broker import connect as connect_redis
from tests.gateways import SECRET, RunningGateway, Socket, run_gateway
from tests.security.people import people_of
from tests.servers import Database, Servers
from tests.signing import bad_tokens, private_pem
from tests.tenants import Tenant, new_id

SECONDS = 30.0


@pytest.fixture(scope="module", params=["HS256", "RS256", "EdDSA"])
async def gateway(
    request: pytest.FixtureRequest, module_database: Database, servers: Servers
) -> AsyncIterator[RunningGateway]:
    """A gateway whose tokens are signed by each family of keys."""
    key = SECRET if request.param == "HS256" else private_pem(request.param)
    async with run_gateway(
        module_database,
        servers.redis_url,
        key=key,
        allow_local_origins=False,
        allowed_origins=("https://crm.example.com",),
    ) as running:
        yield running


@pytest.fixture
async def tenant(module_database: Database) -> Tenant:
    """A fresh organisation."""
    return await people_of(module_database)


async def refused(gateway: RunningGateway, **options: object) -> int:
    """The status of a handshake that has to be refused before the upgrade."""
    with pytest.raises(InvalidStatus) as raised:
        async with Socket.open(gateway.url, **options):
            pass
    return raised.value.response.status_code


async def test_no_bad_token_opens_a_socket_and_none_is_answered_with_a_byte_of_data(
    gateway: RunningGateway, tenant: Tenant, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = bad_tokens(
        gateway.tokens.keys,
        user=tenant.people["ana"],
        organization=tenant.id,
        session=tenant.sessions["ana"],
    )
    assert len(bad) >= 40
    for kind, token in bad.items():
        async with asyncio.timeout(SECONDS):
            headers = {"Authorization": f"Bearer {token}"}
            assert await refused(gateway, additional_headers=headers) == 401, kind
            async with Socket.open(gateway.url) as socket:
                await socket.send(type="authenticate", client_id=new_id(), token=token)
                assert await socket.wait_closed() == 4503, kind
                assert socket.messages == [], kind
    async with gateway.socket(tenant):
        pass  # a good one is let in
    logged = "".join(capfd.readouterr())
    assert "eyJ" not in logged


async def test_a_genuine_token_of_what_does_not_belong_together_is_not_let_in(
    gateway: RunningGateway, tenant: Tenant, module_database: Database
) -> None:
    other = await people_of(module_database)
    ana, session = tenant.people["ana"], tenant.sessions["ana"]
    for user, organization, sid in (
        (ana, other.id, session),
        (ana, tenant.id, other.sessions["ana"]),
        (tenant.people["ben"], tenant.id, session),
        (ana, tenant.id, new_id()),
        (new_id(), tenant.id, session),
        (ana, new_id(), session),
    ):
        token = gateway.tokens.issue(user, organization, sid)
        headers = {"Authorization": f"Bearer {token}"}
        assert await refused(gateway, additional_headers=headers) == 401
        async with Socket.open(gateway.url) as socket:
            await socket.send(type="authenticate", client_id=new_id(), token=token)
            assert await socket.wait_closed() == 4504
            assert socket.messages == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://crm.example.com.evil.example",
        "https://evilcrm.example.com",
        "https://crm.example.com:8443",
        "http://crm.example.com",
        "https://crm.example.com/",
        "http://localhost:3000",
        "https://CRM.example.com@evil.example",
    ],
)
async def test_a_page_of_another_origin_is_refused_before_the_upgrade(
    gateway: RunningGateway, tenant: Tenant, origin: str
) -> None:
    headers = {"Authorization": f"Bearer {gateway.token(tenant)}"}
    assert await refused(gateway, origin=Origin(origin), additional_headers=headers) == 403


async def test_the_listed_origin_is_let_in_and_so_is_what_is_no_page(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    for origin in (Origin("https://crm.example.com"), None):
        async with gateway.socket(tenant, origin=origin):
            pass


@pytest.mark.parametrize("name", ["token", "access_token", "jwt", "Authorization"])
async def test_a_token_in_the_address_is_refused(gateway: RunningGateway, tenant: Tenant, name: str) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with Socket.open(f"{gateway.url}?{name}={gateway.token(tenant)}"):
            pass
    assert raised.value.response.status_code == 400


async def test_of_a_hundred_who_race_for_a_ticket_one_wins_and_its_time_is_up_after_thirty_seconds(
    gateway: RunningGateway, tenant: Tenant, servers: Servers
) -> None:
    redis = connect_redis(servers.redis_url)
    claims = Claims(tenant.people["ana"], tenant.id, tenant.sessions["ana"], int(time.time()) + 600)
    ticket, late = make_ticket(), make_ticket()
    for each in (ticket, late):
        await redis.set(ticket_key(each), claims_to_json(claims), ex=30)

    async def race(opened: AsyncExitStack) -> int:
        try:
            await opened.enter_async_context(Socket.open(f"{gateway.url}?ticket={ticket}"))
        except InvalidStatus as error:
            return error.response.status_code
        return 101

    async with AsyncExitStack() as opened:
        statuses = await asyncio.gather(*(race(opened) for _ in range(100)))
    assert sorted(statuses) == [101, *[401] * 99]
    # What thirty seconds do to a key, without waiting for them.
    assert 0 < await redis.ttl(ticket_key(late)) <= 30
    await redis.pexpire(ticket_key(late), 1)
    async with asyncio.timeout(SECONDS):
        while await redis.exists(ticket_key(late)):
            await asyncio.sleep(0.01)
    with pytest.raises(InvalidStatus):
        async with Socket.open(f"{gateway.url}?ticket={late}"):
            pass
    await redis.aclose()


async def test_a_socket_whose_token_runs_out_is_closed_unless_a_fresh_one_came(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    tokens = gateway.tokens
    usual, tokens.lifetime_seconds = tokens.lifetime_seconds, 2
    try:
        short = [gateway.token(tenant, person) for person in ("ana", "ben")]
    finally:
        tokens.lifetime_seconds = usual
    async with Socket.open(gateway.url) as lapsing, Socket.open(gateway.url) as renewed:
        ends_at = tokens.verify(short[0]).expires_at
        await lapsing.authenticate(short[0])
        await renewed.authenticate(short[1])
        await renewed.authenticate(gateway.token(tenant, "ben"))
        assert await lapsing.wait_closed() == 4503
        late = time.time() - ends_at
        print(f"closed {late:.1f} s after its token had run out")
        assert not renewed.closed
