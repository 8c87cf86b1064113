"""What the audit log is told of people who are disabled."""

import orjson
import pytest

from tests.integration.api.conftest import Api, problem
from tests.integration.api.test_auth import HASH, PASSWORD
from tests.tenants import Connection, Tenant


async def test_a_person_who_is_disabled_or_enabled_in_psql_is_in_the_audit_logs_of_their_organisations(
    owner: Connection, tenant: Tenant, other: Tenant
) -> None:
    carla = tenant.people["carla"]
    await owner.execute(
        "INSERT INTO organization_members (organization_id, user_id) VALUES ($1, $2)", other.id, carla
    )
    for moment in ("2026-01-01Z", "2026-01-02Z", None):  # a later moment is no other right
        await owner.execute(
            "UPDATE users SET disabled_at = $2::text::timestamptz WHERE id = $1", carla, moment
        )
    told = (
        "SELECT array_agg(kind ORDER BY id) FROM security_events"
        " WHERE organization_id = $1 AND user_id = $2 AND kind LIKE 'person_%' AND actor_id IS NULL"
    )
    for organization in (tenant.id, other.id):
        assert await owner.fetchval(told, organization, carla) == ["person_disabled", "person_enabled"]


@pytest.mark.parametrize("asked", [True, False])
async def test_the_right_password_of_a_disabled_member_is_in_the_audit_log_of_that_organisation(
    api: Api, owner: Connection, tenant: Tenant, other: Tenant, asked: bool
) -> None:
    carla = tenant.people["carla"]
    address = str(
        await owner.fetchval("UPDATE users SET password_hash = $2 WHERE id = $1 RETURNING email", carla, HASH)
    )
    await owner.execute("UPDATE organization_members SET disabled_at = now() WHERE user_id = $1", carla)
    told = (
        "SELECT details FROM security_events"
        " WHERE organization_id = $1 AND user_id = $2 AND kind = 'sign_in_refused'"
    )
    body = {"organization": tenant.id} if asked else {}
    credentials = {"email": address, "password": PASSWORD}
    problem(await api.client().post("/api/auth/login", json=credentials | body), 403, "not_a_member")
    assert [orjson.loads(row["details"]) for row in await owner.fetch(told, tenant.id, carla)] == [
        {"reason": "disabled"}
    ]
    # Nobody is told of an attempt to come in elsewhere, least of all those to whom the person is unknown.
    elsewhere = await api.client().post("/api/auth/login", json=credentials | {"organization": other.id})
    problem(elsewhere, 403, "not_a_member")
    assert len(await owner.fetch(told, tenant.id, carla)) == 1
    assert await owner.fetch(told, other.id, carla) == []
