"""The second lock on the door: the database shows no foreign row to an application that forgets to ask for its own."""

import re
from typing import Any

import asyncpg
import httpx
import pytest

from core.database import Pool, create_pool, scoped
from tests.integration.api.conftest import Api, create
from tests.servers import Database
from tests.tenants import Connection, Tenant, new_id

CANARY = "canary-of-the-other"
WITHOUT = {"sessions", "commits", "relay_positions"}
"""Tables of many organisations without row-level security: no record is in them (decisions/0002)."""
ROLES = ("branchline_api", "branchline_gateway")
_FILTER = re.compile(r"\b(?:\w+\.)?organization_id\s*=\s*\$1(?!\d)")


@pytest.fixture
async def tables(owner: Connection) -> list[str]:
    rows = await owner.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id'"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1"
    )
    return [row["relname"] for row in rows]


@pytest.fixture
async def canaries(owner: Connection, api: Api, other: Tenant) -> dict[str, Any]:
    """Rows of another organisation wherever there can be some."""
    theirs = api.client(other)
    client = await create(theirs, "clients", name=CANARY)
    lead = await create(theirs, "leads", name=CANARY, notes=CANARY, branch_id=other.branches["north"])
    contact = await create(theirs, "contacts", last_name=CANARY, client_id=client["id"])
    gone = await create(theirs, "tasks", title=CANARY)
    await theirs.delete(f"/api/tasks/{gone['id']}")
    await create(theirs, "teams", name=CANARY)
    await owner.execute(
        "UPDATE users SET name = $2::text, email = id || $2::text || '@other.test' WHERE id = ANY ($1::uuid[])",
        list(other.people.values()),
        CANARY,
    )
    ana = other.people["ana"]
    await owner.execute(
        "INSERT INTO overwritten_values (organization_id, user_id, collection, record_id, field, value, written_at_ms,"
        " version) VALUES ($1, $2, 'leads', $3, 'name', to_jsonb($4::text), 1, 1)",
        other.id,
        ana,
        lead["id"],
        CANARY,
    )
    await owner.execute(
        "INSERT INTO invitations (organization_id, email, role, token_hash, expires_at)"
        " VALUES ($1, 'x@y.test', 'agent', $2, now() + interval '1 day')",
        other.id,
        CANARY.encode(),
    )
    await owner.execute(
        "INSERT INTO sealed_values (organization_id, client_id, name, key_id, sealed)"
        " VALUES ($1, $2, 'tax_id', 'k', $3)",
        other.id,
        client["id"],
        CANARY.encode(),
    )
    await owner.execute(
        "INSERT INTO client_portal_access (organization_id, contact_id, token_hash, expires_at)"
        " VALUES ($1, $2, $3, now() + interval '1 day')",
        other.id,
        contact["id"],
        CANARY.encode(),
    )
    await owner.execute(
        "INSERT INTO security_events (organization_id, kind) VALUES ($1, 'signed_in')", other.id
    )
    return {"clients": client, "leads": lead, "contacts": contact, "tasks": gone}


async def test_every_table_of_organisations_has_row_level_security_and_its_policy(
    owner: Connection, tables: list[str]
) -> None:
    bare = await owner.fetch(
        "SELECT c.relname FROM pg_class c WHERE c.relname = ANY ($1) AND c.relnamespace = 'public'::regnamespace"
        " AND NOT (c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))",
        tables,
    )
    # Partitions are reached through their tables only: nobody may name them.
    named = []
    for row in bare:
        for role in ROLES:
            if await owner.fetchval("SELECT has_table_privilege($1, $2, 'SELECT')", role, row["relname"]):
                named.append(row["relname"])
    assert set(named) <= WITHOUT


async def test_the_roles_own_nothing_and_no_function_acts_for_its_owner(owner: Connection) -> None:
    assert not await owner.fetchval(
        "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname LIKE 'branchline\\_%'"
        " AND r.rolname <> 'branchline_owner'"
    )
    assert not await owner.fetchval(
        "SELECT count(*) FROM pg_proc WHERE prosecdef"
        " AND pronamespace IN ('public'::regnamespace, 'generated'::regnamespace)"
    )
    assert not await owner.fetchval(
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'branchline\\_%' AND rolname <> 'branchline_owner'"
        " AND (rolsuper OR rolbypassrls)"
    )


@pytest.mark.parametrize("role", ROLES)
async def test_without_a_filter_a_role_sees_and_changes_rows_of_the_one_organisation_only(
    module_database: Database,
    owner: Connection,
    tenant: Tenant,
    other: Tenant,
    canaries: dict[str, Any],
    tables: list[str],
    role: Any,
) -> None:
    pool = await create_pool(module_database.url, role=role, application_name="test", max_size=2)
    seen = 0
    for table in set(tables) - WITHOUT:
        if not await owner.fetchval("SELECT has_any_column_privilege($1, $2, 'SELECT')", role, table):
            continue
        async with scoped(pool, tenant.id) as connection:
            rows = await connection.fetch(f"SELECT organization_id FROM {table}")
            assert {str(row["organization_id"]) for row in rows} <= {tenant.id}, table
            assert (
                await connection.fetchval(
                    f"SELECT count(*) FROM {table} WHERE organization_id = $1", other.id
                )
                == 0
            )
        async with pool.acquire() as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        seen += 1
        for verb, statement in (
            ("DELETE", f"DELETE FROM {table}"),
            ("UPDATE", f"UPDATE {table} SET organization_id = organization_id"),
        ):
            if await owner.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, verb):
                own = await owner.fetchval(
                    f"SELECT count(*) FROM {table} WHERE organization_id = $1", tenant.id
                )
                assert await rows_touched(pool, tenant, statement) == own, statement
    assert seen >= 8
    if role == "branchline_api":
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with scoped(pool, tenant.id) as connection:
                await connection.execute(
                    "INSERT INTO leads (organization_id, name) VALUES ($1, 'planted')", other.id
                )
    await pool.close()


async def rows_touched(pool: Pool, tenant: Tenant, statement: str) -> int:
    """How many rows a statement without a filter changes in an organisation's transaction, which is rolled back."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT set_config('branchline.organization_id', $1, true)", tenant.id)
        status: str = await connection.execute(statement)
        await transaction.rollback()
    return int(status.split()[-1])


@pytest.fixture
async def forgetful(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The application without its filter by organisation: in every statement it is put out of force."""
    changed: list[str] = []

    def forget(statement: str) -> str:
        without, count = _FILTER.subn("$1::uuid IS NOT NULL", statement)
        if count:
            changed.append(statement)
        return without

    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        original = getattr(asyncpg.Connection, name)

        def forgetting(self: Any, query: str, *rest: Any, _original: Any = original, **more: Any) -> Any:
            return _original(self, forget(query), *rest, **more)

        monkeypatch.setattr(asyncpg.Connection, name, forgetting)
    return changed


async def test_an_application_that_forgets_its_filter_shows_no_foreign_byte(
    api: Api, tenant: Tenant, ana: httpx.AsyncClient, canaries: dict[str, Any], forgetful: list[str]
) -> None:
    mine = await create(ana, "leads", name="mine")
    answers: list[httpx.Response] = []
    for collection in ("clients", "leads", "contacts", "deals", "tasks", "branches", "teams"):
        answers.append(await ana.get(f"/api/{collection}?limit=200"))
    assert mine["id"] in answers[1].text
    for collection, record in canaries.items():
        path = f"/api/{collection}/{record['id']}"
        answers += [await ana.get(path), await ana.get(f"{path}/history")]
        for answer in (
            await ana.patch(path, json={"notes": "taken"}),
            await ana.delete(path),
            await ana.post(f"{path}/restore", json={"version": 1}),
        ):
            assert answer.status_code in (403, 404, 409), answer.text
            answers.append(answer)
    answers.append(await ana.get("/api/overwritten"))
    answers.append(await ana.get("/api/people?limit=200"))
    assert tenant.people["ben"] in answers[-1].text
    # Where its log ends is a guess without the filter: it may be told that it came too late, and nothing else.
    answers.append(await ana.get("/api/changes?topic=*"))
    epoch = answers[1].json()["epoch"]
    answers.append(await ana.get("/api/changes", params={"topic": "*", "epoch": epoch, "offset": 0}))
    assert mine["id"] in answers[-1].text
    answers.append(await ana.get("/api/auth/sessions"))
    for answer in answers:
        assert answer.status_code < 500, answer.text
        assert CANARY not in answer.text
    # What was tested is the application without its filter, not with it.
    assert len({statement[:200] for statement in forgetful}) >= 5, forgetful


async def test_the_filter_is_really_gone_in_that_test(
    owner: Connection, tenant: Tenant, canaries: dict[str, Any], forgetful: list[str]
) -> None:
    """For the owner, whom row-level security does not hold, the same statement shows everybody's rows."""
    rows = await owner.fetch("SELECT name FROM leads WHERE organization_id = $1", tenant.id)
    assert CANARY in [row["name"] for row in rows]
    assert new_id() not in str(rows)
