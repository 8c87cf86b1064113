"""People come in by invitation, change and find back their passwords, and keep preferences; owners see who did."""

import asyncio
import email as email_library
import re
import time
from asyncio import StreamReader, StreamWriter
from email.message import Message
from typing import Any

import asyncpg
import httpx
import pytest

from api.app import create_app
from api.limiting import MAILS_AT_ONCE
from api.mail import AT_ONCE, MailError, NoMail
from api.services import open_services
from core.settings import Settings
from tests.integration.api.conftest import Api, create, eventually, problem
from tests.integration.api.test_auth import HASH, PASSWORD, email, login, who  # noqa: F401 - email is a fixture
from tests.tenants import Connection, Tenant, new_id

NEW_PASSWORD = "a staple of batteries"


@pytest.fixture
async def boss(owner: Connection, api: Api, tenant: Tenant) -> httpx.AsyncClient:
    """Ana, who owns the organisation."""
    await owner.execute(
        "UPDATE organization_members SET role = 'owner' WHERE user_id = $1", tenant.people["ana"]
    )
    return api.client(tenant, "ana")


def mails(api: Api, to: str) -> list[Message]:
    found = [
        email_library.message_from_string(path.read_text())
        for path in sorted((api.settings.home / "mail").glob("*.eml"))
    ]
    return [each for each in found if each["To"] == to]


def token_in(mail: Message, name: str) -> str:
    match = re.search(rf"/#{name}=([\w-]+)", str(mail.get_payload(decode=True)))
    assert match is not None, mail
    return match.group(1)


async def invite(client: httpx.AsyncClient, to: str, **more: Any) -> httpx.Response:
    return await client.post("/api/auth/invitations", json={"email": to, "role": "agent", **more})


async def test_who_is_invited_comes_in_as_they_were_invited(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    address, client = f"{new_id()}@new.test", api.client()
    north = tenant.branches["north"]
    assert (await invite(boss, address.upper(), reads="own", branch_ids=[north])).status_code == 201
    [waiting] = (await boss.get("/api/auth/invitations")).json()["items"]
    assert (waiting["email"], waiting["role"], waiting["invited_by_name"]) == (address, "agent", "Ana")
    [mail] = mails(api, address)
    token = token_in(mail, "invitation")
    # Whoever opens the file finds the link in one piece.
    files = [path.read_text() for path in (api.settings.home / "mail").glob("*.eml")]
    assert any(f"/#invitation={token}\n" in text for text in files)
    name = await owner.fetchval("SELECT name FROM organizations WHERE id = $1", tenant.id)
    offer = {
        "organization_name": name,
        "role": "agent",
        "email": address,
        "name": None,
        "has_password": False,
    }
    assert (await client.post("/api/auth/invitations/show", json={"token": token})).json() == offer
    body = {"token": token, "name": "Nora", "password": NEW_PASSWORD}
    without_name = {"token": token, "password": NEW_PASSWORD}
    weak = body | {"password": "short"}
    for wrong, field in ((without_name, "name"), (weak, "password")):
        answer = await client.post("/api/auth/invitations/accept", json=wrong)
        assert problem(answer, 422, "invalid")["errors"][0]["field"] == field
    assert (await client.post("/api/auth/invitations/accept", json=body)).status_code == 204
    # It is good once.
    problem(await client.post("/api/auth/invitations/accept", json=body), 410, "link_refused")
    problem(await client.post("/api/auth/invitations/show", json={"token": token}), 410, "link_refused")
    signed_in = await client.post("/api/auth/login", json={"email": address, "password": NEW_PASSWORD})
    me = (await who(client, signed_in.json()["access_token"])).json()
    assert (me["name"], me["role"], me["reads"], me["branch_ids"]) == ("Nora", "agent", "own", [north])
    assert (await boss.get("/api/auth/invitations")).json()["items"] == []


async def test_who_has_an_account_proves_it_to_come_in_elsewhere(
    api: Api,
    owner: Connection,
    tenant: Tenant,
    other: Tenant,
    boss: httpx.AsyncClient,
) -> None:
    address = str(await owner.fetchval("SELECT email FROM users WHERE id = $1", other.people["carla"]))
    carla = other.people["carla"]
    await owner.execute("UPDATE users SET password_hash = $2 WHERE id = $1", carla, HASH)
    client = api.client()
    await invite(boss, address)
    token = token_in(mails(api, address)[-1], "invitation")
    shown = (await client.post("/api/auth/invitations/show", json={"token": token})).json()
    assert (shown["name"], shown["has_password"]) == ("Carla", True)
    wrong = {"token": token, "name": "Not Carla", "password": "not her password"}
    problem(await client.post("/api/auth/invitations/accept", json=wrong), 401, "credentials_refused")
    count = "SELECT count(*) FROM organization_members WHERE user_id = $1 AND organization_id = $2"
    assert await owner.fetchval(count, carla, tenant.id) == 0
    right = {"token": token, "password": PASSWORD}
    assert (await client.post("/api/auth/invitations/accept", json=right)).status_code == 204
    assert await owner.fetchval(count, carla, tenant.id) == 1
    # Nobody has changed what she is called, or her password.
    assert await owner.fetchval("SELECT name FROM users WHERE id = $1", carla) == "Carla"
    assert (await login(client, address, organization=tenant.id)).status_code == 200


async def test_an_invitation_that_is_withdrawn_too_old_or_invented_lets_nobody_in(
    api: Api, owner: Connection, tenant: Tenant, other: Tenant, boss: httpx.AsyncClient
) -> None:
    client = api.client()
    addresses = [f"{new_id()}@new.test" for _ in range(2)]
    withdrawn = (await invite(boss, addresses[0])).json()
    old = (await invite(boss, addresses[1])).json()
    problem(await api.client(other).delete(f"/api/auth/invitations/{withdrawn['id']}"), 403, "forbidden")
    assert (await boss.delete(f"/api/auth/invitations/{withdrawn['id']}")).status_code == 204
    problem(await boss.delete(f"/api/auth/invitations/{withdrawn['id']}"), 404, "not_found")
    await owner.execute("UPDATE invitations SET expires_at = now() WHERE id = $1", old["id"])
    tokens = [token_in(mails(api, address)[0], "invitation") for address in addresses]
    for token in [*tokens, "x", "", "🦊", tokens[0][:-1], "A" * 64]:
        body = {"token": token, "name": "Eve", "password": NEW_PASSWORD}
        for path, sent in (("accept", body), ("show", {"token": token})):
            answer = await client.post(f"/api/auth/invitations/{path}", json=sent)
            assert answer.json()["code"] in ("link_refused", "invalid")


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1 AND organization_id = $2",
        "DELETE FROM organization_members WHERE user_id = $1 AND organization_id = $2",
    ],
)
async def test_an_invitation_from_before_lets_nobody_back_in_who_was_sent_away_since(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient, end: str
) -> None:
    ben = tenant.people["ben"]
    address = str(
        await owner.fetchval("UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING email", ben, HASH)
    )
    assert (await invite(boss, address)).status_code == 201
    assert (await invite(boss, f"{new_id()}@new.test")).status_code == 201
    await owner.execute(end, ben, tenant.id)
    body = {"token": token_in(mails(api, address)[-1], "invitation"), "password": PASSWORD}
    problem(await api.client().post("/api/auth/invitations/accept", json=body), 410, "link_refused")
    problem(await login(api.client(), address), 403, "not_a_member")
    # Nobody else's invitation has ended, and they may be asked in anew.
    assert len((await boss.get("/api/auth/invitations")).json()["items"]) == 1
    assert (await invite(boss, address)).status_code == 201
    body["token"] = token_in(mails(api, address)[-1], "invitation")
    assert (await api.client().post("/api/auth/invitations/accept", json=body)).status_code == 204
    assert (await login(api.client(), address)).status_code == 200


async def test_an_invitation_to_less_makes_no_owner_less(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    ana = tenant.people["ana"]
    address = str(
        await owner.fetchval("UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING email", ana, HASH)
    )
    await owner.execute(
        "UPDATE organization_members SET role = 'admin', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    assert (await invite(api.client(tenant, "ben"), address, role="viewer")).status_code == 201
    body = {"token": token_in(mails(api, address)[-1], "invitation"), "password": PASSWORD}
    problem(await api.client().post("/api/auth/invitations/accept", json=body), 410, "link_refused")
    assert (await boss.get("/api/auth/me")).json()["role"] == "owner"


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1",
        "UPDATE organization_members SET role = 'admin' WHERE user_id = $1",
        "UPDATE users SET disabled_at = now() WHERE id = $1",
        "DELETE FROM organization_members WHERE user_id = $1",
    ],
)
async def test_an_invitation_is_good_while_whoever_sent_it_might_send_it(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient, end: str
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = 'owner' WHERE user_id = $1", tenant.people["ben"]
    )
    address = f"{new_id()}@new.test"
    assert (await invite(boss, address, role="owner")).status_code == 201
    await owner.execute(end, tenant.people["ana"])
    body = {"token": token_in(mails(api, address)[-1], "invitation"), "password": NEW_PASSWORD, "name": "Eve"}
    for path, sent in (("show", {"token": body["token"]}), ("accept", body)):
        answer = await api.client().post(f"/api/auth/invitations/{path}", json=sent)
        problem(answer, 410, "link_refused")
    assert (await api.client(tenant, "ben").get("/api/auth/invitations")).json()["items"] == []


async def test_a_disabled_owner_comes_back_as_something_else_by_an_owner_only(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    vera, ben = tenant.people["vera"], tenant.people["ben"]
    address = str(
        await owner.fetchval("UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING email", vera, HASH)
    )
    await owner.execute(
        "UPDATE organization_members SET role = 'admin', branch_ids = NULL WHERE user_id = $1", ben
    )
    member = await owner.fetchval(
        "UPDATE organization_members SET role = 'owner', disabled_at = now() WHERE user_id = $1 RETURNING id::text",
        vera,
    )

    async def accept(issuer: httpx.AsyncClient) -> httpx.Response:
        assert (await invite(issuer, address, role="admin")).status_code == 201
        body = {"token": token_in(mails(api, address)[-1], "invitation"), "password": PASSWORD}
        return await api.client().post("/api/auth/invitations/accept", json=body)

    problem(await accept(api.client(tenant, "ben")), 410, "link_refused")
    assert (await accept(boss)).status_code == 204
    assert (await login(api.client(), address)).status_code == 200
    # The history names whoever invited.
    found = (await boss.get(f"/api/organization_members/{member}/history")).json()["items"]
    changes = [each for each in found if "role" in each["changed"] and each["operation"] == "update"]
    assert changes[0]["actor"]["name"] == "Ana"


@pytest.mark.parametrize(
    ("role", "to", "status"),
    [
        ("owner", "owner", 201),
        ("admin", "owner", 403),
        ("admin", "admin", 201),
        ("manager", "agent", 403),
        ("agent", "viewer", 403),
        ("viewer", "viewer", 403),
    ],
)
async def test_who_may_invite_to_what(
    api: Api, owner: Connection, tenant: Tenant, role: str, to: str, status: int
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = $2::text::member_role WHERE user_id = $1",
        tenant.people["ana"],
        role,
    )
    answer = await invite(api.client(tenant), f"{new_id()}@new.test", role=to)
    assert answer.status_code == status


async def test_nobody_fills_anothers_mailbox_with_invitations(
    api: Api, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    address = f"{new_id()}@new.test"
    answers = [await invite(boss, address) for _ in range(MAILS_AT_ONCE)]
    assert {each.status_code for each in answers} == {201}
    refused = await invite(boss, address)
    problem(refused, 429, "rate_exceeded")
    assert int(refused.headers["retry-after"]) > 1
    assert (await invite(boss, f"{new_id()}@new.test")).status_code == 201
    # The last one is good, and no other.
    assert len(mails(api, address)) == MAILS_AT_ONCE
    listed = (await boss.get("/api/auth/invitations")).json()["items"]
    assert [each["id"] for each in listed if each["email"] == address] == [answers[-1].json()["id"]]
    *older, last = [token_in(mail, "invitation") for mail in mails(api, address)]
    for token in older:
        problem(
            await api.client().post("/api/auth/invitations/show", json={"token": token}), 410, "link_refused"
        )
    assert (await api.client().post("/api/auth/invitations/show", json={"token": last})).status_code == 200


async def test_an_organisation_sends_so_many_invitations_an_hour_and_has_so_many_open(
    api: Api, settings: Settings, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    limits = settings.model_copy(update={"invitations_per_hour_per_organization": 2})
    async with open_services(limits) as services:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://api.test", headers=boss.headers
        ) as client:
            sent = [await invite(client, f"{new_id()}@new.test") for _ in range(3)]
    assert [each.status_code for each in sent] == [201, 201, 429]
    assert "invitations by organization" in problem(sent[-1], 429, "rate_exceeded")["detail"]
    await owner.execute(
        "INSERT INTO invitations (organization_id, email, role, token_hash, invited_by, expires_at)"
        " SELECT $1, n || '@full.test', 'agent', sha256(n::text::bytea), $2, now() + interval '1 hour'"
        " FROM generate_series(1, 498) n",
        tenant.id,
        tenant.people["ana"],
    )
    refused = await invite(boss, f"{new_id()}@new.test")
    assert "are open" in problem(refused, 429, "rate_exceeded")["detail"]
    assert refused.headers["retry-after"]
    # Somebody who has one already gets another in its place.
    assert (await invite(boss, "7@full.test")).status_code == 201


async def test_a_mail_says_what_one_is_invited_to_and_nothing_of_the_inviters_own(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    async def said() -> str:
        address = f"{new_id()}@new.test"
        assert (await invite(boss, address)).status_code == 201
        [mail] = mails(api, address)
        return str(mail.get_payload(decode=True))

    organization = await owner.fetchval("SELECT name FROM organizations WHERE id = $1", tenant.id)
    assert f"Ana invites you to {organization}." in await said()
    await owner.execute(
        "UPDATE users SET name = 'Visit http://evil.example/win now' WHERE id = $1", tenant.people["ana"]
    )
    assert "evil" not in await said()


@pytest.mark.parametrize("name", ["see evil.example", "http://x", "a@b", "www.x", "two\nlines", "Ada\u2028x"])
async def test_a_name_is_no_link_and_one_line(api: Api, boss: httpx.AsyncClient, name: str) -> None:
    address = f"{new_id()}@new.test"
    await invite(boss, address)
    body = {"token": token_in(mails(api, address)[-1], "invitation"), "password": NEW_PASSWORD}
    client = api.client()
    refused = await client.post("/api/auth/invitations/accept", json=body | {"name": name})
    assert problem(refused, 422, "invalid")["errors"][0]["field"] == "name"
    fine = body | {"name": "Dr. J.-P. d'Où-Æ"}
    assert (await client.post("/api/auth/invitations/accept", json=fine)).status_code == 204


async def test_a_branch_of_another_organisation_is_nobodys_to_give(
    api: Api, other: Tenant, boss: httpx.AsyncClient
) -> None:
    for branch in (other.branches["north"], new_id(), "x"):
        answer = await invite(boss, f"{new_id()}@new.test", branch_ids=[branch])
        assert problem(answer, 422, "invalid")["errors"][0]["field"] == "branch_ids"


ALL = {"branch_ids": None, "reads": "all"}


async def pushed(client: httpx.AsyncClient, record: str, fields: dict[str, Any]) -> dict[str, Any]:
    mutation = {"mutation_id": new_id(), "collection": "organization_members", "id": record}
    body = {
        "client_id": new_id(),
        "now_ms": time.time_ns() // 1_000_000,
        "mutations": [{**mutation, "operation": "update", "fields": fields}],
    }
    answer = (await client.post("/api/sync", json=body)).json()
    result: dict[str, Any] = answer["results"][0]
    return result


async def test_an_admin_gives_only_what_they_have(api: Api, owner: Connection, tenant: Tenant) -> None:
    north, south = tenant.branches["north"], tenant.branches["south"]
    change = "UPDATE organization_members SET role = 'admin', reads = $2, branch_ids = $3 WHERE user_id = $1"
    ben = api.client(tenant, "ben")
    await owner.execute(change, tenant.people["ben"], "own", None)
    rows = (await ben.get("/api/organization_members")).json()["items"]
    [own] = [row["id"] for row in rows if row["user_id"] == tenant.people["ben"]]
    [vera] = [row["id"] for row in rows if row["user_id"] == tenant.people["vera"]]
    path, vera_path = (f"/api/organization_members/{each}" for each in (own, vera))
    # Who has all branches gives all, also where they read their own.
    assert (await ben.patch(vera_path, json=ALL | {"title": "Captain"})).status_code == 200
    was_all = (await ben.patch(path, json={"branch_ids": [north]})).json()["version"] - 1
    for fields in (
        ALL,
        {"branch_ids": None},
        {"reads": "all"},
        {"branch_ids": [south]},
        {"branch_ids": [north, south]},
    ):
        problem(await ben.patch(path, json=fields), 403, "forbidden")
        problem(await ben.patch(vera_path, json=fields), 403, "forbidden")
        assert (await pushed(ben, own, fields))["code"] == "forbidden", fields
        problem(await invite(ben, f"{new_id()}@new.test", **({"reads": "own"} | fields)), 403, "forbidden")
    problem(await ben.post(f"{path}/restore", json={"version": was_all}), 403, "forbidden")
    me = (await ben.get("/api/auth/me")).json()
    assert (me["branch_ids"], me["reads"]) == ([north], "own")
    within = {"branch_ids": [north], "reads": "own"}
    assert (await ben.patch(vera_path, json=within | {"role": "agent"})).status_code == 200
    assert (await invite(ben, f"{new_id()}@new.test", **within)).status_code == 201


async def test_who_has_less_than_they_gave_has_invited_nobody(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    address = f"{new_id()}@new.test"
    assert (await invite(boss, address)).status_code == 201
    token = token_in(mails(api, address)[-1], "invitation")
    change = "UPDATE organization_members SET branch_ids = $2 WHERE user_id = $1"
    await owner.execute(change, tenant.people["ana"], [tenant.branches["north"]])
    show = {"token": token}
    problem(await api.client().post("/api/auth/invitations/show", json=show), 410, "link_refused")


async def test_a_member_is_assigned_to_branches_that_there_are(
    tenant: Tenant, other: Tenant, boss: httpx.AsyncClient
) -> None:
    rows = (await boss.get("/api/organization_members")).json()["items"]
    [vera] = [row["id"] for row in rows if row["user_id"] == tenant.people["vera"]]
    path = f"/api/organization_members/{vera}"
    for branch in (other.branches["north"], new_id()):
        fields = {"branch_ids": [tenant.branches["north"], branch]}
        assert (
            problem(await boss.patch(path, json=fields), 422, "invalid")["errors"][0]["field"] == "branch_ids"
        )
        assert (await pushed(boss, vera, fields))["code"] == "invalid"
    every = [*tenant.branches.values(), tenant.branches["north"]]
    assert (await boss.patch(path, json={"branch_ids": every})).status_code == 200


async def test_a_changed_password_ends_the_other_sessions(api: Api, email: str) -> None:  # noqa: F811
    here, there = api.client(), api.client()
    granted = [(await login(client, email)).json()["access_token"] for client in (here, there)]
    here.headers["authorization"] = f"Bearer {granted[0]}"
    wrong = {"current_password": "wrong", "new_password": NEW_PASSWORD}
    problem(await here.post("/api/auth/password", json=wrong), 403, "forbidden")
    weak = {"current_password": PASSWORD, "new_password": "short"}
    answer = problem(await here.post("/api/auth/password", json=weak), 422, "invalid")
    assert "short" not in str(answer["errors"][0]["came"])
    right = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await here.post("/api/auth/password", json=right)).status_code == 204
    assert (await who(here, granted[0])).status_code == 200
    problem(await who(there, granted[1]), 401, "session_ended")
    problem(await login(there, email), 401, "credentials_refused")
    assert (await login(there, email, password=NEW_PASSWORD)).status_code == 200


async def test_a_forgotten_password_is_replaced_by_mail_and_every_session_ends(
    api: Api,
    owner: Connection,
    email: str,  # noqa: F811
) -> None:
    client = api.client()
    granted = (await login(client, email)).json()["access_token"]
    answers = [
        await client.post("/api/auth/password-reset", json={"email": address})
        for address in (email.upper(), "nobody@acme.test", email)
    ]
    assert {(each.status_code, each.content) for each in answers} == {(202, answers[0].content)}

    async def has_come() -> bool:
        return len(mails(api, email)) == 1

    await eventually(has_come)
    # Who asks again within a minute gets no second mail: nobody fills another's mailbox.
    await api.services.people.send_reset(email, "")
    assert len(mails(api, email)) == 1
    await owner.execute("UPDATE password_resets SET expires_at = expires_at - interval '1 minute'")
    await api.services.people.send_reset(email, "")
    assert len(mails(api, email)) == 2
    assert mails(api, "nobody@acme.test") == []
    first, second = (token_in(mail, "reset") for mail in mails(api, email))
    stored = await owner.fetchval("SELECT string_agg(token_hash::text, ' ') FROM password_resets")
    assert second not in stored
    body = {"token": second, "new_password": NEW_PASSWORD}
    # The second way back closes the first.
    older = await client.post("/api/auth/password-reset/confirm", json=body | {"token": first})
    problem(older, 410, "link_refused")
    assert (await client.post("/api/auth/password-reset/confirm", json=body)).status_code == 204
    problem(await client.post("/api/auth/password-reset/confirm", json=body), 410, "link_refused")
    problem(await who(client, granted), 401, "session_ended")
    problem(await login(client, email), 401, "credentials_refused")
    assert (await login(client, email, password=NEW_PASSWORD)).status_code == 200


async def test_a_way_back_is_open_for_an_hour(api: Api, owner: Connection, email: str) -> None:  # noqa: F811
    client = api.client()
    await api.services.people.send_reset(email, "")
    token = token_in(mails(api, email)[-1], "reset")
    await owner.execute("UPDATE password_resets SET expires_at = now()")
    body = {"token": token, "new_password": NEW_PASSWORD}
    problem(await client.post("/api/auth/password-reset/confirm", json=body), 410, "link_refused")


async def test_without_a_mail_server_in_production_nothing_is_sent_in_silence() -> None:
    with pytest.raises(MailError, match="BRANCHLINE_MAIL_URL"):
        await NoMail().send("a@b.test", "x", "y")


async def test_a_mail_server_that_hangs_holds_up_nobody_else(
    settings: Settings, owner: Connection, tenant: Tenant, other: Tenant
) -> None:
    callers: list[StreamWriter] = []
    is_over = asyncio.Event()

    async def hang(_: StreamReader, writer: StreamWriter) -> None:
        callers.append(writer)
        await is_over.wait()
        writer.close()

    await owner.execute(
        "UPDATE organization_members SET role = 'owner' WHERE user_id = $1", tenant.people["ana"]
    )
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    changed = settings.model_copy(update={"mail_url": f"smtp://127.0.0.1:{port}", "database_pool_size": 1})
    async with server, open_services(changed) as services:
        api = Api(create_app(services), services, changed, [])
        boss, stranger = api.client(tenant), api.client(other)
        invitations = [asyncio.create_task(invite(boss, f"{new_id()}@new.test")) for _ in range(AT_ONCE + 2)]

        async def hangs() -> bool:
            return len(callers) == AT_ONCE

        async def are_written() -> bool:
            return len((await boss.get("/api/auth/invitations")).json()["items"]) == len(invitations)

        await eventually(hangs)
        async with asyncio.timeout(10):
            assert (await stranger.get("/api/leads?limit=1")).status_code == 200
        await eventually(are_written)
        assert len(callers) == AT_ONCE
        is_over.set()
        for answer in await asyncio.gather(*invitations):
            problem(answer, 503, "unavailable")
        # What could not be sent was not invited.
        assert (await boss.get("/api/auth/invitations")).json()["items"] == []
        for client in (boss, stranger):
            await client.aclose()


async def test_preferences_are_a_persons_on_every_device_and_bounded(
    api: Api, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    assert (await ana.get("/api/auth/preferences")).json() == {}
    stored = {"theme": "dark", "columns": ["name", "status"], "Größe": 3.5}
    assert (await ana.put("/api/auth/preferences", json=stored)).json() == stored
    changed = await ana.patch("/api/auth/preferences", json={"theme": None, "compact": True})
    assert changed.json() == {"columns": ["name", "status"], "Größe": 3.5, "compact": True}
    # A null inside a value is the person's own, and stays.
    kept = {"filter": {"branch_id": None}, "unset": None}
    assert (await ana.put("/api/auth/preferences", json=kept)).json() == kept
    assert (await ana.patch("/api/auth/preferences", json={"a": None})).json() == kept
    changed = await ana.patch("/api/auth/preferences", json=changed.json() | {"filter": None, "unset": None})
    assert (await api.client(tenant).get("/api/auth/preferences")).json() == changed.json()
    assert (await api.client(tenant, "ben").get("/api/auth/preferences")).json() == {}
    for body in ({"x": "y" * 17_000}, {"x": "\x00"}):
        problem(await ana.put("/api/auth/preferences", json=body), 422, "invalid")
    for number in range(4):
        answer = await ana.patch("/api/auth/preferences", json={f"x{number}": "y" * 5_000})
    problem(answer, 422, "invalid")
    problem(await ana.put("/api/auth/preferences", json=[1]), 422, "invalid")


async def test_teams_are_records_like_any_other(api: Api, tenant: Tenant, ana: httpx.AsyncClient) -> None:
    team = await create(ana, "teams", name="Harbour")
    member = await create(ana, "team_members", team_id=team["id"], user_id=tenant.people["ben"])
    listed = (await api.client(tenant, "ben").get(f"/api/team_members?team_id={team['id']}")).json()
    assert [each["id"] for each in listed["items"]] == [member["id"]]
    problem(await api.client(tenant, "ben").post("/api/teams", json={"name": "Mine"}), 403, "forbidden")


async def test_owners_read_who_came_in_and_who_was_refused_and_nobody_else_does(
    api: Api,
    boss: httpx.AsyncClient,
    email: str,  # noqa: F811
) -> None:
    client = api.client()
    await login(client, email)
    await login(client, email, password="wrong")
    events = (await boss.get("/api/auth/security-events?limit=1")).json()
    assert events["items"][0]["kind"] == "sign_in_refused"
    assert events["items"][0]["details"] == {"reason": "password"}
    assert events["items"][0]["user_name"] == "Ana"
    more = (await boss.get(f"/api/auth/security-events?before={events['next_before']}")).json()
    assert more["items"][0]["kind"] == "signed_in"
    assert more["items"][0]["address"]
    problem(await boss.get("/api/auth/security-events?before=x"), 422, "invalid")
    tenantless = api.client()
    problem(await tenantless.get("/api/auth/security-events"), 401, "not_authenticated")


async def test_what_somebody_does_is_told_to_their_organisation_and_not_to_the_one_they_left(
    api: Api, owner: Connection, tenant: Tenant, other: Tenant
) -> None:
    person = other.people["carla"]
    address = str(
        await owner.fetchval(
            "UPDATE users SET password_hash = $2, last_organization_id = $3 WHERE id = $1 RETURNING email",
            person,
            HASH,
            tenant.id,
        )
    )
    await login(api.client(), address, password="wrong")
    await api.services.people.send_reset(address, "")
    body = {"token": token_in(mails(api, address)[-1], "reset"), "new_password": NEW_PASSWORD}
    assert (await api.client().post("/api/auth/password-reset/confirm", json=body)).status_code == 204
    told = "SELECT array_agg(kind::text ORDER BY id) FROM security_events WHERE organization_id = $1 AND user_id = $2"
    expected = ["sign_in_refused", "password_reset_asked", "password_reset"]
    assert (await owner.fetchval(told, other.id, person))[-3:] == expected
    assert await owner.fetchval(told, tenant.id, person) is None


async def test_whose_rights_changed_is_in_the_audit_log_with_what_they_were(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    vera, address = tenant.people["vera"], f"{new_id()}@new.test"
    rows = (await boss.get("/api/organization_members")).json()["items"]
    [path] = [f"/api/organization_members/{row['id']}" for row in rows if row["user_id"] == vera]
    north = [tenant.branches["north"]]
    assert (await boss.patch(path, json={"role": "agent", "branch_ids": north})).status_code == 200
    # What is no right is not told.
    assert (await boss.patch(path, json={"title": "Captain"})).status_code == 200
    disabled = (await boss.patch(path, json={"disabled_at": "2026-01-01T00:00:00Z"})).json()["disabled_at"]
    assert disabled
    assert (await boss.delete(path)).status_code == 204
    await invite(boss, address)
    token = token_in(mails(api, address)[-1], "invitation")
    body = {"token": token, "name": "Nora", "password": NEW_PASSWORD}
    assert (await api.client().post("/api/auth/invitations/accept", json=body)).status_code == 204
    await owner.execute(
        "UPDATE organization_members SET reads = 'own' WHERE user_id = $1", tenant.people["rita"]
    )
    await owner.execute(
        "UPDATE organization_members SET reads = 'all' WHERE user_id = $1", tenant.people["rita"]
    )
    events = (await boss.get("/api/auth/security-events?limit=20")).json()["items"][::-1]
    told = [each for each in events if each["kind"].startswith("member_")]
    changed, ended, removed, added, psql = told[-5:]
    assert [each["kind"] for each in (changed, ended, removed, added, psql)] == [
        "member_changed",
        "member_changed",
        "member_removed",
        "member_added",
        "member_changed",
    ]
    assert [each["actor_name"] for each in (changed, ended, removed, added, psql)] == ["Ana"] * 4 + [None]
    assert {each["user_id"] for each in (changed, ended, removed)} == {vera}
    assert changed["details"] == {"role": ["viewer", "agent"], "branch_ids": [None, north]}
    assert list(ended["details"]) == ["disabled_at"]
    assert removed["details"]["role"] == ["agent", None]
    assert (added["user_name"], added["details"]["role"]) == ("Nora", [None, "agent"])
    assert psql["details"] == {"reads": ["own", "all"]}


@pytest.mark.parametrize("role", ["admin", "manager", "agent", "viewer"])
async def test_the_audit_log_is_for_owners(api: Api, owner: Connection, tenant: Tenant, role: str) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = $2::text::member_role WHERE user_id = $1",
        tenant.people["ana"],
        role,
    )
    problem(await api.client(tenant).get("/api/auth/security-events"), 403, "forbidden")


async def test_the_application_can_alter_nothing_in_the_audit_log(api: Api) -> None:
    for statement in ("UPDATE security_events SET kind = 'x'", "DELETE FROM security_events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.services.pool.execute(statement)


async def test_nobody_is_made_a_member_unasked(
    api: Api, owner: Connection, tenant: Tenant, other: Tenant, boss: httpx.AsyncClient
) -> None:
    stranger = other.people["carla"]
    unasked = {"user_id": stranger, "role": "viewer", "reads": "all"}
    problem(await boss.post("/api/organization_members", json=unasked), 403, "forbidden")
    rows = (await boss.get("/api/organization_members")).json()["items"]
    [vera] = [row["id"] for row in rows if row["user_id"] == tenant.people["vera"]]
    path = f"/api/organization_members/{vera}"
    problem(await boss.patch(path, json={"user_id": stranger}), 403, "forbidden")
    problem(await boss.put(path, json=unasked), 403, "forbidden")
    mutation = {"mutation_id": new_id(), "collection": "organization_members", "id": new_id()}
    body = {
        "client_id": new_id(),
        "now_ms": 1_800_000_000_000,
        "mutations": [mutation | {"operation": "insert", "fields": unasked}],
    }
    [result] = (await boss.post("/api/sync", json=body)).json()["results"]
    assert (result["status"], result["code"]) == ("rejected", "forbidden")
    # Who was removed, or has gone by themselves, is asked anew.
    assert (await boss.delete(path)).status_code == 204
    problem(await boss.post(f"{path}/restore", json={"version": 1}), 403, "forbidden")
    assert stranger not in (await boss.get("/api/people")).text


async def test_an_owner_is_an_owners_to_make_and_the_last_one_stays(
    api: Api, owner: Connection, tenant: Tenant, boss: httpx.AsyncClient
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = 'admin', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    rows = (await boss.get("/api/organization_members")).json()["items"]
    members = {row["user_id"]: f"/api/organization_members/{row['id']}" for row in rows}
    ana, ben, vera = (members[tenant.people[name]] for name in ("ana", "ben", "vera"))
    admin = api.client(tenant, "ben")
    for path, change in (
        (ben, {"role": "owner"}),
        (vera, {"role": "owner"}),
        (ana, {"role": "viewer"}),
        (ana, {"title": "former boss"}),
    ):
        problem(await admin.patch(path, json=change), 403, "forbidden")
    problem(await admin.delete(ana), 403, "forbidden")
    assert (await admin.patch(vera, json={"role": "manager"})).status_code == 200
    # The last one: not by themselves either.
    problem(await boss.patch(ana, json={"role": "admin"}), 403, "forbidden")
    problem(await boss.patch(ana, json={"disabled_at": "2026-01-01T00:00:00Z"}), 403, "forbidden")
    problem(await boss.delete(ana), 403, "forbidden")
    assert (await boss.patch(ben, json={"role": "owner"})).status_code == 200
    assert (await boss.patch(ana, json={"role": "admin"})).status_code == 200
