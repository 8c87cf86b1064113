"""What a record was, over HTTP, and making it so again."""

from typing import Any

import httpx

from tests.integration.api.conftest import Api, create, eventually, problem
from tests.tenants import Connection, Tenant, new_id


async def versions(client: httpx.AsyncClient, address: str, limit: int = 50) -> list[dict[str, Any]]:
    """The whole history, page by page."""
    found: list[dict[str, Any]] = []
    following: str | None = f"{address}/history?limit={limit}"
    while following is not None:
        response = await client.get(following)
        assert response.status_code == 200, response.text
        found.extend(response.json()["items"])
        following = response.links["next"]["url"] if "next" in response.links else None
    return found


async def test_history_has_every_version_newest_first_whoever_wrote_it(
    api: Api, owner: Connection, tenant: Tenant
) -> None:
    ana, ben = api.client(tenant, "ana"), api.client(tenant, "ben")
    record = await create(ben, name="Ada")
    address = f"/api/leads/{record['id']}"
    await ana.patch(address, json={"phone": "1", "status": "won"})
    await owner.execute("UPDATE leads SET name = 'Ada L.' WHERE id = $1", record["id"])
    for limit in (1, 2, 50):
        found = await versions(ana, address, limit)
        assert [each["version"] for each in found] == [3, 2, 1]
    assert [each["operation"] for each in found] == ["update", "update", "insert"]
    assert [sorted(each["changed"]) for each in found] == [["name"], ["phone", "status"], []]
    assert [each["actor"] and each["actor"]["name"] for each in found] == [None, "Ana", "Ben"]
    branches = [each["actor"] and each["actor"]["branch_id"] for each in found]
    assert branches == [None, None, tenant.branches["north"]]  # Ana writes to all
    assert [each["record"]["name"] for each in found] == ["Ada L.", "Ada", "Ada"]
    assert found[2]["record"] == record


async def test_a_deleted_records_history_stays_readable_for_those_who_could_read_it(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant, "ana")
    record = await create(ana, name="Ada", branch_id=tenant.branches["north"])
    address = f"/api/leads/{record['id']}"
    await ana.delete(address)
    found = await versions(ana, address)
    assert [(each["operation"], each["record"] is None) for each in found] == [
        ("delete", True),
        ("insert", False),
    ]
    problem(await api.client(tenant, "rita").get(f"{address}/history"), 404, "not_found")
    problem(await ana.get(f"/api/leads/{new_id()}/history"), 404, "not_found")


async def test_versions_of_another_branch_are_not_shown_to_who_reads_their_own(
    api: Api, tenant: Tenant
) -> None:
    ana, rita = api.client(tenant, "ana"), api.client(tenant, "rita")
    record = await create(ana, name="northern secret", branch_id=tenant.branches["north"])
    address = f"/api/leads/{record['id']}"
    await ana.patch(address, json={"name": "southern", "branch_id": tenant.branches["south"]})
    assert [each["version"] for each in await versions(rita, address)] == [2]
    problem(await rita.post(f"{address}/restore", json={"version": 1}), 404, "not_found")


async def test_a_version_is_restored_as_a_new_version(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada", phone="1", estimated_value="5.00")
    address = f"/api/leads/{record['id']}"
    await ana.patch(address, json={"name": "Eve", "phone": None, "estimated_value": "6"})
    restored = await ana.post(f"{address}/restore", json={"version": 1})
    body = restored.json()
    assert (restored.status_code, restored.headers["etag"]) == (200, '"3"')
    assert (body["name"], body["phone"], body["estimated_value"]) == ("Ada", "1", "5.00")


async def test_some_fields_of_a_version_are_restored_and_the_rest_is_left(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada", phone="1")
    address = f"/api/leads/{record['id']}"
    await ana.patch(address, json={"name": "Eve", "phone": "2"})
    body = (await ana.post(f"{address}/restore", json={"version": 1, "fields": ["phone"]})).json()
    assert (body["name"], body["phone"]) == ("Eve", "1")


async def test_a_deleted_record_is_restored_with_its_id_and_its_versions_go_on(
    ana: httpx.AsyncClient,
) -> None:
    record = await create(ana, name="Ada", phone="1")
    address = f"/api/leads/{record['id']}"
    await ana.delete(address)
    restored = await ana.post(f"{address}/restore", json={"version": 1})
    assert restored.status_code == 200, restored.text
    assert (restored.json()["phone"], restored.json()["version"]) == ("1", 3)
    assert [each["version"] for each in await versions(ana, address)] == [3, 2, 1]


async def test_who_restores_a_deleted_record_leaves_what_they_may_not_read_of_it(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    """As it was at the delete, like the restore of a record that is there."""
    await owner.execute(
        "CREATE TABLE bonuses (organization_id uuid, id uuid, name text NOT NULL, amount numeric(9, 2))"
    )
    await owner.execute("COMMENT ON COLUMN bonuses.amount IS '@readable(owner, manager)'")
    await owner.execute("SELECT track('bonuses')")

    async def known() -> bool:
        return (await ana.get("/api/bonuses")).status_code == 200

    await eventually(known)
    ben = api.client(tenant, "ben")
    record = await create(ana, "bonuses", name="Eve", amount="77.77")
    address = f"/api/bonuses/{record['id']}"
    await ana.patch(address, json={"amount": "88.88"})
    assert (await ben.delete(address)).status_code == 204
    restored = await ben.post(f"{address}/restore", json={"version": 1})
    assert restored.status_code == 200
    assert "amount" not in restored.json()
    assert (await ana.get(address)).json()["amount"] == "88.88"


async def test_a_restore_with_if_match_refuses_a_record_that_moved(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada")
    address = f"/api/leads/{record['id']}"
    await ana.patch(address, json={"name": "Eve"})
    stale = await ana.post(f"{address}/restore", json={"version": 1}, headers={"if-match": '"1"'})
    problem(stale, 412, "version_mismatch")


async def test_what_cannot_be_restored_is_said(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="Ada")
    address = f"/api/leads/{record['id']}"
    await ana.delete(address)
    for body, field in (
        ({}, "version"),
        ({"version": "1"}, "version"),
        ({"version": 0}, "version"),
        ({"version": 2}, "version"),  # the deletion
        ({"version": 1, "fields": []}, "fields"),
        ({"version": 1, "fields": ["colour"]}, "fields"),
        ({"version": 1, "fields": ["version"]}, "fields"),
        ({"version": 1, "colour": 1}, "colour"),
    ):
        faults = problem(await ana.post(f"{address}/restore", json=body), 422, "invalid")["errors"]
        assert field in [fault["field"] for fault in faults], body
    problem(await ana.post(f"{address}/restore", json={"version": 9}), 404, "not_found")
    problem(await ana.post(f"/api/leads/{new_id()}/restore", json={"version": 1}), 404, "not_found")
