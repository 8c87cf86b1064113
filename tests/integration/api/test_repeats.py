"""A write repeated with its Idempotency-Key takes effect once and is answered as the first was (I6, I9)."""

import asyncio
import itertools
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import Api, create, problem
from tests.tenants import Connection, Tenant, log_of

_numbers = itertools.count(1)


def keyed(**more: str) -> dict[str, str]:
    """Headers with a fresh key."""
    return {"idempotency-key": f"key {next(_numbers)}", **more}


async def offsets(owner: Connection, tenant: Tenant) -> int:
    return len([each for each in await log_of(owner, tenant) if each["collection"] == "leads"])


async def test_a_repeated_post_is_201_again_with_location_and_the_record_of_today(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant
) -> None:
    headers = keyed()
    first = await ana.post("/api/leads", json={"name": "Ada"}, headers=headers)
    await ana.patch(first.headers["location"], json={"phone": "1"})
    again = await ana.post("/api/leads", json={"name": "Ada"}, headers=headers)
    assert (again.status_code, again.headers["location"]) == (201, first.headers["location"])
    assert (again.headers["etag"], again.json()["phone"]) == ('"2"', "1")
    assert await offsets(owner, tenant) == 2


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_repeated_change_is_200_again_with_the_record_of_today(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant, method: str
) -> None:
    record, headers = await create(ana, name="Ada"), keyed()
    address = f"/api/leads/{record['id']}"
    body: dict[str, Any] = {"phone": "1"}
    if method == "PUT":
        read_only = {"id", "organization_id", "version", "created_at", "updated_at", "updated_by"}
        body = {name: value for name, value in record.items() if name not in read_only} | body
    first = await ana.request(method, address, json=body, headers=headers)
    await ana.patch(address, json={"phone": "2"})
    again = await ana.request(method, address, json=body, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert (first.json()["phone"], again.json()["phone"], again.headers["etag"]) == ("1", "2", '"3"')
    assert await offsets(owner, tenant) == 3
    problem(
        await ana.request(method, address, json={**body, "phone": "3"}, headers=headers), 409, "id_reused"
    )


async def test_a_repeated_delete_is_204_again_even_if_the_record_is_back(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant
) -> None:
    address, headers = f"/api/leads/{(await create(ana, name='Ada'))['id']}", keyed()
    assert (await ana.delete(address, headers=headers)).status_code == 204
    assert (await ana.delete(address, headers=headers)).status_code == 204
    assert (await ana.post(f"{address}/restore", json={"version": 1})).status_code == 200
    assert (await ana.delete(address, headers=headers)).status_code == 204
    assert (await ana.get(address)).json()["name"] == "Ada"
    assert await offsets(owner, tenant) == 3


async def test_a_repeat_of_a_strict_write_is_not_a_conflict_with_itself(ana: httpx.AsyncClient) -> None:
    """The first moved the version; its repeat, with the same If-Match, is the same write."""
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    headers = keyed(**{"if-match": '"1"'})
    answers = [await ana.patch(address, json={"phone": "1"}, headers=headers) for _ in range(2)]
    assert [(each.status_code, each.headers["etag"]) for each in answers] == [(200, '"2"')] * 2
    other = {**headers, "if-match": '"2"'}
    problem(await ana.patch(address, json={"phone": "1"}, headers=other), 409, "id_reused")
    without = {"idempotency-key": headers["idempotency-key"]}
    problem(await ana.patch(address, json={"phone": "1"}, headers=without), 409, "id_reused")
    deleting = keyed(**{"if-match": '"2"'})
    assert [(await ana.delete(address, headers=deleting)).status_code for _ in range(2)] == [204, 204]


async def test_a_refused_write_may_be_mended_and_sent_again_with_its_key(ana: httpx.AsyncClient) -> None:
    """Refusals are not remembered: the key still stands for nothing."""
    address, headers = f"/api/leads/{(await create(ana, name='Ada'))['id']}", keyed()
    await ana.patch(address, json={"phone": "1"})
    stale = {**headers, "if-match": '"1"'}
    refused = problem(await ana.patch(address, json={"phone": "2"}, headers=stale), 412, "version_mismatch")
    assert refused["record"]["phone"] == "1"
    problem(await ana.patch(address, json={"score": 101}, headers=headers), 422, "invalid")
    mended = await ana.patch(address, json={"phone": "2"}, headers={**headers, "if-match": '"2"'})
    assert (mended.status_code, mended.json()["phone"]) == (200, "2")


async def test_a_key_stands_for_one_write_whatever_the_method(ana: httpx.AsyncClient) -> None:
    address, headers = f"/api/leads/{(await create(ana, name='Ada'))['id']}", keyed()
    assert (await ana.patch(address, json={"phone": "1"}, headers=headers)).status_code == 200
    problem(await ana.delete(address, headers=headers), 409, "id_reused")
    problem(await ana.post("/api/leads", json={"name": "x"}, headers=headers), 409, "id_reused")
    assert (await ana.get(address)).json()["phone"] == "1"


async def test_somebody_elses_same_key_is_another_write(
    api: Api, ana: httpx.AsyncClient, tenant: Tenant
) -> None:
    record = await create(ana, name="Ada", branch_id=tenant.branches["north"])
    address, headers = f"/api/leads/{record['id']}", keyed()
    assert (await ana.patch(address, json={"phone": "ana"}, headers=headers)).json()["phone"] == "ana"
    ben = api.client(tenant, "ben")
    assert (await ben.patch(address, json={"phone": "ben"}, headers=headers)).json()["phone"] == "ben"
    assert (await ana.patch(address, json={"phone": "ana"}, headers=headers)).json()["phone"] == "ben"


async def test_a_repeat_whose_record_is_gone_says_that_it_was_written(ana: httpx.AsyncClient) -> None:
    """404 alone would read as if the write had failed, and invite another."""
    headers, changing = keyed(), keyed()
    created = await ana.post("/api/leads", json={"name": "Ada"}, headers=headers)
    address = created.headers["location"]
    await ana.patch(address, json={"phone": "1"}, headers=changing)
    await ana.delete(address)
    for again in (
        await ana.post("/api/leads", json={"name": "Ada"}, headers=headers),
        await ana.patch(address, json={"phone": "1"}, headers=changing),
    ):
        assert "written before" in problem(again, 404, "not_found")["detail"]
    assert (await ana.get(address)).status_code == 404


async def test_a_repeated_restore_is_the_same_restore_whatever_is_there_by_now(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant
) -> None:
    """The first brought a deleted record back: an insert. Its repeat finds the record."""
    address, headers = f"/api/leads/{(await create(ana, name='Ada'))['id']}", keyed()
    await ana.delete(address)
    first = await ana.post(f"{address}/restore", json={"version": 1}, headers=headers)
    again = await ana.post(f"{address}/restore", json={"version": 1}, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert await offsets(owner, tenant) == 3
    other = {"version": 1, "fields": ["name"]}
    problem(await ana.post(f"{address}/restore", json=other, headers=headers), 409, "id_reused")


async def test_if_match_on_the_restore_of_a_deleted_record_fails_but_not_its_repeat(
    ana: httpx.AsyncClient,
) -> None:
    address = f"/api/leads/{(await create(ana, name='Ada'))['id']}"
    await ana.patch(address, json={"name": "Eve"})
    headers = keyed(**{"if-match": '"2"'})
    first = await ana.post(f"{address}/restore", json={"version": 1}, headers=headers)
    assert (first.status_code, first.headers["etag"]) == (200, '"3"')
    await ana.delete(address)
    for tag in ('"3"', "*"):
        refused = await ana.post(f"{address}/restore", json={"version": 1}, headers={"if-match": tag})
        problem(refused, 412, "version_mismatch")
    again = await ana.post(f"{address}/restore", json={"version": 1}, headers=headers)
    assert "written before" in problem(again, 404, "not_found")["detail"]


async def test_repeats_at_once_are_all_answered_as_the_first(
    ana: httpx.AsyncClient, owner: Connection, tenant: Tenant
) -> None:
    headers = keyed()
    answers = await asyncio.gather(
        *(ana.post("/api/leads", json={"name": "Ada"}, headers=headers) for _ in range(10))
    )
    assert {each.status_code for each in answers} == {201}
    assert len({each.content for each in answers}) == 1
    assert await offsets(owner, tenant) == 1
