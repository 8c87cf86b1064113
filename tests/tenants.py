"""Organisations with people and branches, made in a test's database by its owner."""

import uuid
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg
import orjson
import uuid_utils

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def new_id() -> str:
    """A UUID of version 7, as clients make them."""
    return str(uuid_utils.uuid7())


@dataclass(slots=True)
class Tenant:
    """One organisation: its id, its branches by slug and its people by first name."""

    id: str
    branches: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)

    def mutation(
        self, person: str, operation: str, collection: str, record: str, **more: Any
    ) -> dict[str, Any]:
        """An element for `write_mutations`."""
        return {
            "organization_id": self.id,
            "user_id": self.people[person],
            "mutation_id": more.pop("mutation_id", None) or new_id(),
            "collection": collection,
            "id": record,
            "operation": operation,
            "fields": more.pop("fields", {}),
            "unit": more.pop("unit", "test"),
            "fingerprint": more.pop("fingerprint", "f"),
            "want_record": True,
            **more,
        }


async def create_tenant(owner: Connection, slug: str = "acme") -> Tenant:
    """An organisation with branches north and south; ana manages all of it, ben is an agent of north, carla one of
    south, rita one of south who reads her own branch only, and vera looks on.
    """
    tenant = Tenant(new_id())
    await owner.execute(
        "INSERT INTO organizations (id, slug, name) VALUES ($1, $2::text, $2::text)", tenant.id, slug
    )
    for branch in ("north", "south"):
        tenant.branches[branch] = new_id()
        await owner.execute(
            "INSERT INTO branches (organization_id, id, slug, name) VALUES ($1, $2, $3::text, initcap($3::text))",
            tenant.id,
            tenant.branches[branch],
            branch,
        )
    north, south = tenant.branches["north"], tenant.branches["south"]
    for name, role, reads, branches in (
        ("ana", "manager", "all", None),
        ("ben", "agent", "all", [north]),
        ("carla", "agent", "all", [south]),
        ("rita", "agent", "own", [south]),
        ("vera", "viewer", "all", None),
    ):
        person, session = new_id(), new_id()
        tenant.people[name], tenant.sessions[name] = person, session
        await owner.execute(
            "INSERT INTO users (id, email, name) VALUES ($1, $2, initcap($3::text))",
            person,
            f"{name}@{slug}.test",
            name,
        )
        await owner.execute(
            "INSERT INTO organization_members (organization_id, user_id, role, reads, branch_ids)"
            " VALUES ($1, $2, $3::text::member_role, $4::text::member_reads, $5)",
            tenant.id,
            person,
            role,
            reads,
            branches and [uuid.UUID(b) for b in branches],
        )
        await owner.execute(
            "INSERT INTO sessions (id, user_id, organization_id, expires_at)"
            " VALUES ($1, $2, $3, now() + interval '1 day')",
            session,
            person,
            tenant.id,
        )
    return tenant


async def write(connection: Connection, *mutations: dict[str, Any]) -> list[dict[str, Any]]:
    """Call `write_mutations` as the API does; the results in order, with their JSON read."""
    batch = [{**m, "ordinal": n} for n, m in enumerate(mutations)]
    rows = await connection.fetch(
        "SELECT * FROM write_mutations($1::jsonb) ORDER BY ordinal", orjson.dumps(batch).decode()
    )
    return [
        {
            k: orjson.loads(v) if k in ("record", "lost", "first", "overwrote") and v is not None else v
            for k, v in dict(row).items()
        }
        for row in rows
    ]


async def log_of(connection: Connection, tenant: Tenant) -> list[dict[str, Any]]:
    """The organisation's whole log, in order."""
    rows = await connection.fetch(
        "SELECT c.first_offset + x.ordinal - 1 AS log_offset, x.* FROM commits c JOIN changes x"
        " USING (organization_id, transaction_id) WHERE organization_id = $1 ORDER BY 1",
        tenant.id,
    )
    return [
        {
            k: orjson.loads(v) if k in ("record", "previous", "overwrote") and v is not None else v
            for k, v in dict(row).items()
        }
        for row in rows
    ]
