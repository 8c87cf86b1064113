"""What a socket may bring, and what it gets for it: handshakes, malformed messages, limits, slow readers, leaving."""

import asyncio
import contextlib
import socket as sockets
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus

from core.tokens import Tokens, claims_to_json, make_ticket, ticket_key
from gateway.broker import connect as connect_redis
from gateway.metrics import GatewayCollector
from tests.echo_server import HANDSHAKE, raw_socket
from tests.gateways import RunningGateway, Socket, run_gateway, wait_until
from tests.integration.gateway.leads import change_lead, make_lead
from tests.integration.gateway.test_live import catch_up, follow
from tests.servers import HOST, Database, Servers
from tests.tenants import Connection, Tenant, new_id, write

NOBODY = "00000000-0000-0000-0000-000000000000"

# Sent after `ready`; each closes the socket with this code.
MALFORMED = [
    ("no JSON", "{", 4502),
    ("no object", "[]", 4502),
    ("a number", "1", 4502),
    ("no type", "{}", 4502),
    ("an unknown type", '{"type":"shout"}', 4502),
    ("a type that is no text", '{"type":7}', 4502),
    ("a field that is missing", '{"type":"subscribe","topic":"leads"}', 4502),
    ("a text for a number", '{"type":"subscribe","id":"1","topic":"leads"}', 4502),
    ("a negative id", '{"type":"subscribe","id":-1,"topic":"leads"}', 4502),
    ("an id with a fraction", '{"type":"subscribe","id":1.5,"topic":"leads"}', 4502),
    ("true for a number", '{"type":"subscribe","id":true,"topic":"leads"}', 4502),
    ("a topic that is no text", '{"type":"subscribe","id":1,"topic":["leads"]}', 4502),
    ("an empty topic", '{"type":"subscribe","id":1,"topic":""}', 4502),
    ("another word for now", '{"type":"subscribe","id":1,"topic":"leads","since":"then"}', 4502),
    ("half a position", '{"type":"subscribe","id":1,"topic":"leads","since":{"epoch":"e"}}', 4502),
    (
        "a position without a view",
        '{"type":"subscribe","id":1,"topic":"leads","since":{"epoch":"e","offset":1}}',
        4502,
    ),
    (
        "a negative offset",
        '{"type":"subscribe","id":1,"topic":"leads","since":{"epoch":"e","offset":-1,"view":"v"}}',
        4502,
    ),
    ("a number beyond 64 bits", '{"type":"receipt","offset":99999999999999999999,"shown_at_ms":1}', 4502),
    ("a receipt without an offset", '{"type":"receipt","shown_at_ms":1}', 4502),
    ("a ping without a time", '{"type":"ping"}', 4502),
    ("a state that is a list", '{"type":"announce","topic":"leads","state":[]}', 4502),
    ("purged topics that are no list", '{"type":"purged","topics":"leads"}', 4502),
    ("a client id that is none", '{"type":"authenticate","client_id":"me","token":"t"}', 4502),
    (
        "a token that is a number",
        '{"type":"authenticate","client_id":"00000000-0000-0000-0000-000000000000","token":1}',
        4502,
    ),
    (
        "deep nesting",
        '{"type":"signal","topic":"t","event":"e","payload":' + "[" * 3000 + "]" * 3000 + "}",
        4502,
    ),
    (
        "a token of another key",
        '{"type":"authenticate","client_id":"00000000-0000-0000-0000-000000000000","token":"a.b"}',
        4503,
    ),
    ("a binary message", b"{}", 1003),
    ("a message of 65,537 bytes", '"' + "x" * 65_535 + '"', 1009),
]

# Topics that are answered with `rejected` and this code; the socket stays open.
REFUSED_TOPICS = [
    ("nothing", "unknown_collection"),
    ("pg_catalog.pg_class", "unknown_collection"),
    ("leads;drop table leads", "invalid_topic"),
    ("leads?", "invalid_topic"),
    ("leads?status", "invalid_topic"),
    ("leads?=new", "invalid_topic"),
    ("leads?status=new&status=won", "invalid_topic"),
    ("leads?status=new&", "invalid_topic"),
    ("leads?status=%zz", "invalid_topic"),
    ("leads?status=%ff", "invalid_topic"),
    ("leads?status=%00", "invalid_topic"),
    ("leads?nothing=1", "unknown_field"),
    ("leads?notes=x", "not_filterable"),
    ("leads?status=nothing", "invalid_value"),
    ("leads?branch_id=north", "invalid_value"),
    ("leads/1", "invalid_value"),
    ("leads/", "invalid_value"),
    ("*?status=new", "unknown_collection"),
    ("**", "unknown_collection"),
    ("organization_members", "forbidden"),
]


@pytest.mark.parametrize(
    ("text", "code"), [(text, code) for _, text, code in MALFORMED], ids=[m[0] for m in MALFORMED]
)
async def test_a_malformed_message_closes_its_socket_and_no_other(
    shared_gateway: RunningGateway, shared_tenant: Tenant, text: str | bytes, code: int
) -> None:
    async with shared_gateway.socket(shared_tenant) as bad, shared_gateway.socket(shared_tenant) as good:
        await bad.connection.send(text)
        assert await bad.wait_closed() == code
        await good.send(type="ping", sent_at_ms=1)
        await good.next("pong")


async def test_topics_that_cannot_be_followed_are_refused_with_a_code(
    shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    async with shared_gateway.socket(shared_tenant) as socket:
        answers = [(topic, (await socket.subscribe(topic))["code"]) for topic, _ in REFUSED_TOPICS]
        assert answers == REFUSED_TOPICS
        assert (await socket.subscribe("leads"))["type"] == "subscribed"


async def test_fields_that_are_not_known_are_ignored(
    shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    async with shared_gateway.socket(shared_tenant) as socket:
        await socket.send(type="ping", sent_at_ms=1, colour="blue")
        await socket.next("pong")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscribe", "id": 1, "topic": "leads"},
        {"type": "ping", "sent_at_ms": 1},
        {"type": "receipt", "offset": 1, "shown_at_ms": 1},
    ],
)
async def test_the_first_message_is_authenticate(
    shared_gateway: RunningGateway, message: dict[str, object]
) -> None:
    async with Socket.open(shared_gateway.url) as socket:
        await socket.send(**message)
        assert await socket.wait_closed() == 4501
        assert socket.messages == []


async def test_who_says_nothing_is_sent_away(servers: Servers, database: Database) -> None:
    async with (
        run_gateway(database, servers.redis_url, authenticate_seconds=0.3) as gateway,
        Socket.open(gateway.url) as socket,
    ):
        assert await socket.wait_closed() == 4501


async def test_messages_that_come_with_authenticate_are_answered_behind_ready(
    shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    async with Socket.open(shared_gateway.url) as socket:
        token = shared_gateway.token(shared_tenant)
        await socket.send(type="authenticate", client_id=new_id(), token=token)
        await socket.send(type="subscribe", id=1, topic="leads")
        await socket.send(type="ping", sent_at_ms=1)
        assert [(await socket.next())["type"] for _ in range(2)] == ["ready", "subscribed"]
        await socket.next("pong")


async def test_tokens_that_prove_nothing_are_refused_before_any_byte_of_data(
    shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    good = shared_gateway.token(shared_tenant)
    expired = Tokens("a-key-of-tests-that-is-long-enough-for-anybody", lifetime_seconds=-1)
    forged = Tokens("another-key-of-tests-that-is-long-enough-too")
    person, session = shared_tenant.people["ana"], shared_tenant.sessions["ana"]
    for token in (
        "",
        "x",
        good[:-4] + "AAAA",
        expired.issue(person, shared_tenant.id, session),
        forged.issue(person, shared_tenant.id, session),
    ):
        async with Socket.open(shared_gateway.url) as socket:
            await socket.send(type="authenticate", client_id=new_id(), token=token)
            assert await socket.wait_closed() == 4503
            assert socket.messages == []


async def test_a_token_that_expires_closes_the_socket_unless_there_is_a_fresh_one(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with run_gateway(database, servers.redis_url, ping_seconds=1.0) as gateway:
        brief = Tokens("a-key-of-tests-that-is-long-enough-for-anybody", lifetime_seconds=2)
        token = brief.issue(tenant.people["ana"], tenant.id, tenant.sessions["ana"])
        async with Socket.open(gateway.url) as leaving, Socket.open(gateway.url) as staying:
            await leaving.authenticate(token)
            await staying.authenticate(token)
            ready = await staying.authenticate(gateway.token(tenant))
            assert ready["principal"]["user_id"] == tenant.people["ana"]
            assert await leaving.wait_closed(8) == 4503
            assert not staying.closed


async def test_a_fresh_token_of_somebody_else_is_refused(
    shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    async with shared_gateway.socket(shared_tenant, "ana") as socket:
        token = shared_gateway.token(shared_tenant, "vera")
        await socket.send(type="authenticate", client_id=new_id(), token=token)
        assert await socket.wait_closed() == 4503


async def _status(url: str, **options: object) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with Socket.open(url, **options):
            pass
    return refused.value.response.status_code


async def test_a_header_or_a_ticket_stands_for_the_token(
    servers: Servers, shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    token = shared_gateway.token(shared_tenant)
    async with Socket.open(
        shared_gateway.url, additional_headers={"Authorization": f"Bearer {token}"}
    ) as socket:
        ready = await socket.authenticate(None)
        assert ready["principal"]["name"] == "Ana"
    async with _redis(servers) as redis:
        ticket = make_ticket()
        await redis.set(ticket_key(ticket), claims_to_json(shared_gateway.tokens.verify(token)), ex=30)
        url = f"{shared_gateway.url}?ticket={ticket}"
        attempts = await asyncio.gather(*[_use_ticket(url) for _ in range(20)])
        assert sorted(attempts) == [*["401"] * 19, "Ana"]


async def _use_ticket(url: str) -> str:
    try:
        async with Socket.open(url) as socket:
            ready = await socket.authenticate(None)
            return str(ready["principal"]["name"])
    except InvalidStatus as refused:
        return str(refused.response.status_code)


@contextlib.asynccontextmanager
async def _redis(servers: Servers) -> AsyncIterator[Redis]:
    redis = connect_redis(servers.redis_url)
    try:
        yield redis
    finally:
        await redis.aclose()


async def test_bad_handshakes_are_refused_before_the_upgrade(
    shared_gateway: RunningGateway, shared_tenant: Tenant
) -> None:
    url, token = shared_gateway.url, shared_gateway.token(shared_tenant)
    assert await _status(f"{url}?token={token}") == 400
    assert await _status(f"{url}?access_token={token}") == 400
    assert await _status(f"{url}?ticket=unknown") == 401
    assert await _status(f"{url}?ticket=") == 401
    assert await _status(url, additional_headers={"Authorization": "Bearer x"}) == 401
    assert await _status(url, additional_headers={"Authorization": "Basic YTpi"}) == 401
    assert await _status(url, subprotocols=["other.v1"]) == 400
    assert await _status(url.replace("/ws", "/other")) == 404
    for origin in ("https://evil.test", "null", "http://localhost.evil.test", "http://127.0.0.1.nip.io"):
        assert await _status(url, origin=origin) == 403
    async with Socket.open(url, origin="http://localhost:5173"):
        pass


async def test_compression_is_not_negotiated(shared_gateway: RunningGateway) -> None:
    async with Socket.open(shared_gateway.url, compression="deflate") as socket:
        assert socket.connection.protocol.extensions == []


async def test_the_port_answers_plain_requests_too(shared_gateway: RunningGateway) -> None:
    base = f"http://{HOST}:{shared_gateway.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        assert (await client.get("/healthz")).json()["status"] == "ok"
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert ready.json()["dependencies"].keys() == {"database", "redis"}
        collector = GatewayCollector(shared_gateway.gateway.metrics, shared_gateway.gateway.gauges)
        metrics = (await client.get("/metrics")).text
        collector.unregister()
        for name in (
            "connections",
            "subscriptions",
            "deliveries_total",
            "tail_bytes",
            "slow_sockets",
            "degraded",
        ):
            assert f"branchline_{name}" in metrics
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.post("/healthz")).status_code == 405


async def test_a_handshake_that_drips_is_cut(servers: Servers, database: Database) -> None:
    async with (
        run_gateway(database, servers.redis_url, handshake_seconds=0.3) as gateway,
        raw_socket(gateway.port, HANDSHAKE[:40]) as (reader, _),
        asyncio.timeout(5),
    ):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_a_peer_that_answers_no_ping_is_let_go(servers: Servers, database: Database) -> None:
    async with (
        run_gateway(database, servers.redis_url, ping_seconds=0.5, authenticate_seconds=60) as gateway,
        raw_socket(gateway.port, HANDSHAKE),
    ):
        await wait_until(lambda: gateway.gateway.server.seats)
        await wait_until(lambda: not gateway.gateway.server.seats)


async def test_limits_of_connections_and_messages(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with run_gateway(
        database,
        servers.redis_url,
        connections_per_user=2,
        connections_per_organization=3,
        connections_per_address=5,
        messages_per_second_per_user=20,
    ) as gateway:
        async with gateway.socket(tenant), gateway.socket(tenant) as mine:
            async with Socket.open(gateway.url) as third:
                await third.send(type="authenticate", client_id=new_id(), token=gateway.token(tenant))
                assert await third.wait_closed() == 4509
            header = {"Authorization": f"Bearer {gateway.token(tenant)}"}
            assert await _status(gateway.url, additional_headers=header) == 429
            async with gateway.socket(tenant, "ben"), Socket.open(gateway.url) as fourth:
                await fourth.send(
                    type="authenticate", client_id=new_id(), token=gateway.token(tenant, "vera")
                )
                assert await fourth.wait_closed() == 4509
            await wait_until(lambda: len(gateway.gateway.server.seats) == 2)
            async with Socket.open(gateway.url), Socket.open(gateway.url), Socket.open(gateway.url):
                assert await _status(gateway.url) == 429
            await mine.send(type="ping", sent_at_ms=1)
            await mine.next("pong")
            with contextlib.suppress(Exception):
                for _ in range(60):
                    await mine.send(type="ping", sent_at_ms=1)
            assert await mine.wait_closed() == 4508
        async with gateway.socket(tenant, "ben"), gateway.socket(tenant, "ben"):
            pass


async def test_a_socket_follows_so_many_topics_and_no_more(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with (
        run_gateway(database, servers.redis_url, subscriptions=2) as gateway,
        gateway.socket(tenant) as socket,
    ):
        await socket.subscribe("leads")
        await socket.subscribe("tasks")
        assert (await socket.subscribe("deals"))["code"] == "too_many_subscriptions"
        assert (await socket.subscribe("leads"))["type"] == "subscribed"


async def test_a_persons_sockets_have_so_many_views_between_them(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with (
        run_gateway(database, servers.redis_url, views_per_user=2) as gateway,
        gateway.socket(tenant) as one,
        gateway.socket(tenant) as two,
        gateway.socket(tenant, "ben") as other,
    ):
        assert (await one.subscribe("leads"))["type"] == "subscribed"
        assert (await two.subscribe("tasks"))["type"] == "subscribed"
        assert (await two.subscribe("deals"))["code"] == "too_many_subscriptions"
        # What one socket follows costs no more on another, and a place that is free is given again.
        assert (await two.subscribe("leads"))["type"] == "subscribed"
        assert (await other.subscribe("deals"))["type"] == "subscribed"
        await two.send(type="unsubscribe", id=9, topic="tasks")
        await two.next("unsubscribed")
        assert (await one.subscribe("deals"))["type"] == "subscribed"


@contextlib.asynccontextmanager
async def stalled_reader(gateway: RunningGateway, tenant: Tenant) -> AsyncIterator[Socket]:
    """A socket whose client stops to read: its receive buffer is small, and what comes stays in the kernel."""
    small = sockets.socket()
    small.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, (HOST, gateway.port))
    async with Socket.open(gateway.url, sock=small) as socket:
        await socket.authenticate(gateway.token(tenant))
        yield socket


async def _flood(gateway: RunningGateway, api: Connection, tenant: Tenant, lead: str, rounds: int) -> int:
    head = 0
    for number in range(rounds):
        await change_lead(api, tenant, lead, notes=f"{number}" + "n" * 15_000)
        head = await gateway.relay.publish(tenant)
    return head


async def test_a_slow_reader_is_taken_out_and_brought_forward_by_states(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    async with run_gateway(database, servers.redis_url, unsent_bytes=64 * 1024) as gateway:
        await gateway.relay.publish(tenant)
        async with stalled_reader(gateway, tenant) as slow, gateway.socket(tenant) as quick:
            theirs, ours = await follow(slow, "leads"), await follow(quick, "leads")
            first = ours.position
            assert first is not None
            slow.connection.transport.pause_reading()
            head = await _flood(gateway, api, tenant, lead, 50)
            await catch_up(quick, ours, head)
            assert ours.offsets == list(range(first + 1, head + 1))
            assert gateway.gateway.sweep.slow_count == 1
            [seat] = [each for each in gateway.gateway.server.seats if each.connection.is_slow]
            assert seat.connection.unsent_bytes <= 64 * 1024 + 32 * 1024
            slow.connection.transport.resume_reading()
            told: list[str] = []
            while theirs.position != head:
                message = await slow.next("delta", "head")
                theirs.take(message)
                for change in message.get("changes", []):
                    told += change.get("mutation_ids") or [change["mutation_id"]]
                    assert message.get("conflated", False) == ("mutation_ids" in change)
            # The latest state in place of the steps, with every mutation of them.
            assert theirs.records == ours.records
            assert len(told) == len(set(told)) == 50
            assert gateway.gateway.metrics.folded == 50 - len(theirs.offsets) > 20
            await wait_until(lambda: seat.is_up_to_date)
            head = await _flood(gateway, api, tenant, lead, 2)
            await catch_up(slow, theirs, head)
            assert theirs.offsets[-2:] == [head - 1, head]


async def test_a_reader_that_stays_slow_is_closed_and_resumes_exactly(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    async with run_gateway(
        database, servers.redis_url, unsent_bytes=64 * 1024, drain_seconds=0.5, close_seconds=0.5
    ) as gateway:
        await gateway.relay.publish(tenant)
        async with stalled_reader(gateway, tenant) as slow:
            replica = await follow(slow, "leads")
            first = replica.position
            assert first is not None
            slow.connection.transport.pause_reading()
            head = await _flood(gateway, api, tenant, lead, 50)
            await wait_until(lambda: not gateway.gateway.server.seats)
            assert gateway.gateway.metrics.closes == {4008: 1}
        async with gateway.socket(tenant) as socket:
            replica.take(await socket.subscribe("leads", replica.since))
            await catch_up(socket, replica, head)
            assert replica.offsets == list(range(first + 1, head + 1))


async def test_a_gateway_that_leaves_says_so_and_closes_all(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with run_gateway(database, servers.redis_url, goaway_spread_seconds=1.0) as gateway:
        async with contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(gateway.socket(tenant)) for _ in range(30)]
            loop = asyncio.get_running_loop()
            began = loop.time()
            leaving = asyncio.create_task(gateway.gateway.leave())
            assert [await each.wait_closed() for each in opened] == [1012] * 30
            assert loop.time() - began >= 0.8
            delays = {(await each.next("goaway"))["reconnect_after_ms"] for each in opened}
            assert len(delays) > 10
            await leaving
        assert not gateway.gateway.readiness().ready
        assert await _status(gateway.url) == 503


async def test_a_message_to_one_does_not_overtake_what_is_pending_for_all(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        await follow(socket, "leads")
        await make_lead(api, tenant)
        [change] = await gateway.relay.changes(tenant, gateway.relay.published[tenant.id])
        [organization] = gateway.gateway.intake.organizations.values()
        [seat] = organization.seats
        publication = orjson.dumps({})
        organization.receive(organization.feed.epoch, [change], change.offset, publication)
        seat.send(orjson.dumps({"type": "pong", "sent_at_ms": 0, "server_time_ms": 0}))
        types = [(await socket.next("delta", "pong"))["type"] for _ in range(2)]
        assert types == ["delta", "pong"]


async def test_a_write_while_nobody_is_there_is_not_lost(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
    await wait_until(lambda: not gateway.gateway.server.seats)
    [result] = await write(api, tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "L"}))
    assert result["status"] == "applied"
    head = await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica.take(await socket.subscribe("leads", replica.since))
        await catch_up(socket, replica, head)
        assert len(replica.records) == 1
