"""`/api/people`: names for the ids in records, and what more is for those who handle memberships."""

import itertools
from typing import Any, Literal

import httpx
import pytest

from core.principal import Principal, Role
from tests.integration.api.conftest import Api, create, problem
from tests.integration.api.test_role_matrix import ROLES, Somebody, enter, principal_of
from tests.tenants import Connection, Tenant


async def people(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get("/api/people?limit=200")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_the_people_of_the_organisation_come_in_pages_each_once(
    tenant: Tenant, other: Tenant, ana: httpx.AsyncClient
) -> None:
    found: list[dict[str, Any]] = []
    address = "/api/people?limit=2"
    while address:
        answer = await ana.get(address)
        page = answer.json()
        assert len(page["items"]) <= 2
        assert (page["next_cursor"] is None) == ("link" not in answer.headers)
        found += page["items"]
        address = answer.headers["link"][1:].partition(">")[0] if page["next_cursor"] else ""
    assert found == [{"id": id, "name": name.capitalize()} for name, id in sorted_by_id(tenant)]


def sorted_by_id(tenant: Tenant) -> list[tuple[str, str]]:
    return sorted(tenant.people.items(), key=lambda person: person[1])


async def test_a_cursor_of_elsewhere_is_refused_and_so_is_what_is_no_parameter(
    api: Api, other: Tenant, ana: httpx.AsyncClient
) -> None:
    theirs = (await api.client(other).get("/api/people?limit=1")).json()["next_cursor"]
    problem(await ana.get("/api/people", params={"cursor": theirs}), 403, "cursor_foreign")
    for _ in range(2):
        await create(ana, "leads", name="x")
    of_leads = (await ana.get("/api/leads?limit=1")).json()["next_cursor"]
    for malformed in (of_leads, "x", ""):
        problem(await ana.get("/api/people", params={"cursor": malformed}), 400, "cursor_malformed")
    for wrong in ("limit=0", "limit=201", "limit=x", "limit=1&limit=2", "name=Ana"):
        problem(await ana.get(f"/api/people?{wrong}"), 422, "invalid")


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_learns_of_people_what_the_matrix_says_and_nothing_else(
    api: Api, owner: Connection, tenant: Tenant, role: Role
) -> None:
    """By the pure rights; a person of both branches, one of none, and one who is disabled are there as well."""
    north, south = tenant.branches["north"], tenant.branches["south"]
    for branches in (frozenset([north, south]), frozenset[str]()):
        await join(api, owner, tenant, branches)
    await owner.execute(
        "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1", tenant.people["ben"]
    )
    readings: tuple[Literal["all", "own"], ...] = ("all", "own")
    for everywhere, reads in itertools.product((True, False), readings):
        asked = principal_of(role, everywhere=everywhere, reads=reads, north=north)
        somebody = await enter(api, owner, tenant, asked)
        members = await owner.fetch(
            "SELECT u.id::text, u.name, u.email, m.role::text, m.branch_ids::text[],"
            " m.disabled_at IS NOT NULL AS disabled FROM organization_members m"
            " JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1 ORDER BY u.id",
            tenant.id,
        )
        expected = [
            dict(row) if somebody.principal.handles_memberships else {"id": row["id"], "name": row["name"]}
            for row in members
            if knows(somebody.principal, row["branch_ids"])
        ]
        assert await people(somebody.client) == expected, (role, everywhere, reads)


def knows(principal: Principal, branches: list[str] | None) -> bool:
    known = principal.known_branches
    return known is None or branches is None or bool(known & set(branches))


async def join(api: Api, owner: Connection, tenant: Tenant, branches: frozenset[str]) -> Somebody:
    """Somebody else, an agent of these branches."""
    asked = principal_of("agent", everywhere=True, reads="all", north="")
    member = await enter(api, owner, tenant, asked)
    await owner.execute(
        "UPDATE organization_members SET branch_ids = $2::text[]::uuid[] WHERE user_id = $1",
        member.principal.user_id,
        sorted(branches),
    )
    return member


async def test_who_reads_own_branches_knows_those_who_write_there_by_name_and_nobody_else(
    api: Api, tenant: Tenant
) -> None:
    names = {each["name"] for each in await people(api.client(tenant, "rita"))}
    assert names == {"Ana", "Carla", "Rita", "Vera"}
    assert {each["name"] for each in await people(api.client(tenant, "carla"))} == names | {"Ben"}


async def test_who_is_disabled_keeps_a_name_and_learns_nothing(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    await owner.execute("UPDATE users SET disabled_at = now() WHERE id = $1", tenant.people["ben"])
    problem(await api.client(tenant, "ben").get("/api/people"), 401, "session_ended")
    assert {"id": tenant.people["ben"], "name": "Ben"} in await people(ana)
    await owner.execute(
        "UPDATE organization_members SET role = 'admin' WHERE user_id = $1", tenant.people["ana"]
    )
    disabled = [each["name"] for each in await people(ana) if each["disabled"]]
    assert disabled == ["Ben"]


async def test_a_token_of_the_portal_and_no_token_open_nothing(api: Api, ana: httpx.AsyncClient) -> None:
    contact = await create(ana, "contacts", last_name="Visitor")
    access = (await ana.post(f"/api/contacts/{contact['id']}/portal-access")).json()
    visitor = {"authorization": f"Bearer {access['token']}"}
    problem(await api.client().get("/api/people", headers=visitor), 401, "token_malformed")
    problem(await api.client().get("/api/people"), 401, "not_authenticated")
