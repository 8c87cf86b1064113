"""Every role, every operation, on records of one's own branch, of another and of none: as `core/principal.py` says,
and as docs/roles.md says.
"""

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import httpx
import pytest

from core.principal import Operation, Principal, Role
from core.protocol.collection import Collection
from tests.integration.api.conftest import Api
from tests.servers import ROOT
from tests.tenants import Connection, Tenant, new_id

ROLES = get_args(Role)
OPERATIONS = get_args(Operation)
BUSINESS = ("clients", "leads", "contacts", "deals", "tasks", "activity_events")
SHARED = ("branches", "organization_members", "teams", "team_members")
REQUIRED = {
    "clients": {"name": "x"},
    "leads": {"name": "x"},
    "contacts": {"last_name": "x"},
    "deals": {"name": "x"},
    "tasks": {"title": "x"},
    "activity_events": {"subject": "x"},
}
Where = Literal["own", "other", "none"]
WHERE: tuple[Where, ...] = get_args(Where)


@dataclass(slots=True)
class Somebody:
    """A person of one role, who may write to the branch north or to all."""

    principal: Principal
    client: httpx.AsyncClient


def principal_of(role: Role, *, everywhere: bool, reads: Literal["all", "own"], north: str) -> Principal:
    branches = None if everywhere else frozenset([north])
    return Principal(new_id(), "Somebody", new_id(), role, branches, reads, new_id())


async def enter(api: Api, owner: Connection, tenant: Tenant, asked: Principal) -> Somebody:
    person, session = new_id(), new_id()
    await owner.execute(
        "INSERT INTO users (id, email, name) VALUES ($1, $2, 'Somebody')", person, f"{person}@acme.test"
    )
    await owner.execute(
        "INSERT INTO organization_members (organization_id, user_id, role, reads, branch_ids)"
        " VALUES ($1, $2, $3::text::member_role, $4::text::member_reads, $5)",
        tenant.id,
        person,
        asked.role,
        asked.reads,
        asked.branch_ids and [uuid.UUID(each) for each in asked.branch_ids],
    )
    await owner.execute(
        "INSERT INTO sessions (id, user_id, organization_id, expires_at) VALUES ($1, $2, $3, now() + interval '1 day')",
        session,
        person,
        tenant.id,
    )
    tenant.people[person], tenant.sessions[person] = person, session
    principal = Principal(person, "Somebody", tenant.id, asked.role, asked.branch_ids, asked.reads, session)
    return Somebody(principal, api.client(tenant, person))


async def attempt(
    client: httpx.AsyncClient,
    operation: Operation,
    collection: str,
    record: str,
    fields: dict[str, Any],
    change: dict[str, Any],
) -> bool:
    """Whether it was done; what is refused has to be refused as it is documented."""
    path = f"/api/{collection}/{record}"
    match operation:
        case "read":
            answer = await client.get(path)
        case "insert":
            answer = await client.post(f"/api/{collection}", json={"id": record, **fields})
        case "update":
            answer = await client.patch(path, json=change)
        case "delete":
            answer = await client.delete(path)
    if answer.is_success:
        return True
    assert answer.status_code in (403, 404), answer.text
    return False


async def push(
    client: httpx.AsyncClient, operation: Operation, collection: str, record: str, fields: dict[str, Any]
) -> bool:
    mutation = {
        "mutation_id": new_id(),
        "collection": collection,
        "id": record,
        "operation": operation,
        "fields": {} if operation == "delete" else fields,
    }
    body = {"client_id": new_id(), "now_ms": 1_800_000_000_000, "mutations": [mutation]}
    [result] = (await client.post("/api/sync", json=body)).json()["results"]
    if result["status"] == "applied":
        return True
    assert result["code"] in ("forbidden", "not_found"), result
    return False


async def put(owner: Connection, tenant: Tenant, collection: str, branch: str | None) -> str:
    record, [(name, value)] = new_id(), REQUIRED[collection].items()
    await owner.execute(
        f"INSERT INTO {collection} (organization_id, id, branch_id, {name}) VALUES ($1, $2, $3, $4)",
        tenant.id,
        record,
        branch,
        value,
    )
    return record


async def exists(owner: Connection, collection: str, record: str) -> bool:
    return bool(await owner.fetchval(f"SELECT EXISTS (SELECT FROM {collection} WHERE id = $1)", record))


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_may_do_to_records_what_the_matrix_says_and_nothing_else(
    api: Api, owner: Connection, tenant: Tenant, role: Role
) -> None:
    branches = {"own": tenant.branches["north"], "other": tenant.branches["south"], "none": None}
    collections = api.services.describe().catalogue.collections
    everybody: tuple[Literal["all", "own"], ...] = ("all", "own")
    for everywhere, reads in itertools.product((True, False), everybody):
        asked = principal_of(role, everywhere=everywhere, reads=reads, north=branches["own"] or "")
        somebody = await enter(api, owner, tenant, asked)
        principal, client = somebody.principal, somebody.client
        for collection, (where, branch) in itertools.product(BUSINESS, branches.items()):
            for operation, pushed in itertools.product(OPERATIONS, (False, True)):
                if pushed and operation == "read":
                    continue
                expected = principal.may(operation, collections[collection], branch)
                described = (role, everywhere, reads, collection, where, operation, pushed)
                record = new_id() if operation == "insert" else await put(owner, tenant, collection, branch)
                fields = {**REQUIRED[collection], "branch_id": branch}
                if pushed:
                    sent = fields if operation == "insert" else {"notes": "y"}
                    done = await push(client, operation, collection, record, sent)
                else:
                    done = await attempt(client, operation, collection, record, fields, {"notes": "y"})
                assert done == expected, described
                left = await exists(owner, collection, record)
                assert left == (operation != "delete" if done else operation != "insert"), described


@pytest.mark.parametrize("role", ROLES)
async def test_every_role_may_do_to_what_all_branches_share_what_the_matrix_says(
    api: Api, owner: Connection, tenant: Tenant, role: Role
) -> None:
    collections = api.services.describe().catalogue.collections
    asked = principal_of(role, everywhere=True, reads="all", north="")
    somebody = await enter(api, owner, tenant, asked)
    team = await owner.fetchval(
        "INSERT INTO teams (organization_id, name) VALUES ($1, 'T') RETURNING id", tenant.id
    )
    for operation, collection in itertools.product(OPERATIONS, SHARED):
        fields, change, existing = await shared_record(owner, tenant, collection, str(team))
        expected = somebody.principal.may(operation, collections[collection])
        record = new_id() if operation == "insert" else existing
        done = await attempt(somebody.client, operation, collection, record, fields, change)
        assert done == expected, (role, collection, operation)


async def shared_record(
    owner: Connection, tenant: Tenant, collection: str, team: str
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Fields for a new record, a change, and the id of a record that is there."""

    async def somebody_new() -> str:
        sql = "INSERT INTO users (email, name) VALUES ($1, 'P') RETURNING id"
        return str(await owner.fetchval(sql, f"{new_id()}@acme.test"))

    async def member() -> tuple[str, str]:
        sql = "INSERT INTO organization_members (organization_id, user_id) VALUES ($1, $2) RETURNING id"
        person = await somebody_new()
        return str(await owner.fetchval(sql, tenant.id, person)), person

    match collection:
        case "branches":
            sql = "INSERT INTO branches (organization_id, slug, name) VALUES ($1, $2, 'B') RETURNING id"
            record = await owner.fetchval(sql, tenant.id, new_id())
            return {"slug": new_id(), "name": "B"}, {"city": "Porto"}, str(record)
        case "organization_members":
            record, _ = await member()
            return {"user_id": await somebody_new(), "role": "agent"}, {"title": "T"}, record
        case "teams":
            sql = "INSERT INTO teams (organization_id, name) VALUES ($1, $2) RETURNING id"
            record = await owner.fetchval(sql, tenant.id, new_id())
            return {"name": new_id()}, {"description": "D"}, str(record)
        case _:
            sql = "INSERT INTO team_members (organization_id, team_id, user_id) VALUES ($1, $2, $3) RETURNING id"
            record = await owner.fetchval(sql, tenant.id, team, (await member())[1])
            fields = {"team_id": team, "user_id": (await member())[1]}
            return fields, {"user_id": (await member())[1]}, str(record)


def table(collections: dict[str, Collection]) -> list[str]:
    """The matrix as rows of Markdown."""
    return list(_rows(collections))


def _rows(collections: dict[str, Collection]) -> Iterator[str]:
    for role in ROLES:
        principal = principal_of(role, everywhere=False, reads="all", north="n")
        own = principal_of(role, everywhere=False, reads="own", north="n")
        lead = collections["leads"]
        cells = [
            _words(principal, lead, "n"),
            _words(principal, lead, "s"),
            _words(own, lead, "s"),
            _words(principal, lead, None),
            *(_words(principal, collections[name], None) for name in SHARED),
        ]
        yield f"| {role} | {' | '.join(cells)} |"


def _words(principal: Principal, collection: Collection, branch: str | None) -> str:
    operations = [each for each in OPERATIONS if principal.may(each, collection, branch)]
    if len(operations) == len(OPERATIONS):
        return "all"
    return ", ".join(operations) or "–"


async def test_the_table_in_the_documentation_is_the_matrix(api: Api) -> None:
    page = (ROOT / "docs" / "roles.md").read_text().splitlines()
    expected = table(dict(api.services.describe().catalogue.collections))
    rows = [line for line in page if line.startswith(tuple(f"| {role} |" for role in ROLES))]
    assert rows == expected, "\n".join(expected)


def test_the_other_rights_in_the_documentation_are_those_of_the_code() -> None:
    everybody = [principal_of(role, everywhere=True, reads="all", north="n") for role in ROLES]
    rights = {
        "see people's e-mail addresses, roles and branches, and who is disabled": [
            each.handles_memberships for each in everybody
        ],
        "invite people (owners: only by owners)": [each.invites for each in everybody],
        "read the audit log of security events": [each.reads_security_events for each in everybody],
        "tax ids of clients": [each.handles_tax_ids for each in everybody],
        "tokens of outside systems": [each.handles_integrations for each in everybody],
        "give a contact access to the portal, within their branches": [
            each.gives_portal_access for each in everybody
        ],
    }
    page = (ROOT / "docs" / "roles.md").read_text()
    for right, values in rights.items():
        row = f"| {right} | {' | '.join('yes' if value else '–' for value in values)} |"
        assert row in page, row
