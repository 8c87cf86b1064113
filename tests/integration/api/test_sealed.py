"""What is sealed at rest, and the portal: who opens it, where it is not, and how keys are changed."""

import base64
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.routes.portal import PER_CONTACT, PREFIX
from api.services import open_services
from cli.rotate_keys import rotate
from core.lifecycle import StartupError
from core.sealing import SealError, Seals, parse_keys, place_of
from core.settings import Settings, load_settings
from tests.integration.api.conftest import Api, create, problem
from tests.servers import Database
from tests.tenants import Connection, Tenant, new_id

TAX_ID = "PT-canary-509442013"


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


async def test_a_tax_id_is_opened_for_those_who_may_and_is_nowhere_in_the_database(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient, module_database: Database
) -> None:
    client = await create(ana, "clients", name="Acme", branch_id=tenant.branches["north"])
    path = f"/api/clients/{client['id']}/tax-id"
    problem(await ana.get(path), 404, "not_found")
    assert (await ana.put(path, json={"tax_id": TAX_ID})).status_code == 204
    assert (await ana.get(path)).json() == {"tax_id": TAX_ID}
    for person in ("ben", "vera"):
        problem(await api.client(tenant, person).get(path), 403, "forbidden")
        problem(await api.client(tenant, person).put(path, json={"tax_id": "x"}), 403, "forbidden")
    # Who may not read the client at all does not learn that there is one.
    problem(await api.client(tenant, "rita").get(path), 404, "not_found")
    dump = await owner.fetch(
        "SELECT string_agg(c::text, ' ') FROM changes c UNION ALL SELECT string_agg(s::text, ' ') FROM sealed_values s"
        " UNION ALL SELECT string_agg(e::text, ' ') FROM security_events e"
        " UNION ALL SELECT string_agg(k::text, ' ') FROM clients k"
    )
    assert TAX_ID not in str(dump)
    assert TAX_ID.encode().hex() not in str(dump)
    kinds = "SELECT array_agg(kind ORDER BY id) FROM security_events WHERE organization_id = $1"
    assert (await owner.fetchval(kinds, tenant.id))[-2:] == ["secret_written", "secret_read"]
    assert (await ana.delete(path)).status_code == 204
    problem(await ana.delete(path), 404, "not_found")


async def test_a_tax_id_is_sealed_away_with_a_deleted_client_and_comes_back_with_it(
    owner: Connection, ana: httpx.AsyncClient, tenant: Tenant
) -> None:
    client = await create(ana, "clients", name="Acme")
    address = f"/api/clients/{client['id']}"
    path = f"{address}/tax-id"
    await ana.put(path, json={"tax_id": TAX_ID})
    assert (await ana.delete(address)).status_code == 204
    for response in (await ana.get(path), await ana.put(path, json={"tax_id": "x"}), await ana.delete(path)):
        problem(response, 404, "not_found")
    assert (await ana.post(f"{address}/restore", json={"version": 1})).status_code == 200
    assert (await ana.get(path)).json() == {"tax_id": TAX_ID}


async def test_a_tax_id_goes_with_the_tombstone_of_its_client(
    owner: Connection, ana: httpx.AsyncClient, tenant: Tenant
) -> None:
    client = await create(ana, "clients", name="Acme")
    address = f"/api/clients/{client['id']}"
    await ana.put(f"{address}/tax-id", json={"tax_id": TAX_ID})
    await ana.delete(address)
    count = "SELECT count(*) FROM sealed_values WHERE organization_id = $1"
    assert await owner.fetchval(count, tenant.id) == 1
    await owner.execute("DELETE FROM tombstones WHERE organization_id = $1", tenant.id)
    assert await owner.fetchval(count, tenant.id) == 0


async def test_tokens_of_outside_systems_go_in_and_never_out(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    problem(await ana.put("/api/auth/integrations/mail", json={"token": "hush-hush"}), 403, "forbidden")
    await owner.execute(
        "UPDATE organization_members SET role = 'admin' WHERE user_id = $1", tenant.people["ana"]
    )
    for _ in range(2):
        answer = await ana.put("/api/auth/integrations/mail", json={"token": "hush-hush"})
        assert answer.status_code == 204
    listed = await ana.get("/api/auth/integrations")
    assert [each["name"] for each in listed.json()["items"]] == ["mail"]
    assert "hush" not in listed.text
    assert (await ana.delete("/api/auth/integrations/mail")).status_code == 204
    problem(await ana.put("/api/auth/integrations/Not%20a%20name", json={"token": "x"}), 422, "invalid")


def test_a_sealed_value_opens_in_its_place_only_and_with_its_key() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    place = place_of(new_id(), new_id(), "tax_id")
    seals = Seals([old])
    sealed = seals.seal("x", place)
    assert seals.seal("x", place) != sealed
    assert Seals([new, old]).open(sealed, seals.key_id, place) == "x"
    for wrong, key_id, where in (
        (seals, seals.key_id, place_of(new_id(), None, "tax_id")),
        (Seals([new]), seals.key_id, place),
    ):
        with pytest.raises(SealError):
            wrong.open(sealed, key_id, where)
    with pytest.raises(SealError):
        seals.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), seals.key_id, place)


@pytest.mark.parametrize("text", ["not a key", "", base64.b64encode(b"short").decode(), f"{new_key()},x"])
def test_what_is_no_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        parse_keys(text)
    assert not text or text not in str(raised.value)


async def test_keys_are_changed_while_everything_opens(
    ana: httpx.AsyncClient,
    api: Api,
    owner: Connection,
    tenant: Tenant,
    module_database: Database,
    tmp_path: Path,
) -> None:
    await owner.execute("DELETE FROM sealed_values")
    old, new = new_key(), new_key()

    def settings(keys: str) -> Settings:
        return load_settings(
            database_url=module_database.url,
            owner_database_url=module_database.owner_url,
            field_keys=keys,
            _env_file=None,
        )

    usual = api.services.seals
    said: list[str] = []
    clients = [await create(ana, "clients", name="Acme") for _ in range(3)]

    async def read(client: dict[str, Any]) -> httpx.Response:
        return await ana.get(f"/api/clients/{client['id']}/tax-id")

    try:
        api.services.seals = Seals(parse_keys(old))
        for client in clients:
            await ana.put(f"/api/clients/{client['id']}/tax-id", json={"tax_id": client["id"]})
        with pytest.raises(StartupError, match="is not among those of BRANCHLINE_FIELD_KEYS"):
            await rotate(settings(new), progress=said.append)
        api.services.seals = Seals(parse_keys(f"{new},{old}"))
        assert (await read(clients[0])).json() == {"tax_id": clients[0]["id"]}
        assert await rotate(settings(f"{new},{old}"), progress=said.append) == 3
        assert await rotate(settings(f"{new},{old}"), progress=said.append) == 0
        api.services.seals = Seals(parse_keys(new))
        assert [(await read(each)).json()["tax_id"] for each in clients] == [each["id"] for each in clients]
        api.services.seals = Seals(parse_keys(old))
        problem(await read(clients[0]), 503, "unavailable")
        api.services.seals = None
        problem(await read(clients[0]), 503, "unavailable")
    finally:
        api.services.seals = usual


async def test_a_contact_sees_their_own_records_and_can_do_nothing(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    client = await create(ana, "clients", name="Acme", notes="difficult people")
    mine = await create(ana, "contacts", last_name="Silva", client_id=client["id"], notes="late payer")
    another = await create(ana, "contacts", last_name="Costa", client_id=client["id"])
    deal = await create(ana, "deals", name="Boat", contact_id=mine["id"], notes="overpriced", amount="100")
    await create(ana, "deals", name="Canary", contact_id=another["id"])
    access = (await ana.post(f"/api/contacts/{mine['id']}/portal-access")).json()
    headers = {"authorization": f"Bearer {access['token']}"}
    visitor = api.client()
    seen = await visitor.get("/api/portal", headers=headers)
    shown = seen.json()
    assert (shown["contact"]["last_name"], shown["client"]["name"]) == ("Silva", "Acme")
    assert [each["id"] for each in shown["deals"]] == [deal["id"]]
    for word in ("difficult", "late payer", "overpriced", "Canary", "Costa"):
        assert word not in seen.text
    for method, path in (
        ("GET", "/api/leads"),
        ("GET", "/api/auth/me"),
        ("POST", "/api/leads"),
        ("POST", "/api/sync"),
        ("POST", "/api/auth/ticket"),
        ("GET", "/api/changes?topic=*"),
    ):
        problem(await visitor.request(method, path, headers=headers, json={}), 401, "token_malformed")
    problem(await visitor.post("/api/portal", headers=headers), 405, "method_not_allowed")
    # And no other token is one of the portal's.
    token = api.services.tokens.issue(tenant.people["ana"], tenant.id, tenant.sessions["ana"])
    for text in (token, "", PREFIX, PREFIX + "A" * 85, access["token"][:-2] + "AA", PREFIX + "🦊"):
        wrong = [(b"authorization", f"Bearer {text}".encode())]
        refused = await visitor.get("/api/portal", headers=wrong)
        assert refused.status_code == 401, text
    assert (await ana.delete(f"/api/contacts/{mine['id']}/portal-access")).status_code == 204
    problem(await visitor.get("/api/portal", headers=headers), 401, "session_ended")
    # Nothing is left to withdraw, and nothing is noted.
    noted = (
        "SELECT count(*) FROM security_events WHERE organization_id = $1 AND kind = 'portal_access_withdrawn'"
    )
    assert (await ana.delete(f"/api/contacts/{mine['id']}/portal-access")).status_code == 204
    assert await owner.fetchval(noted, tenant.id) == 1


async def seen_with(api: Api, token: str) -> httpx.Response:
    return await api.client().get("/api/portal", headers={"authorization": f"Bearer {token}"})


async def test_a_contact_sees_only_what_whoever_gave_them_access_reads(
    api: Api, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    north, south = tenant.branches["north"], tenant.branches["south"]
    hidden = await create(ana, "clients", name="Canary", city="Canary", branch_id=north)
    contact = await create(ana, "contacts", last_name="Silva", client_id=hidden["id"], branch_id=south)
    shown = [
        await create(ana, "deals", name="Boat", contact_id=contact["id"], branch_id=branch)
        for branch in (None, south)
    ]
    await create(ana, "deals", name="Canary", contact_id=contact["id"], branch_id=north)
    access = f"/api/contacts/{contact['id']}/portal-access"
    rita, carla = api.client(tenant, "rita"), api.client(tenant, "carla")
    seen = await seen_with(api, (await rita.post(access)).json()["token"])
    assert seen.json()["client"] is None
    assert {each["id"] for each in seen.json()["deals"]} == {each["id"] for each in shown}
    assert "Canary" not in seen.text
    # Carla reads the other branch as well.
    seen = await seen_with(api, (await carla.post(access)).json()["token"])
    assert (seen.json()["client"]["id"], len(seen.json()["deals"])) == (hidden["id"], 3)


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1",
        "UPDATE organization_members SET role = 'viewer' WHERE user_id = $1",
        "DELETE FROM organization_members WHERE user_id = $1",
        "UPDATE contacts SET branch_id = NULL WHERE updated_by = $1",
    ],
)
async def test_a_portal_token_is_good_while_whoever_made_it_might_make_it(
    api: Api, owner: Connection, tenant: Tenant, end: str
) -> None:
    ben = api.client(tenant, "ben")
    contact = await create(ben, "contacts", last_name="Silva")
    token = (await ben.post(f"/api/contacts/{contact['id']}/portal-access")).json()["token"]
    assert (await seen_with(api, token)).status_code == 200
    await owner.execute(end, tenant.people["ben"])
    problem(await seen_with(api, token), 401, "session_ended")


async def test_a_contact_has_few_tokens_and_another_one_ends_the_oldest(
    api: Api, ana: httpx.AsyncClient
) -> None:
    contact = await create(ana, "contacts", last_name="Silva")
    path = f"/api/contacts/{contact['id']}/portal-access"
    tokens = [(await ana.post(path)).json()["token"] for _ in range(PER_CONTACT + 1)]
    statuses = [(await seen_with(api, each)).status_code for each in tokens]
    assert statuses == [401] + [200] * PER_CONTACT


async def test_guesses_at_a_portal_token_are_counted_and_visits_are_not(
    settings: Settings, tenant: Tenant
) -> None:
    changed = settings.model_copy(update={"logins_per_minute_per_address": 3})
    async with open_services(changed) as services:
        api = Api(create_app(services), services, changed, [])
        ana = api.client(tenant)
        contact = await create(ana, "contacts", last_name="Silva")
        token = (await ana.post(f"/api/contacts/{contact['id']}/portal-access")).json()["token"]

        async def visit(text: str, source: str) -> int:
            transport = httpx.ASGITransport(api.app, client=(source, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
                headers = {"authorization": f"Bearer {text}"}
                return (await client.get("/api/portal", headers=headers)).status_code

        stranger, regular = (f"198.19.{secrets.randbelow(256)}.{secrets.randbelow(256)}" for _ in range(2))
        # They look like tokens of the portal, and name one that there is.
        guesses = [token[:-8] + secrets.token_urlsafe(6) for _ in range(4)]
        assert [await visit(guess, stranger) for guess in guesses] == [401, 401, 401, 429]
        assert [await visit(token, regular) for _ in range(5)] == [200] * 5
        await ana.aclose()


async def test_who_may_give_a_contact_access(
    api: Api, tenant: Tenant, other: Tenant, ana: httpx.AsyncClient
) -> None:
    contact = await create(ana, "contacts", last_name="Silva", branch_id=tenant.branches["north"])
    path = f"/api/contacts/{contact['id']}/portal-access"
    assert (await api.client(tenant, "ben").post(path)).status_code == 201
    problem(await api.client(tenant, "carla").post(path), 403, "forbidden")
    problem(await api.client(tenant, "rita").post(path), 404, "not_found")
    problem(await api.client(tenant, "vera").post(path), 403, "forbidden")
    problem(await api.client(other, "ana").post(path), 404, "not_found")
    problem(await ana.post("/api/contacts/x/portal-access"), 422, "invalid")
