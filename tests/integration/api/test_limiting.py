"""Limits on requests: shared by all processes through Redis, counted by person and by address, said in headers."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn

from api import http_protocol, limiting, passwords
from api.app import create_app
from api.connections import Connections
from api.services import open_services
from core.addresses import parse_networks
from core.settings import Settings
from tests.integration.api.conftest import Api, problem
from tests.integration.api.test_auth import PASSWORD, email  # noqa: F401 - email is a fixture
from tests.tenants import Tenant, new_id

BAD_LOGIN = {"email": "nobody@acme.test", "password": "wrong"}


@contextlib.asynccontextmanager
async def limited(settings: Settings, **limits: Any) -> AsyncIterator[Api]:
    async with open_services(settings.model_copy(update=limits)) as services:
        clients: list[httpx.AsyncClient] = []
        yield Api(create_app(services), services, settings, clients)
        for client in clients:
            await client.aclose()


def address() -> str:
    """Nobody's address, so that no other test has counted on it."""
    return f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(256)}"


async def sign_in(
    api: Api, source: str, headers: dict[str, str] | None = None, **other: str
) -> httpx.Response:
    transport = httpx.ASGITransport(api.app, client=(source, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return await client.post("/api/auth/login", json=BAD_LOGIN | other, headers=headers)


async def test_attempts_to_sign_in_are_limited_by_address_over_all_processes(settings: Settings) -> None:
    source, elsewhere = address(), address()
    limits = {"logins_per_minute_per_address": 4}
    async with limited(settings, **limits) as one, limited(settings, **limits) as two:
        for api in (one, two, one, two):
            answer = await sign_in(api, source)
            problem(answer, 401, "credentials_refused")
            assert answer.headers["ratelimit-policy"] == '"logins-by-address";q=4;w=60'
        for api in (one, two):
            began = time.perf_counter()
            answer = await sign_in(api, source)
            problem(answer, 429, "rate_exceeded")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.headers["ratelimit"].startswith('"logins-by-address";r=0;t=')
            # Refused before the password is looked at, which takes a tenth of a second on purpose.
            assert time.perf_counter() - began < 10
        problem(await sign_in(two, elsewhere), 401, "credentials_refused")
        # A flood is turned away by the head of the request, whatever is in its body; only signing in is.
        transport = httpx.ASGITransport(one.app, client=(source, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            page = {"origin": "http://localhost:3000"}
            flood = await client.post("/api/auth/login", content=b"no JSON", headers=page)
            problem(flood, 429, "rate_exceeded")
            assert flood.headers["ratelimit"]
            # A page that may ask may also read when to ask again.
            assert flood.headers["access-control-allow-origin"] == page["origin"]
            assert (await client.get("/api/client-config")).status_code == 200


async def test_guesses_at_one_account_are_limited_from_wherever_they_come(
    settings: Settings,
    email: str,  # noqa: F811
) -> None:
    """And whether there is such an account cannot be told from it."""
    limits = {"logins_per_minute_per_account": 3}
    unknown = f"{new_id()}@nobody.test"
    async with limited(settings, **limits) as one, limited(settings, **limits) as two:
        answers: dict[str, list[tuple[int, bytes, str]]] = {}
        for guessed in (email, unknown):
            spelled = [guessed, guessed.upper(), f" {guessed} ", guessed]
            for api, text in zip((one, two, one, two), spelled, strict=True):
                answer = await sign_in(api, address(), email=text)
                headers = answer.headers["ratelimit-policy"]
                answers.setdefault(guessed, []).append((answer.status_code, answer.content, headers))
        assert answers[email] == answers[unknown]
        assert [status for status, _, _ in answers[email]] == [401, 401, 401, 429]
        assert answers[email][0][2] == '"logins-by-account";q=3;w=60'
        # The right password waits as well, and another account does not.
        problem(await sign_in(one, address(), email=email, password=PASSWORD), 429, "rate_exceeded")
        problem(await sign_in(one, address(), email=f"{new_id()}@nobody.test"), 401, "credentials_refused")


async def test_what_writes_only_to_the_audit_log_and_what_removes_is_counted_too(
    settings: Settings, tenant: Tenant
) -> None:
    async with limited(settings, writes_per_second_per_user=1) as api:
        for method, path in (
            ("GET", f"/api/clients/{new_id()}/tax-id"),
            ("DELETE", f"/api/clients/{new_id()}/tax-id"),
            ("DELETE", f"/api/contacts/{new_id()}/portal-access"),
            ("DELETE", f"/api/auth/invitations/{new_id()}"),
            ("DELETE", f"/api/auth/sessions/{new_id()}"),
            ("DELETE", "/api/auth/integrations/mail"),
            ("POST", "/api/overwritten/seen"),
        ):
            body: Any = {"ids": []} if method == "POST" else None
            answer = await api.client(tenant).request(method, path, json=body)
            assert "writes-by-user" in answer.headers.get("ratelimit", ""), path


async def test_while_too_many_passwords_wait_a_sign_in_is_turned_away_by_its_head(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From many addresses at once no limit by address helps: neither body nor database is read then."""
    monkeypatch.setattr(passwords, "WAITING_LIMIT", 0)
    client = api.client()
    problem(await client.post("/api/auth/login", content=b"no JSON"), 503, "too_busy")
    assert (await client.get("/api/client-config")).status_code == 200
    monkeypatch.undo()
    problem(await client.post("/api/auth/login", json=BAD_LOGIN), 401, "credentials_refused")


async def test_only_a_trusted_proxy_says_whose_address_it_is(settings: Settings) -> None:
    limits = {"logins_per_minute_per_address": 1}
    clients = [address(), address()]
    proxy = "10.1.2.3"
    async with limited(settings, **limits, trusted_proxies=("10.0.0.0/8",)) as api:
        for client in clients:
            headers = {"x-forwarded-for": f"8.8.8.8, {client}"}
            problem(await sign_in(api, proxy, headers), 401, "credentials_refused")
            problem(await sign_in(api, proxy, headers), 429, "rate_exceeded")
        liar = address()
        problem(await sign_in(api, liar, {"x-forwarded-for": address()}), 401, "credentials_refused")
        problem(await sign_in(api, liar, {"x-forwarded-for": address()}), 429, "rate_exceeded")


@pytest.mark.parametrize("path", ["invitations/show", "invitations/accept", "password-reset/confirm"])
async def test_guesses_at_what_comes_by_mail_are_limited_as_sign_ins_are(
    settings: Settings, path: str
) -> None:
    bodies = {
        "invitations/show": {"token": "A" * 64},
        "invitations/accept": {"token": "A" * 64, "password": "a staple of batteries"},
        "password-reset/confirm": {"token": "A" * 43, "new_password": "a staple of batteries"},
    }
    async with limited(settings, logins_per_minute_per_address=1) as api:
        transport = httpx.ASGITransport(api.app, client=(address(), 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            problem(await client.post(f"/api/auth/{path}", json=bodies[path]), 410, "link_refused")
            problem(await client.post(f"/api/auth/{path}", json=bodies[path]), 429, "rate_exceeded")


async def statuses(client: httpx.AsyncClient, number: int) -> list[httpx.Response]:
    return [await client.post("/api/leads", json={"name": "x"}) for _ in range(number)]


async def test_writes_are_limited_by_person_with_bursts_of_twice_as_many(
    settings: Settings, tenant: Tenant
) -> None:
    async with limited(settings, writes_per_second_per_user=2) as api:
        ben, ana = api.client(tenant, "ben"), api.client(tenant, "ana")
        # As fast as it goes: more than two seconds' worth is too much, however slow the machine is.
        answers: list[httpx.Response] = []
        began = time.monotonic()
        while 429 not in (codes := [each.status_code for each in answers]):
            answers += await statuses(ben, 1)
            assert len(codes) <= 4 + 2 * (time.monotonic() - began) + 1
        refused = problem(answers[-1], 429, "rate_exceeded")
        assert "writes by user" in refused["detail"]
        assert codes.count(201) >= 4 or len(codes) < 5
        assert answers[0].headers["ratelimit-policy"] == '"writes-by-user";q=2;w=1'
        assert (await statuses(ana, 1))[0].status_code == 201
        # Reading is not writing.
        assert (await ben.get("/api/leads")).status_code == 200


async def test_a_push_counts_by_its_mutations_and_one_of_a_thousand_is_taken(
    settings: Settings, tenant: Tenant
) -> None:
    def push(number: int) -> dict[str, Any]:
        mutations = [
            {
                "mutation_id": new_id(),
                "collection": "leads",
                "id": new_id(),
                "operation": "insert",
                "fields": {"name": "x", "branch_id": None},
            }
            for _ in range(number)
        ]
        return {"client_id": new_id(), "now_ms": int(time.time() * 1000), "mutations": mutations}

    async with limited(settings, writes_per_second_per_user=10) as api:
        ana = api.client(tenant, "ana")
        assert (await ana.post("/api/sync", json=push(1000))).status_code == 200
        again = [(await ana.post("/api/sync", json=push(380))).status_code for _ in range(3)]
        assert 429 in again


async def test_while_redis_is_away_each_process_counts_for_itself(settings: Settings) -> None:
    away = {"redis_url": "redis://127.0.0.1:1/0", "logins_per_minute_per_address": 2}
    async with limited(settings, **away) as api:
        source = address()
        for _ in range(2):
            problem(await sign_in(api, source), 401, "credentials_refused")
        problem(await sign_in(api, source), 429, "rate_exceeded")


async def test_a_burst_has_as_many_as_it_says_also_at_once(settings: Settings) -> None:
    limiter = limiting.Limiter(settings.redis_url, limiting.Limits(writes_per_second_per_user=50))
    try:
        assert limiter._by_user is not None
        somebody = new_id()
        verdicts = await asyncio.gather(*(limiter._by_user.take(somebody) for _ in range(100)))
    finally:
        await limiter.close()
    assert [verdict.is_allowed for verdict in verdicts].count(False) == 0


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /api/leads HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def served(api: Api, connections: Connections | None = None) -> AsyncIterator[int]:
    """The API on a real socket: its port."""
    config = uvicorn.Config(
        api.app,
        port=0,
        http=http_protocol.protocol_within(connections or Connections()),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(30):
            while not server.started:
                await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def said(port: int, *parts: bytes) -> bytes:
    """What comes back on a connection until its end for what is sent, as far as it is taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(_to_the_end(reader))
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    async with asyncio.timeout(30):
        got = await answer
    writer.close()
    return got


async def test_a_request_that_trickles_in_is_cut(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is whole, and after its answer as well: a 401 does not wait for the body."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(http_protocol, "MESSAGE_SECONDS", 0.3)
    async with served(api) as port:
        for sent, answers in ((b"", 0), (HEALTH[:-2], 0), (HEALTH + HEALTH[:5], 1)):
            assert (await said(port, sent)).count(b"HTTP/1.1 200") == answers
        assert (await said(port, CHUNKED, b"1\r\na\r\n")).count(b"HTTP/1.1 401") == 1


async def test_a_head_that_is_too_large_is_refused(api: Api) -> None:
    filler = b"a" * http_protocol.MAX_HEAD_BYTES
    async with served(api) as port:
        for head in (
            b"GET /healthz HTTP/1.1\r\nX: " + filler * 20,
            b"GET /healthz?" + filler + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        ):
            assert (await said(port, head)).startswith(b"HTTP/1.1 431 ")


async def test_what_follows_a_body_has_an_end(api: Api) -> None:
    """Trailers are no body that anybody counts."""
    sent = http_protocol.MAX_MESSAGE_BYTES * 4 // 1_000_000
    async with served(api) as port:
        await said(port, CHUNKED + b"0\r\n", *[b"X: y\r\n" * 166_667] * sent)


async def test_requests_that_do_not_wait_for_answers_are_read_as_they_are_answered(api: Api) -> None:
    some = http_protocol.MAX_PIPELINED // 2
    last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with served(api) as port:
        assert (await said(port, HEALTH * some + last)).count(b"HTTP/1.1 200") == some + 1
        assert (await said(port, HEALTH * 100_000)).count(b"HTTP/1.1 200") < 100_000


@contextlib.asynccontextmanager
async def kept(port: int, source: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from one of this machine's addresses; all of 127.0.0.0/8 is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


async def answered(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    """Whether a request on a connection gets its answer."""
    reader, writer = connection
    async with asyncio.timeout(30):
        try:
            writer.write(HEALTH)
            return (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        except (ConnectionError, asyncio.IncompleteReadError):
            return False


async def test_connections_over_the_limits_are_refused_and_those_before_them_are_served_on(api: Api) -> None:
    one, two, three = "127.0.20.1", "127.0.20.2", "127.0.20.3"
    async with (
        served(api, Connections(per_address=2, total=3)) as port,
        kept(port, two) as other,
        contextlib.AsyncExitStack() as opened,
    ):
        first = [await opened.enter_async_context(kept(port, one)) for _ in range(2)]
        # Counted when it is taken, whether it ever sends something or not.
        assert [await answered(each) for each in (*first, other)] == [True, True, True]
        async with kept(port, one) as over, kept(port, three) as full:
            assert [await answered(each) for each in (over, full)] == [False, False]
        assert [await answered(each) for each in (*first, other)] == [True, True, True]
        # A place that is free again is given again.
        first[0][1].close()
        async with asyncio.timeout(30):
            while True:
                async with kept(port, three) as again:
                    if await answered(again):
                        break


async def test_a_trusted_proxys_connections_count_in_all_only(api: Api) -> None:
    connections = Connections(per_address=1, total=3, trusted=parse_networks(["127.0.21.1"]))
    async with served(api, connections) as port, contextlib.AsyncExitStack() as opened:
        proxied = [await opened.enter_async_context(kept(port, "127.0.21.1")) for _ in range(4)]
        assert [await answered(each) for each in proxied] == [True, True, True, False]


async def test_an_idle_connection_is_kept_for_those_who_have_proved_who_they_are(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "STRANGER_KEEP_ALIVE_SECONDS", 0.3)
    token = api.client(tenant).headers["authorization"].encode()
    proven = b"GET /api/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n\r\n"
    proxies = parse_networks(["127.0.21.2"])
    async with (
        served(api, Connections(trusted=proxies)) as port,
        kept(port, "127.0.21.1") as stranger,
        kept(port, "127.0.21.1") as member,
        kept(port, "127.0.21.2") as proxy,
    ):
        member[1].write(proven)
        assert (await member[0].readuntil(b"}")).startswith(b"HTTP/1.1 200")
        assert await answered(proxy)
        assert await answered(stranger)
        async with asyncio.timeout(30):
            assert await stranger[0].read() == b""
        assert [await answered(each) for each in (member, proxy)] == [True, True]


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await reader.read(65536):
            got += part
    return got
