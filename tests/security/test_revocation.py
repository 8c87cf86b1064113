"""Access that ends, ends everywhere: on all gateways, through the log, whoever ended it."""

import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.gateways import Socket
from tests.stack import DEMO_PASSWORD, Stack
from tests.tenants import new_id

ENDS = {
    "a logout": None,
    "a membership that is disabled": "UPDATE organization_members SET disabled_at = now() WHERE user_id = '{}'",
    "a membership that is removed": "DELETE FROM organization_members WHERE user_id = '{}'",
    "a person who is disabled": "UPDATE users SET disabled_at = now() WHERE id = '{}'",
}


@pytest.mark.parametrize("end", ENDS)
async def test_access_that_ends_closes_every_socket_of_the_person_on_all_gateways(
    stack: Stack, end: str
) -> None:
    person = new_id()
    email = f"{person}@demo.test"
    stack.psql(
        f"INSERT INTO users (id, email, name, password_hash) SELECT '{person}', '{email}', 'Somebody', password_hash"
        " FROM users WHERE email = 'ben@demo.test';"
        "INSERT INTO organization_members (organization_id, user_id, role)"
        f" SELECT id, '{person}', 'agent' FROM organizations WHERE slug = 'demo'"
    )
    async with AsyncExitStack() as opened:
        api = await opened.enter_async_context(httpx.AsyncClient(base_url=stack.api_url, timeout=30))
        signed_in = await api.post("/api/auth/login", json={"email": email, "password": DEMO_PASSWORD})
        token = signed_in.json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        sockets = [await opened.enter_async_context(Socket.open(stack.gateway_url)) for _ in range(8)]
        for socket in sockets:
            await socket.authenticate(token)
            await socket.subscribe("leads?status=won")
        began = time.monotonic()
        sql = ENDS[end]
        if sql is None:
            assert (await api.post("/api/auth/logout", headers=headers)).status_code == 204
        else:
            stack.psql(sql.format(person))
        assert [await socket.wait_closed(30) for socket in sockets] == [4504] * len(sockets)
        seconds = round(time.monotonic() - began, 3)
        # A figure for people to read; that a machine is busy is no defect.
        print(f"{end}: {len(sockets)} sockets were closed after {seconds} s")
        assert (await api.get("/api/auth/me", headers=headers)).json()["code"] == "session_ended"


@pytest.mark.parametrize(
    ("end", "ends_elsewhere"),
    [
        (
            "UPDATE organization_members SET disabled_at = now() WHERE user_id = '{}' AND organization_id = '{}'",
            False,
        ),
        ("DELETE FROM organization_members WHERE user_id = '{}' AND organization_id = '{}'", False),
        ("UPDATE users SET disabled_at = now() WHERE id = '{}' AND '{}' <> ''", True),
    ],
)
async def test_who_is_disabled_in_one_organisation_keeps_their_sockets_in_another_and_a_disabled_person_none(
    stack: Stack, end: str, ends_elsewhere: bool
) -> None:
    person = new_id()
    email = f"{person}@demo.test"
    stack.psql(
        f"INSERT INTO users (id, email, name, password_hash) SELECT '{person}', '{email}', 'Somebody', password_hash"
        " FROM users WHERE email = 'ben@demo.test';"
        "INSERT INTO organization_members (organization_id, user_id, role)"
        f" SELECT id, '{person}', 'agent' FROM organizations WHERE slug IN ('demo', 'other')"
    )
    demo = stack.psql("SELECT id FROM organizations WHERE slug = 'demo'")
    async with AsyncExitStack() as opened:
        api = await opened.enter_async_context(httpx.AsyncClient(base_url=stack.api_url, timeout=30))

        async def sign_in(organization: str) -> tuple[str, list[Socket]]:
            body = {"email": email, "password": DEMO_PASSWORD, "organization": organization}
            token = (await api.post("/api/auth/login", json=body)).json()["access_token"]
            sockets = [await opened.enter_async_context(Socket.open(stack.gateway_url)) for _ in range(4)]
            for socket in sockets:
                await socket.authenticate(token)
                await socket.subscribe("leads?status=won", "now")
            return token, sockets

        (here, in_demo), (there, in_other) = await sign_in("demo"), await sign_in("other")
        stack.psql(end.format(person, demo))
        assert [await socket.wait_closed(30) for socket in in_demo] == [4504] * 4
        assert (await who(api, here))["code"] == "session_ended"
        if ends_elsewhere:
            assert [await socket.wait_closed(30) for socket in in_other] == [4504] * 4
            assert (await who(api, there))["code"] == "session_ended"
            return
        # Those of the other organisation answer, after what has closed these.
        for socket in in_other:
            await socket.send(type="ping", sent_at_ms=1)
            await socket.next("pong")
        assert (await who(api, there))["user_id"] == person


async def who(api: httpx.AsyncClient, token: str) -> dict[str, Any]:
    """What `/api/auth/me` answers."""
    answer: dict[str, Any] = (
        await api.get("/api/auth/me", headers={"authorization": f"Bearer {token}"})
    ).json()
    return answer
