"""Leads that tests write."""

from tests.tenants import Connection, Tenant, new_id, write


async def make_lead(
    api: Connection, tenant: Tenant, name: str = "L", person: str = "ana", **fields: object
) -> str:
    """Insert a lead; give its id."""
    lead = new_id()
    mutation = tenant.mutation(person, "insert", "leads", lead, fields={"name": name, **fields})
    [result] = await write(api, mutation)
    assert result["status"] == "applied", result
    return lead


async def change_lead(
    api: Connection, tenant: Tenant, lead: str, person: str = "ana", **fields: object
) -> None:
    """Update a lead."""
    [result] = await write(api, tenant.mutation(person, "update", "leads", lead, fields=fields))
    assert result["status"] == "applied", result


async def delete_lead(api: Connection, tenant: Tenant, lead: str, person: str = "ana") -> None:
    """Delete a lead."""
    [result] = await write(api, tenant.mutation(person, "delete", "leads", lead))
    assert result["status"] == "applied", result
