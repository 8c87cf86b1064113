"""Signing in and out over HTTP: passwords, tokens, sessions, tickets."""

import asyncio
import time
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import jwt
import orjson
import pytest
from argon2 import PasswordHasher

from core.tokens import Tokens, claims_from_json, ticket_key
from tests.integration.api.conftest import SECRET, Api, problem
from tests.tenants import Connection, Tenant, new_id

PASSWORD = "correct horse"
# Cheaper than in earnest: what is tested is who comes in, not how long it takes.
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@pytest.fixture
async def email(owner: Connection, tenant: Tenant) -> str:
    """Ana's address; she has a password."""
    return str(
        await owner.fetchval(
            "UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING email", tenant.people["ana"], HASH
        )
    )


async def join(owner: Connection, tenant: Tenant, user_id: str) -> None:
    await owner.execute(
        "INSERT INTO organization_members (organization_id, user_id, role) VALUES ($1, $2, 'viewer')",
        tenant.id,
        user_id,
    )


async def login(client: httpx.AsyncClient, email: str, **more: Any) -> httpx.Response:
    body = {"email": email, "password": PASSWORD, **more}
    return await client.post("/api/auth/login", json=body)


async def who(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/api/auth/me", headers={"authorization": f"Bearer {token}"})


async def test_a_sign_in_gives_tokens_that_stand_for_the_person(api: Api, tenant: Tenant, email: str) -> None:
    client = api.client()
    response = await login(client, f" {email.upper()} ")
    granted = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 900)
    me = (await who(client, granted["access_token"])).json()
    assert (me["user_id"], me["organization_id"]) == (tenant.people["ana"], tenant.id)
    assert (me["name"], me["role"], me["branch_ids"], me["reads"]) == ("Ana", "manager", None, "all")


async def test_wrong_password_unknown_address_no_password_and_disabled_are_one_answer(
    api: Api, owner: Connection, tenant: Tenant, email: str
) -> None:
    client = api.client()
    answers = [
        await client.post("/api/auth/login", json={"email": email, "password": "wrong"}),
        await login(client, "nobody@acme.test"),
        await login(client, email.replace("ana", "ben")),
    ]
    await owner.execute("UPDATE users SET disabled_at = now() WHERE id = $1", tenant.people["ana"])
    answers.append(await login(client, email))
    assert len({answer.content for answer in answers}) == 1
    for answer in answers:
        problem(answer, 401, "credentials_refused")


async def test_a_token_is_for_one_organisation_the_last_one_used_by_default(
    api: Api, owner: Connection, tenant: Tenant, other: Tenant, email: str
) -> None:
    client = api.client()
    slug = await owner.fetchval("SELECT slug FROM organizations WHERE id = $1", other.id)
    problem(await login(client, email, organization=slug), 403, "not_a_member")
    await join(owner, other, tenant.people["ana"])

    async def organization_of(response: httpx.Response) -> str:
        assert response.status_code == 200, response.text
        return str((await who(client, response.json()["access_token"])).json()["organization_id"])

    assert await organization_of(await login(client, email, organization=slug)) == other.id
    assert await organization_of(await login(client, email)) == other.id
    assert await organization_of(await login(client, email, organization=tenant.id)) == tenant.id
    assert await organization_of(await login(client, email)) == tenant.id
    # Membership of one says nothing in the other.
    await owner.execute(
        "UPDATE organization_members SET disabled_at = now() WHERE organization_id = $1 AND user_id = $2",
        tenant.id,
        tenant.people["ana"],
    )
    assert await organization_of(await login(client, email)) == other.id
    problem(await login(client, email, organization=tenant.id), 403, "not_a_member")


async def test_a_closed_organisation_is_not_signed_in_to(
    api: Api, owner: Connection, tenant: Tenant, email: str
) -> None:
    await owner.execute("UPDATE organizations SET closed_at = now() WHERE id = $1", tenant.id)
    problem(await login(api.client(), email), 403, "not_a_member")


async def test_refreshing_rotates_and_a_used_token_ends_the_session(api: Api, email: str) -> None:
    client = api.client()
    first = (await login(client, email)).json()
    tokens = [first["refresh_token"]]
    for _ in range(3):
        response = await client.post("/api/auth/refresh", json={"refresh_token": tokens[-1]})
        assert response.status_code == 200, response.text
        assert response.headers["cache-control"] == "no-store"
        tokens.append(response.json()["refresh_token"])
    newest = response.json()["access_token"]
    assert (await who(client, newest)).status_code == 200
    # However old it is: somebody has a copy.
    reused = await client.post("/api/auth/refresh", json={"refresh_token": tokens[0]})
    problem(reused, 401, "refresh_reused")
    assert tokens[0] not in reused.text
    problem(await who(client, newest), 401, "session_ended")
    for token in tokens:
        again = await client.post("/api/auth/refresh", json={"refresh_token": token})
        problem(again, 401, "refresh_refused")


async def test_of_two_refreshes_at_once_one_wins_and_the_session_ends(api: Api, email: str) -> None:
    client = api.client()
    token = (await login(client, email)).json()["refresh_token"]
    answers = await asyncio.gather(
        *(client.post("/api/auth/refresh", json={"refresh_token": token}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]


async def test_an_invented_refresh_token_ends_nobodys_session(api: Api, email: str) -> None:
    client = api.client()
    granted = (await login(client, email)).json()
    genuine = granted["refresh_token"]
    altered = genuine[:-1] + ("A" if genuine[-1] != "A" else "Q")
    respelled = genuine[:-1] + chr(ord(genuine[-1]) + 1)
    for text in ("x", "", altered, respelled, genuine[:-1], genuine + "A", "🦊", "a" * 900):
        response = await client.post("/api/auth/refresh", json={"refresh_token": text})
        assert response.status_code in (401, 422)
        assert response.json()["code"] in ("refresh_refused", "invalid")
    assert (await who(client, granted["access_token"])).status_code == 200


async def test_a_member_who_left_cannot_refresh(
    api: Api, owner: Connection, tenant: Tenant, email: str
) -> None:
    client = api.client()
    token = (await login(client, email)).json()["refresh_token"]
    await owner.execute("DELETE FROM organization_members WHERE user_id = $1", tenant.people["ana"])
    problem(await client.post("/api/auth/refresh", json={"refresh_token": token}), 401, "refresh_refused")


async def test_logging_out_ends_this_session_or_all(
    api: Api, owner: Connection, other: Tenant, tenant: Tenant, email: str
) -> None:
    client = api.client()
    await join(owner, other, tenant.people["ana"])
    here, there, elsewhere = [
        (await login(client, email, organization=organization)).json()
        for organization in (tenant.id, tenant.id, other.id)
    ]

    async def log_out(granted: dict[str, str], **kwargs: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {granted['access_token']}"}
        return await client.post("/api/auth/logout", headers=headers, **kwargs)

    response = await log_out(here)
    assert (response.status_code, response.content) == (204, b"")
    problem(await who(client, here["access_token"]), 401, "session_ended")
    problem(
        await client.post("/api/auth/refresh", json={"refresh_token": here["refresh_token"]}),
        401,
        "refresh_refused",
    )
    assert (await who(client, there["access_token"])).status_code == 200
    assert (await log_out(there, json={"everywhere": True})).status_code == 204
    problem(await who(client, there["access_token"]), 401, "session_ended")
    problem(await who(client, elsewhere["access_token"]), 401, "session_ended")
    problem(await log_out(there), 401, "session_ended")


async def test_a_ticket_stands_for_the_token_for_thirty_seconds(
    api: Api, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    answer = (await ana.post("/api/auth/ticket")).json()
    key = ticket_key(answer["ticket"])
    assert answer["expires_in"] == 30
    assert answer["ticket"] not in key
    assert 0 < await api.services.redis.ttl(key) <= 30
    stored = await api.services.redis.getdel(key)
    assert stored is not None
    claims = claims_from_json(stored)
    assert (claims.user_id, claims.organization_id) == (tenant.people["ana"], tenant.id)
    problem(await api.client().post("/api/auth/ticket"), 401, "not_authenticated")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": "a@b.test"}, "password"),
        ({"email": 5, "password": "x"}, "email"),
        ({"email": "a@b.test", "password": "x", "otp": "1"}, "otp"),
        ({"email": "a@b.test\x00", "password": "x"}, "email"),
        ({"email": "a@b.test", "password": ""}, "password"),
        ({"email": "a@b.test", "password": "hunter2 \x00"}, "password"),
        ({"email": "a@b.test", "password": "x", "organization": 5}, "organization"),
    ],
)
async def test_a_sign_in_of_another_shape_is_422_and_quotes_no_password(
    api: Api, body: dict[str, object], field: str
) -> None:
    response = await api.client().post("/api/auth/login", json=body)
    assert field in [fault["field"] for fault in problem(response, 422, "invalid")["errors"]]
    assert "hunter2" not in response.text


async def test_a_lone_surrogate_is_no_text(api: Api) -> None:
    body = b'{"email": "\\ud800@b.test", "password": "\\ud800"}'
    response = await api.client().post(
        "/api/auth/login", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 422)


async def test_bodies_of_a_sign_in_are_told_apart_as_elsewhere(api: Api) -> None:
    client = api.client()
    json = {"content-type": "application/json"}
    problem(await client.post("/api/auth/login", content=b"{", headers=json), 400, "malformed_json")
    problem(await client.post("/api/auth/login", content=b'"\xff"', headers=json), 400, "malformed_json")
    problem(await client.post("/api/auth/login", content=b"[]", headers=json), 422, "invalid")
    problem(await client.post("/api/auth/login", content=b""), 422, "invalid")
    problem(await client.post("/api/auth/login", data={"email": "x"}), 415, "unsupported_media_type")
    huge = b'{"email": "' + b"x" * (1 << 20) + b'"}'
    problem(await client.post("/api/auth/login", content=huge, headers=json), 413, "body_too_large")


def bad_tokens(tenant: Tenant) -> dict[str, str]:
    """Tokens that prove nothing, by what is wrong with them."""
    now = int(time.time())
    good = {
        "iss": "branchline",
        "aud": "branchline",
        "typ": "access",
        "sub": tenant.people["ana"],
        "org": tenant.id,
        "sid": tenant.sessions["ana"],
        "iat": now,
        "exp": now + 900,
    }

    def sign(claims: dict[str, Any], key: str = SECRET, headers: dict[str, Any] | None = None) -> str:
        return jwt.encode(claims, key, algorithm="HS256", headers=headers)

    def part(value: dict[str, Any]) -> str:
        return urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()

    without = {f"without {name}": sign({k: v for k, v in good.items() if k != name}) for name in good}
    return without | {
        "another key": sign(good, "another key that is long enough too"),
        "no algorithm": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(good)}.",
        "HS512": jwt.encode(good, SECRET * 2, algorithm="HS512"),
        "another kid": sign(good, headers={"kid": "other"}),
        "a key of its own": sign(good, headers={"jwk": {"kty": "oct", "k": "x"}}),
        "a key's address": sign(good, headers={"jku": "http://evil.test"}),
        "a certificate's address": sign(good, headers={"x5u": "http://evil.test"}),
        "expired": sign({**good, "exp": now - 1}),
        "an end as text": sign({**good, "exp": str(now + 900)}),
        "an end as a fraction": sign({**good, "exp": now + 900.5}),
        "not yet": sign({**good, "nbf": now + 900}),
        "another issuer": sign({**good, "iss": "evil"}),
        "another audience": sign({**good, "aud": "evil"}),
        "a list of audiences": sign({**good, "aud": ["branchline", "evil"]}),
        "another type": sign({**good, "typ": "refresh"}),
        "a person that is no id": sign({**good, "sub": "ana"}),
        "an organisation that is no id": sign({**good, "org": "' OR true --"}),
        "cut": sign(good)[:-4],
        "too long": "a" * 10_000,
        "no token": "x",
    }


async def test_a_bad_token_is_401_and_quoted_nowhere(
    api: Api, tenant: Tenant, capfd: pytest.CaptureFixture[str]
) -> None:
    client = api.client()
    for kind, token in bad_tokens(tenant).items():
        response = await who(client, token)
        assert response.status_code == 401, kind
        assert response.json()["code"].startswith("token_"), kind
        assert response.headers["www-authenticate"].startswith("Bearer"), kind
        assert token not in response.text
    assert "eyJ" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
async def test_no_token_is_401(api: Api, header: str) -> None:
    client = api.client()
    problem(await client.get("/api/leads"), 401, "not_authenticated")
    problem(await client.get("/api/leads", headers={"authorization": header}), 401, "not_authenticated")


async def test_a_token_in_the_address_is_no_token(api: Api, tenant: Tenant) -> None:
    token = api.services.tokens.issue(tenant.people["ana"], tenant.id, tenant.sessions["ana"])
    problem(await api.client().get(f"/api/leads?access_token={token}"), 401, "not_authenticated")


async def test_a_genuine_token_for_what_does_not_belong_together_is_401(
    api: Api, tenant: Tenant, other: Tenant
) -> None:
    """Signed, as by a server with a fault: the database has the last word."""
    tokens, client = Tokens(SECRET), api.client()
    ana, session = tenant.people["ana"], tenant.sessions["ana"]
    for user, organization, sid in (
        (ana, other.id, session),
        (ana, tenant.id, other.sessions["ana"]),
        (tenant.people["ben"], tenant.id, session),
        (ana, tenant.id, new_id()),
        (new_id(), tenant.id, session),
    ):
        problem(await who(client, tokens.issue(user, organization, sid)), 401, "session_ended")
