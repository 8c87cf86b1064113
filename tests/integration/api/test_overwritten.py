"""`/api/overwritten`: what somebody replaced is shown to its author until seen (I9)."""

from typing import Any

import httpx
import pytest

from api.routes import overwritten
from tests.integration.api.conftest import Api
from tests.integration.api.pushing import mutation, push
from tests.tenants import Connection, Tenant, new_id


async def test_what_somebody_overwrote_is_shown_to_its_author_until_seen(
    api: Api, tenant: Tenant, owner: Connection
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    ana, ben, lead = api.client(tenant), api.client(tenant, "ben"), new_id()
    await push(ana, mutation("insert", lead, fields={"name": "A"}))
    await push(ana, mutation("update", lead, fields={"phone": "ana's"}, base_version=1))
    await push(ben, mutation("update", lead, fields={"phone": "ben's"}, base_version=1))
    [entry] = (await ana.get("/api/overwritten")).json()["items"]
    assert (entry["field"], entry["mine"], entry["theirs"], entry["by"]["name"]) == (
        "phone",
        "ana's",
        "ben's",
        "Ben",
    )
    assert (await ben.get("/api/overwritten")).json()["items"] == []
    assert (await ben.post("/api/overwritten/seen", json={"ids": [entry["id"]]})).json() == {"seen": 0}
    assert (await ana.post("/api/overwritten/seen", json={"ids": [entry["id"]]})).json() == {"seen": 1}
    assert (await ana.get("/api/overwritten")).json()["items"] == []
    refused: tuple[Any, ...] = ([], {"ids": "x"}, {"ids": ["x"]}, {"ids": [], "more": 1})
    for bad in refused:
        assert (await ana.post("/api/overwritten/seen", json=bad)).status_code == 422


@pytest.fixture
async def both(owner: Connection, api: Api, tenant: Tenant) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """Ana and Ben, who both write to everything."""
    await owner.execute(
        "UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    return api.client(tenant), api.client(tenant, "ben")


async def overwrite(ana: httpx.AsyncClient, ben: httpx.AsyncClient, **more: str | None) -> str:
    """Have Ben replace a phone number of Ana's that he has not seen; the lead's id."""
    lead = new_id()
    await push(
        ana,
        mutation("insert", lead, fields={"name": "A", **more}),
        mutation("update", lead, fields={"phone": "ana's"}, base_version=1),
    )
    await push(ben, mutation("update", lead, fields={"phone": "ben's"}, base_version=1))
    return lead


async def listed(client: httpx.AsyncClient) -> list[dict[str, object]]:
    answer = await client.get("/api/overwritten")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_a_value_stays_to_be_seen_when_its_record_is_deleted_later(
    both: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    """It was not the deletion that overwrote it; it is its author's all the same."""
    ana, ben = both
    lead = await overwrite(ana, ben)
    await ben.delete(f"/api/leads/{lead}")
    [item] = await listed(ana)
    assert (item["mine"], item["theirs"], item["deleted"]) == ("ana's", None, True)


async def test_a_deletion_overwrites_what_its_author_had_not_seen(
    both: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    ana, ben = both
    lead = new_id()
    await push(
        ana,
        mutation("insert", lead, fields={"name": "A"}),
        mutation("update", lead, fields={"phone": "ana's"}, base_version=1),
    )
    await push(ben, mutation("delete", lead, base_version=1))
    [item] = await listed(ana)
    assert (item["field"], item["mine"], item["deleted"], item["version"]) == ("phone", "ana's", True, 3)


async def test_a_value_of_a_record_that_is_no_longer_theirs_to_read_is_not_shown(
    owner: Connection, both: tuple[httpx.AsyncClient, httpx.AsyncClient], tenant: Tenant
) -> None:
    ana, ben = both
    north, south = tenant.branches["north"], tenant.branches["south"]
    hidden = await overwrite(ana, ben, branch_id=north)
    shown = await overwrite(ana, ben, branch_id=south)
    deleted = await overwrite(ana, ben, branch_id=north)
    await ben.delete(f"/api/leads/{deleted}")
    await owner.execute(
        "UPDATE organization_members SET role = 'agent', reads = 'own', branch_ids = ARRAY[$2::uuid]"
        " WHERE user_id = $1",
        tenant.people["ana"],
        south,
    )
    assert [item["record_id"] for item in await listed(ana)] == [shown]
    assert hidden != shown


async def test_values_that_may_not_be_seen_do_not_stand_before_those_that_may(
    owner: Connection,
    both: tuple[httpx.AsyncClient, httpx.AsyncClient],
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overwritten, "LIMIT", 2)
    ana, ben = both
    for _ in range(5):
        await overwrite(ana, ben, branch_id=tenant.branches["north"])
    shown = [await overwrite(ana, ben, branch_id=tenant.branches["south"]) for _ in range(3)]
    await owner.execute(
        "UPDATE organization_members SET role = 'agent', reads = 'own', branch_ids = ARRAY[$2::uuid]"
        " WHERE user_id = $1",
        tenant.people["ana"],
        tenant.branches["south"],
    )
    answer = (await ana.get("/api/overwritten")).json()
    assert [item["record_id"] for item in answer["items"]] == shown[:2]
    assert answer["more"] is True
    await ana.post("/api/overwritten/seen", json={"ids": [item["id"] for item in answer["items"]]})
    answer = (await ana.get("/api/overwritten")).json()
    assert [item["record_id"] for item in answer["items"]] == shown[2:]
    assert answer["more"] is False
