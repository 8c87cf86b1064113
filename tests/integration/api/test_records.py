"""Records over HTTP: creating, reading, changing, deleting, and what is said when that cannot be."""

import asyncio

import httpx
import pytest

from tests.integration.api.conftest import Api, create, problem
from tests.tenants import Connection, Tenant, log_of, new_id


async def test_a_new_record_has_an_address_a_version_and_its_defaults(ana: httpx.AsyncClient) -> None:
    response = await ana.post("/api/leads", json={"name": "Ada", "estimated_value": 12.5})
    record = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/leads/{record['id']}"
    assert response.headers["etag"] == '"1"'
    assert (record["status"], record["estimated_value"], record["version"]) == ("new", "12.50", 1)
    read = await ana.get(response.headers["location"])
    assert (read.content, read.headers["etag"]) == (response.content, '"1"')


async def test_the_client_may_choose_the_id_once(ana: httpx.AsyncClient) -> None:
    identifier = new_id()
    assert (await create(ana, name="Ada", id=identifier))["id"] == identifier
    problem(await ana.post("/api/leads", json={"name": "Ada", "id": identifier}), 409, "id_taken")


async def test_a_patch_changes_its_fields_and_leaves_the_rest(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada", phone="1", company="Engines")
    response = await ana.patch(
        f"/api/leads/{record['id']}",
        content=b'{"phone": null, "status": "won"}',
        headers={"content-type": "application/merge-patch+json"},
    )
    changed = response.json()
    assert response.headers["etag"] == '"2"'
    assert (changed["phone"], changed["status"], changed["company"]) == (None, "won", "Engines")
    assert "lost" not in changed


async def test_an_empty_patch_changes_nothing(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada")
    response = await ana.patch(f"/api/leads/{record['id']}", json={})
    assert (response.status_code, response.headers["etag"]) == (200, '"1"')


async def test_a_replacement_empties_what_it_leaves_out(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada", phone="1")
    address = f"/api/leads/{record['id']}"
    body = {"name": "Ada L.", "status": "won", "source": "phone", "currency": "EUR"}
    replaced = (await ana.put(address, json={**body, "id": record["id"]})).json()
    assert (replaced["name"], replaced["phone"], replaced["version"]) == ("Ada L.", None, 2)
    faults = problem(await ana.put(address, json={"name": "Ada"}), 422, "invalid")["errors"]
    assert {fault["field"] for fault in faults} == {"status", "source", "currency"}
    problem(await ana.put(address, json={**body, "id": new_id()}), 422, "invalid")


async def test_a_deleted_record_is_gone_and_stays_gone(ana: httpx.AsyncClient) -> None:
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    response = await ana.delete(address)
    assert (response.status_code, response.content) == (204, b"")
    for answer in (await ana.get(address), await ana.delete(address), await ana.patch(address, json={})):
        problem(answer, 404, "not_found")


async def test_if_match_refuses_a_write_on_another_version_and_shows_the_current_record(
    ana: httpx.AsyncClient,
) -> None:
    record = await create(ana, name="Ada")
    address = f"/api/leads/{record['id']}"
    assert (await ana.patch(address, json={"phone": "1"}, headers={"if-match": '"1"'})).status_code == 200
    late = await ana.patch(address, json={"phone": "2"}, headers={"if-match": '"1"'})
    body = problem(late, 412, "version_mismatch")
    assert (body["record"]["phone"], body["record"]["version"]) == ("1", 2)
    assert late.headers["etag"] == '"2"'
    problem(await ana.delete(address, headers={"if-match": '"1"'}), 412, "version_mismatch")
    assert (await ana.delete(address, headers={"if-match": '"2"'})).status_code == 204


@pytest.mark.parametrize("value", ["3", 'W/"3"', '"x"', '"1", "2"', '"99999999999999999999"'])
async def test_if_match_that_is_no_strong_tag_is_refused(ana: httpx.AsyncClient, value: str) -> None:
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    problem(await ana.patch(address, json={}, headers={"if-match": value}), 400, "malformed_header")


async def test_a_client_that_has_the_version_gets_304_without_the_record(ana: httpx.AsyncClient) -> None:
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    for tag in ('"1"', 'W/"1"', '"0", "1"', "*"):
        response = await ana.get(address, headers={"if-none-match": tag})
        assert (response.status_code, response.content) == (304, b"")
    assert (await ana.get(address, headers={"if-none-match": '"2"'})).status_code == 200


async def test_a_repeat_with_the_same_idempotency_key_writes_once_and_answers_the_same(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant
) -> None:
    headers = {"idempotency-key": "order 17"}
    first = await ana.post("/api/leads", json={"name": "Ada"}, headers=headers)
    again = await ana.post("/api/leads", json={"name": "Ada"}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert len([each for each in await log_of(owner, tenant) if each["collection"] == "leads"]) == 1
    problem(await ana.post("/api/leads", json={"name": "Eve"}, headers=headers), 409, "id_reused")


async def test_a_key_belongs_to_its_person(api: Api, tenant: Tenant, other: Tenant) -> None:
    headers = {"idempotency-key": "shared"}
    ids = set()
    for client in (api.client(tenant, "ana"), api.client(tenant, "ben"), api.client(other, "ana")):
        response = await client.post("/api/leads", json={"name": "Ada"}, headers=headers)
        assert response.status_code == 201
        ids.add(response.json()["id"])
    assert len(ids) == 3


async def test_a_deletion_repeated_with_its_key_is_answered_as_the_first(ana: httpx.AsyncClient) -> None:
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    headers = {"idempotency-key": "delete it"}
    assert [(await ana.delete(address, headers=headers)).status_code for _ in range(2)] == [204, 204]


async def test_a_request_is_one_unit_in_the_log(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant
) -> None:
    await asyncio.gather(*(create(ana, name=f"lead {n}") for n in range(20)))
    changes = [each for each in await log_of(owner, tenant) if each["collection"] == "leads"]
    assert len({each["unit"] for each in changes}) == 20
    assert {str(each["actor_id"]) for each in changes} == {tenant.people["ana"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "Ada", "nam": "x"}, "nam"),
        ({"name": 5}, "name"),
        ({"phone": "1"}, "name"),
        ({"name": "Ada", "score": 101}, "score"),
        ({"name": "Ada", "score": 2**31}, "score"),
        ({"name": "Ada", "score": True}, "score"),
        ({"name": "Ada", "estimated_value": "1.234"}, "estimated_value"),
        ({"name": "Ada", "estimated_value": -1}, "estimated_value"),
        ({"name": "Ada", "status": "sold"}, "status"),
        ({"name": "Ada", "status": None}, "status"),
        ({"name": "Ada", "next_step_at": "2026-11-21T07:30:00"}, "next_step_at"),
        ({"name": "Ada", "notes": "a\x00b"}, "notes"),
        ({"name": "x" * 201}, "name"),
        ({"name": ""}, "name"),
        ({"name": "Ada", "version": 7}, "version"),
        ({"name": "Ada", "organization_id": "01a1fd3a-ed3a-70af-9ef2-5372118e94aa"}, "organization_id"),
        ({"name": "Ada", "currency": "euro"}, "currency"),
        ({"name": "Ada", "id": "17"}, "id"),
    ],
)
async def test_a_value_that_cannot_be_stored_is_422_and_named_and_nothing_is_stored(
    ana: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    faults = problem(await ana.post("/api/leads", json=body), 422, "invalid")["errors"]
    assert [fault["field"] for fault in faults] == [field]
    assert all(fault["expected"] and fault["came"] for fault in faults)
    assert (await ana.get("/api/leads")).json()["items"] == []


async def test_what_the_database_refuses_has_a_code_and_none_of_its_words(
    ana: httpx.AsyncClient, tenant: Tenant
) -> None:
    foreign = await ana.post("/api/leads", json={"name": "Ada", "client_id": new_id()})
    assert problem(foreign, 409, "foreign_key")["errors"][0]["field"] == "client_id"
    taken = await ana.post("/api/branches", json={"slug": "north", "name": "North"})
    problem(taken, 403, "forbidden")
    for response in (foreign, taken):
        assert tenant.id not in response.text
        assert "violates" not in response.text


async def test_a_value_that_only_one_record_may_have_is_a_conflict(
    api: Api, owner: Connection, tenant: Tenant
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = 'owner' WHERE organization_id = $1 AND user_id = $2",
        tenant.id,
        tenant.people["ana"],
    )
    taken = await api.client(tenant).post("/api/branches", json={"slug": "north", "name": "North"})
    assert problem(taken, 409, "conflict")["errors"][0]["field"] == "slug"


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b'{"name": NaN}', b'{"name": "\xff"}', b"[" * 2000])
async def test_a_body_that_is_no_json_is_400(ana: httpx.AsyncClient, body: bytes) -> None:
    response = await ana.post("/api/leads", content=body, headers={"content-type": "application/json"})
    problem(response, 400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"5"])
async def test_a_body_that_is_no_object_is_422(ana: httpx.AsyncClient, body: bytes) -> None:
    response = await ana.post("/api/leads", content=body, headers={"content-type": "application/json"})
    problem(response, 422, "invalid")


async def test_a_body_of_another_type_is_415(ana: httpx.AsyncClient) -> None:
    problem(await ana.post("/api/leads", data={"name": "Ada"}), 415, "unsupported_media_type")


async def test_unknown_addresses_and_collections_are_told_apart(ana: httpx.AsyncClient) -> None:
    for path in ("/api/nothing", f"/api/nothing/{new_id()}", "/api/users", "/api/sessions"):
        problem(await ana.get(path), 404, "unknown_collection")
    for path in ("/api/leads/1/2/3", "/api", "/api/", "/api/auth", "/api/auth/other", "/other"):
        problem(await ana.get(path), 404, "no_such_path")
    problem(await ana.get("/api/leads/17"), 404, "not_found")
    problem(await ana.get(f"/api/leads/{new_id()}"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/leads", "GET, HEAD, POST"),
        ("POST", "/api/leads/x", "DELETE, GET, HEAD, PATCH, PUT"),
        ("GET", "/api/auth/login", "POST"),
        ("POST", "/api/client-config", "GET"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_method_that_an_address_does_not_have_is_405_and_names_those_it_has(
    ana: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await ana.request(method, path)
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allowed


async def test_unknown_parameters_are_422(ana: httpx.AsyncClient) -> None:
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    for response in (
        await ana.get(f"{address}?colour=red"),
        await ana.post("/api/leads?dry_run=1", json={"name": "Ada"}),
        await ana.get("/api/leads?colour=red"),
        await ana.get(f"{address}/history?sort=name"),
    ):
        problem(response, 422, "invalid")


async def test_a_record_is_the_same_bytes_in_every_answer(ana: httpx.AsyncClient) -> None:
    created = await ana.post("/api/leads", json={"name": "Zoë", "estimated_value": "7", "notes": 'a "b"\n'})
    address = created.headers["location"]
    item = await ana.get(address)
    page = await ana.get("/api/leads")
    history = await ana.get(f"{address}/history")
    assert created.content == item.content
    assert item.content in page.content
    assert item.content in history.content
