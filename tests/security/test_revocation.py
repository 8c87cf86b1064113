"""Access that ends, ends everywhere: on all gateways, through the log, whoever ended it."""

import time
from contextlib import AsyncExitStack

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
