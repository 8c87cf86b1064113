"""Who reads and writes what, over HTTP: roles, branches, organisations, hidden fields."""

import httpx
import pytest

from tests.integration.api.conftest import Api, create, eventually, problem
from tests.tenants import Connection, Tenant, new_id


@pytest.fixture
async def leads(ana: httpx.AsyncClient, tenant: Tenant) -> dict[str, str]:
    """A lead of each branch, and one of none: their ids by branch."""
    made = {}
    for name, branch in (
        ("north", tenant.branches["north"]),
        ("south", tenant.branches["south"]),
        ("none", None),
    ):
        made[name] = str((await create(ana, name=name, branch_id=branch, phone="secret"))["id"])
    return made


async def test_who_reads_their_own_branches_sees_those_records_and_the_ones_of_no_branch(
    api: Api, tenant: Tenant, leads: dict[str, str]
) -> None:
    rita = api.client(tenant, "rita")
    assert {each["name"] for each in (await rita.get("/api/leads")).json()["items"]} == {"south", "none"}
    address = f"/api/leads/{leads['north']}"
    for response in (
        await rita.get(address),
        await rita.get(f"{address}/history"),
        await rita.patch(address, json={"name": "mine"}),
        await rita.delete(address),
        await rita.post(f"{address}/restore", json={"version": 1}),
    ):
        assert "secret" not in response.text
        problem(response, 404, "not_found")
    filtered = await rita.get(f"/api/leads?branch_id={tenant.branches['north']}")
    assert filtered.json()["items"] == []


async def test_an_agent_reads_all_branches_and_writes_to_their_own(
    api: Api, tenant: Tenant, leads: dict[str, str]
) -> None:
    ben = api.client(tenant, "ben")
    assert len((await ben.get("/api/leads")).json()["items"]) == 3
    assert (await ben.patch(f"/api/leads/{leads['north']}", json={"phone": "1"})).status_code == 200
    for name in ("south", "none"):
        problem(await ben.patch(f"/api/leads/{leads[name]}", json={"phone": "1"}), 403, "forbidden")
        problem(await ben.delete(f"/api/leads/{leads[name]}"), 403, "forbidden")
    for branch in (tenant.branches["south"], None, new_id()):
        moved = await ben.patch(f"/api/leads/{leads['north']}", json={"branch_id": branch})
        assert problem(moved, 403, "forbidden")["errors"][0]["field"] == "branch_id"
        problem(await ben.post("/api/leads", json={"name": "x", "branch_id": branch}), 403, "forbidden")


async def test_a_record_belongs_to_its_writers_branch_if_they_have_exactly_one(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    ben = api.client(tenant, "ben")
    assert (await create(ben, name="x"))["branch_id"] == tenant.branches["north"]
    assert (await create(ana, name="x"))["branch_id"] is None
    await owner.execute(
        "UPDATE organization_members SET branch_ids = $3 WHERE organization_id = $1 AND user_id = $2",
        tenant.id,
        tenant.people["ben"],
        list(tenant.branches.values()),
    )
    refused = await ben.post("/api/leads", json={"name": "x"})
    assert problem(refused, 403, "forbidden")["errors"][0]["came"] == "nothing"
    assert (await create(ben, name="x", branch_id=tenant.branches["south"]))["version"] == 1


async def test_a_viewer_reads_and_writes_nothing(api: Api, tenant: Tenant, leads: dict[str, str]) -> None:
    vera = api.client(tenant, "vera")
    address = f"/api/leads/{leads['north']}"
    assert (await vera.get(address)).status_code == 200
    for response in (
        await vera.post("/api/leads", json={"name": "x"}),
        await vera.patch(address, json={"name": "x"}),
        await vera.put(address, json={"name": "x"}),
        await vera.delete(address),
        await vera.post(f"{address}/restore", json={"version": 1}),
    ):
        problem(response, 403, "forbidden")


async def test_a_collection_of_other_roles_is_neither_read_nor_written(ana: httpx.AsyncClient) -> None:
    for response in (
        await ana.get("/api/organization_members"),
        await ana.get(f"/api/organization_members/{new_id()}"),
        await ana.get(f"/api/organization_members/{new_id()}/history"),
        await ana.post("/api/organization_members", json={}),
    ):
        problem(response, 403, "forbidden")


async def test_another_organisations_records_are_not_there(
    api: Api, tenant: Tenant, other: Tenant, leads: dict[str, str]
) -> None:
    stranger = api.client(other, "ana")
    assert (await stranger.get("/api/leads")).json()["items"] == []
    address = f"/api/leads/{leads['north']}"
    for response in (
        await stranger.get(address),
        await stranger.get(f"{address}/history"),
        await stranger.patch(address, json={"name": "mine"}),
        await stranger.delete(address),
        await stranger.post(f"{address}/restore", json={"version": 1}),
    ):
        assert "secret" not in response.text
        problem(response, 404, "not_found")
    # The same id in two organisations is two records.
    assert (await create(stranger, name="theirs", id=leads["north"]))["version"] == 1
    assert (await api.client(tenant).get(address)).json()["name"] == "north"


async def test_a_reference_into_another_organisation_is_refused(
    api: Api, tenant: Tenant, other: Tenant
) -> None:
    company = await create(api.client(other), "clients", name="Theirs")
    lead = await api.client(tenant).post("/api/leads", json={"name": "x", "client_id": company["id"]})
    problem(lead, 409, "foreign_key")
    branch = await api.client(tenant).post(
        "/api/leads", json={"name": "x", "branch_id": other.branches["north"]}
    )
    problem(branch, 409, "foreign_key")


PEOPLE_IN_RECORDS = [
    ("clients", "owner_id", {"name": "x"}),
    ("leads", "owner_id", {"name": "x"}),
    ("deals", "owner_id", {"name": "x"}),
    ("tasks", "assignee_id", {"title": "x"}),
    ("activity_events", "user_id", {"subject": "x"}),
]


@pytest.mark.parametrize(("collection", "field", "fields"), PEOPLE_IN_RECORDS)
async def test_a_person_of_another_organisation_is_answered_as_one_who_does_not_exist(
    ana: httpx.AsyncClient, other: Tenant, collection: str, field: str, fields: dict[str, str]
) -> None:
    record = await create(ana, collection, **fields)
    stranger, nobody = other.people["ana"], new_id()
    answers = []
    for person in (stranger, nobody):
        created = await ana.post(f"/api/{collection}", json={**fields, field: person})
        patched = await ana.patch(f"/api/{collection}/{record['id']}", json={field: person})
        for response in (created, patched):
            assert problem(response, 409, "foreign_key")["errors"][0]["field"] == field
            answers.append(response.text.replace(person, ""))
    assert answers[:2] == answers[2:]


@pytest.mark.parametrize(("collection", "field", "fields"), PEOPLE_IN_RECORDS)
async def test_records_of_a_disabled_member_stay_theirs_and_those_of_a_removed_one_are_nobodys(
    ana: httpx.AsyncClient,
    owner: Connection,
    tenant: Tenant,
    other: Tenant,
    api: Api,
    collection: str,
    field: str,
    fields: dict[str, str],
) -> None:
    ben = tenant.people["ben"]
    # Also a member of the other organisation, where nothing changes.
    await owner.execute(
        "INSERT INTO organization_members (organization_id, user_id) VALUES ($1, $2)", other.id, ben
    )
    theirs = await create(api.client(other), collection, **fields, **{field: ben})
    record = await create(ana, collection, **fields, **{field: ben})
    address = f"/api/{collection}/{record['id']}"
    membership = "organization_members SET disabled_at = now() WHERE organization_id = $1 AND user_id = $2"
    await owner.execute(f"UPDATE {membership}", tenant.id, ben)
    assert (await ana.get(address)).json() == record
    await owner.execute(
        "DELETE FROM organization_members WHERE organization_id = $1 AND user_id = $2", tenant.id, ben
    )
    now = (await ana.get(address)).json()
    assert (now[field], now["version"]) == (None, 2)
    elsewhere = await api.client(other).get(f"/api/{collection}/{theirs['id']}")
    assert elsewhere.json() == theirs
    versions = (await ana.get(f"{address}/history")).json()["items"]
    assert [each["record"][field] for each in versions] == [None, ben]


async def test_a_field_of_other_roles_never_leaves_and_is_not_known(
    api: Api, owner: Connection, tenant: Tenant
) -> None:
    await owner.execute(
        "CREATE TABLE salaries (organization_id uuid, id uuid, name text NOT NULL, amount numeric(9, 2))"
    )
    await owner.execute(
        "COMMENT ON COLUMN salaries.amount IS 'What is paid. @filterable @readable(owner, manager)'"
    )
    await owner.execute("SELECT track('salaries')")
    ana, ben = api.client(tenant, "ana"), api.client(tenant, "ben")

    async def known() -> bool:
        return (await ana.get("/api/salaries")).status_code == 200

    await eventually(known)
    record = await create(ana, "salaries", name="Eve", amount="4711.00")
    address = f"/api/salaries/{record['id']}"
    await ana.patch(address, json={"amount": "4712.00"})
    assert (await ana.get(address)).json()["amount"] == "4712.00"
    patched = await ben.patch(address, json={"name": "Eva"})
    stale = await ben.patch(address, json={"name": "Eva"}, headers={"if-match": '"1"'})
    for response in (
        await ben.get(address),
        await ben.get("/api/salaries"),
        await ben.get(f"{address}/history"),
        patched,
        stale,
    ):
        assert "Eve" in response.text or "Eva" in response.text
        assert "amount" not in response.text
        assert not any(amount in response.text for amount in ("4711.00", "4712.00"))
    assert stale.status_code == 412
    problem(await ben.get("/api/salaries?amount=4712"), 403, "forbidden")
    problem(await ben.get("/api/salaries?sort=amount"), 422, "invalid")
    problem(await ben.patch(address, json={"amount": "1"}), 422, "invalid")
    problem(await ben.post(f"{address}/restore", json={"version": 1, "fields": ["amount"]}), 422, "invalid")
    # Replacing what they see leaves the rest as it is.
    assert (await ben.put(address, json={"name": "Eva M."})).status_code == 200
    assert (await ana.get(address)).json()["amount"] == "4712.00"


async def test_a_column_that_the_catalogue_does_not_know_yet_is_not_shown(
    api: Api, owner: Connection, tenant: Tenant
) -> None:
    """Until its comment is read nobody knows who may see it."""
    ana = api.client(tenant, "ana")
    record = await create(ana, "tasks", title="Call")
    catalogue = api.services.watcher.current
    try:
        await owner.execute("ALTER TABLE tasks ADD COLUMN secret_plan text DEFAULT 'world peace'")
        # As it is in the two seconds before the next look at the catalogue.
        api.services.watcher.current = catalogue
        for path in (f"/api/tasks/{record['id']}", "/api/tasks"):
            assert "secret_plan" not in (await ana.get(path)).text
    finally:
        await owner.execute("ALTER TABLE tasks DROP COLUMN secret_plan")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE organization_members SET disabled_at = now() WHERE organization_id = $1 AND user_id = $2",
        "DELETE FROM organization_members WHERE organization_id = $1 AND user_id = $2",
        "UPDATE users SET disabled_at = now() WHERE id = $2 AND $1::uuid IS NOT NULL",
        "UPDATE sessions SET revoked_at = now() WHERE organization_id = $1 AND user_id = $2",
        "UPDATE sessions SET expires_at = now() WHERE organization_id = $1 AND user_id = $2",
        "UPDATE organizations SET closed_at = now() WHERE id = $1 AND $2::uuid IS NOT NULL",
    ],
)
async def test_what_ends_a_session_ends_it_with_the_next_request(
    api: Api, owner: Connection, tenant: Tenant, statement: str
) -> None:
    ben = api.client(tenant, "ben")
    record = await create(ben, name="x")
    await owner.execute(statement, tenant.id, tenant.people["ben"])
    for response in (
        await ben.get("/api/leads"),
        await ben.get(f"/api/leads/{record['id']}"),
        await ben.post("/api/leads", json={"name": "x"}),
        await ben.get("/api/auth/me"),
    ):
        problem(response, 401, "session_ended")


async def test_a_role_that_was_taken_away_is_gone_with_the_next_request(
    api: Api, owner: Connection, tenant: Tenant
) -> None:
    ben = api.client(tenant, "ben")
    record = await create(ben, name="x")
    await owner.execute(
        "UPDATE organization_members SET role = 'viewer' WHERE organization_id = $1 AND user_id = $2",
        tenant.id,
        tenant.people["ben"],
    )
    problem(await ben.patch(f"/api/leads/{record['id']}", json={"phone": "1"}), 403, "forbidden")
