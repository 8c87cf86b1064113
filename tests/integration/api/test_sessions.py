"""Sessions: where somebody is signed in, when a login ends by itself, and what is written down of it."""

import httpx
import orjson
import pytest

from api.passwords import Passwords
from api.sessions import Lifetime, RefreshRefusedError, Sessions
from tests.integration.api.conftest import Api, eventually, problem
from tests.integration.api.test_auth import email, login, who  # noqa: F401 - email is a fixture
from tests.tenants import Connection, Tenant, new_id


def bearer(granted: dict[str, str]) -> dict[str, str]:
    return {"authorization": f"Bearer {granted['access_token']}"}


async def test_a_person_sees_their_logins_with_device_and_last_use_and_ends_one(
    api: Api,
    tenant: Tenant,
    email: str,  # noqa: F811
) -> None:
    phone, desk = api.client(), api.client()
    phone.headers["user-agent"], desk.headers["user-agent"] = "a phone", "a desk"
    on_phone, at_desk = (await login(phone, email)).json(), (await login(desk, email)).json()
    listed = await desk.get("/api/auth/sessions", headers=bearer(at_desk))
    items = [each for each in listed.json()["items"] if each["device"] in ("a phone", "a desk")]
    assert [(each["device"], each["is_current"]) for each in items] == [("a desk", True), ("a phone", False)]
    assert items[0]["organization_id"] == tenant.id
    assert items[0]["last_used_at"] >= items[0]["created_at"]
    assert items[0]["address"]
    # Whoever is used last comes first.
    await phone.post("/api/auth/refresh", json={"refresh_token": on_phone["refresh_token"]})
    listed = await desk.get("/api/auth/sessions", headers=bearer(at_desk))
    assert listed.json()["items"][0]["device"] == "a phone"
    ended = await desk.delete(f"/api/auth/sessions/{items[1]['id']}", headers=bearer(at_desk))
    assert ended.status_code == 204
    problem(await who(phone, on_phone["access_token"]), 401, "session_ended")
    assert (await who(desk, at_desk["access_token"])).status_code == 200


async def test_nobody_ends_another_persons_session(api: Api, tenant: Tenant, other: Tenant) -> None:
    ben, ana = api.client(tenant, "ben"), api.client(tenant)
    for session in (tenant.sessions["ana"], other.sessions["ana"], new_id(), "x"):
        problem(await ben.delete(f"/api/auth/sessions/{session}"), 404, "not_found")
    assert (await ana.get("/api/auth/me")).status_code == 200
    problem(await api.client().get("/api/auth/sessions"), 401, "not_authenticated")


async def test_a_session_ends_some_time_after_the_login_however_often_it_is_refreshed(
    api: Api,
    owner: Connection,
    email: str,  # noqa: F811
) -> None:
    services = api.services
    passwords = Passwords()
    sessions = Sessions(
        services.pool, services.tokens, passwords, Lifetime(idle_seconds=3600, seconds=7200, per_user=0)
    )
    granted = await sessions.login(email, "correct horse", None, None, "")
    await passwords.close()
    session_id = services.tokens.verify(granted.access_token).session_id

    async def seconds_left() -> float:
        sql = "SELECT extract(epoch FROM expires_at - now())::float FROM sessions WHERE id = $1"
        return float(await owner.fetchval(sql, session_id))

    assert 3500 < await seconds_left() <= 3600
    age = "UPDATE sessions SET created_at = created_at - interval '100 minutes' WHERE id = $1"
    await owner.execute(age, session_id)
    granted = await sessions.refresh(granted.refresh_token, "")
    assert 1100 < await seconds_left() <= 1200
    await owner.execute("UPDATE sessions SET expires_at = now() WHERE id = $1", session_id)
    with pytest.raises(RefreshRefusedError):
        await sessions.refresh(granted.refresh_token, "")


@pytest.mark.parametrize("lifetime", [Lifetime(idle_seconds=300), Lifetime(seconds=300)])
async def test_no_token_is_good_for_longer_than_its_session(
    api: Api,
    owner: Connection,
    email: str,  # noqa: F811
    lifetime: Lifetime,
) -> None:
    services = api.services
    passwords = Passwords()
    sessions = Sessions(services.pool, services.tokens, passwords, lifetime)
    granted = await sessions.login(email, "correct horse", None, None, "")
    await passwords.close()
    for each in (granted, await sessions.refresh(granted.refresh_token, "")):
        claims = services.tokens.verify(each.access_token)
        ends_at = await owner.fetchval(
            "SELECT extract(epoch FROM expires_at)::float FROM sessions WHERE id = $1", claims.session_id
        )
        assert claims.expires_at <= ends_at
        assert 200 < each.expires_in <= 300


async def test_of_too_many_logins_those_used_least_lately_end(
    api: Api,
    tenant: Tenant,
    email: str,  # noqa: F811
) -> None:
    services = api.services
    passwords = Passwords()
    sessions = Sessions(services.pool, services.tokens, passwords, Lifetime(per_user=2))
    tokens = [(await sessions.login(email, "correct horse", None, None, "")).access_token for _ in range(3)]
    await passwords.close()
    answers = [(await who(api.client(), token)).status_code for token in tokens]
    assert answers == [401, 200, 200]


@pytest.mark.parametrize(
    ("statement", "elsewhere"),
    [
        (
            "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1 AND organization_id = $2",
            200,
        ),
        ("DELETE FROM organization_members WHERE user_id = $1 AND organization_id = $2", 200),
        ("UPDATE users SET disabled_at = now() WHERE id = $1 AND $2::uuid IS NOT NULL", 401),
    ],
)
async def test_who_is_disabled_in_one_organisation_is_logged_out_there_and_a_disabled_person_everywhere(
    api: Api,
    owner: Connection,
    tenant: Tenant,
    other: Tenant,
    email: str,  # noqa: F811
    statement: str,
    elsewhere: int,
) -> None:
    client, ana = api.client(), tenant.people["ana"]
    await owner.execute(
        "INSERT INTO organization_members (organization_id, user_id, role) VALUES ($1, $2, 'viewer')",
        other.id,
        ana,
    )
    here = (await login(client, email, organization=tenant.id)).json()
    there = (await login(client, email, organization=other.id)).json()
    await owner.execute(statement, ana, tenant.id)
    problem(await who(client, here["access_token"]), 401, "session_ended")
    assert (await who(client, there["access_token"])).status_code == elsewhere
    # Being let in again does not bring the old login back.
    await owner.execute("UPDATE users SET disabled_at = NULL WHERE id = $1", ana)
    await owner.execute("UPDATE organization_members SET disabled_at = NULL WHERE user_id = $1", ana)
    problem(await who(client, here["access_token"]), 401, "session_ended")


async def test_a_logout_is_a_change_of_the_membership_in_the_log(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    assert (await ana.post("/api/auth/logout")).status_code == 204
    record = await owner.fetchval(
        "SELECT record FROM changes WHERE organization_id = $1 AND collection = 'organization_members'"
        " AND operation = 'update' ORDER BY transaction_id DESC LIMIT 1",
        tenant.id,
    )
    assert orjson.loads(record)["user_id"] == tenant.people["ana"]
    assert orjson.loads(record)["access_changed_at"] is not None


async def test_the_last_use_is_known_from_redis_and_a_flushed_one_forgets_no_end(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    session_id = tenant.sessions["ana"]
    await owner.execute(
        "UPDATE sessions SET last_used_at = now() - interval '3 days' WHERE id = $1", session_id
    )
    key = f"branchline:session:{session_id}"

    async def last_used_at() -> str:
        items = (await ana.get("/api/auth/sessions")).json()["items"]
        return str(next(each["last_used_at"] for each in items if each["is_current"]))

    stored = await owner.fetchval("SELECT last_used_at FROM sessions WHERE id = $1", session_id)
    await ana.get("/api/auth/me")

    async def is_noted() -> bool:
        return bool(await api.services.redis.exists(key))

    await eventually(is_noted)
    assert 0 < await api.services.redis.ttl(key) <= api.settings.session_idle_seconds
    noted = await last_used_at()
    assert noted[:10] > stored.isoformat()[:10]
    await api.services.redis.delete(key)
    assert (await last_used_at())[:19] == stored.isoformat()[:19]
    assert (await ana.post("/api/auth/logout")).status_code == 204
    await api.services.redis.flushdb()
    problem(await ana.get("/api/auth/me"), 401, "session_ended")
