"""Tombstones converge like records (I7), keep what was typed (I9), and tell nobody what they may not know (I8)."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.integration.conftest import Connect
from tests.tenants import Connection, Tenant, log_of, new_id, write

MS = 4_102_444_800_000
A, B, C = (f"00000000-0000-4000-8000-00000000000{letter}" for letter in "abc")


def at(moment: int, client: str = A, counter: int = 0) -> str:
    """A client's clock, some moments after the beginning."""
    return f"{MS + moment}-{counter:04x}-{client}"


async def grave_of(owner: Connection, lead: str) -> Any:
    return await owner.fetchrow(
        "SELECT clock, deleted_by::text, record->>'phone' AS phone, record->>'email' AS email FROM tombstones"
        " WHERE record_id = $1",
        lead,
    )


async def make_lead(api: Connection, tenant: Tenant, **fields: object) -> str:
    lead = new_id()
    fields = {"name": "L", **fields}
    [result] = await write(api, tenant.mutation("ana", "insert", "leads", lead, fields=fields, clock=at(1)))
    assert result["status"] == "applied", result
    return lead


async def everybody_writes(owner: Connection) -> None:
    await owner.execute("UPDATE organization_members SET role = 'manager', reads = 'all', branch_ids = NULL")


@pytest.mark.parametrize("insert_comes_late", [False, True])
async def test_an_insert_that_a_delete_has_beaten_still_shows_when_the_record_is_revived(
    api: Connection, tenant: Tenant, insert_comes_late: bool
) -> None:
    """I7: insert at 6 and delete at 7 come in either order; the update at 8 finds the insert's values."""
    lead = await make_lead(api, tenant, phone="first")
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
    insert = tenant.mutation(
        "ana", "insert", "leads", lead, fields={"name": "M", "phone": "second"}, clock=at(6)
    )
    delete = tenant.mutation("ana", "delete", "leads", lead, clock=at(7, B))
    first, second = (delete, insert) if insert_comes_late else (insert, delete)
    await write(api, first)
    [result] = await write(api, second)
    if insert_comes_late:
        assert (result["status"], result["version"]) == ("merged", 2)
        assert [entry["field"] for entry in result["lost"]] == ["name", "phone"]
    [result] = await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"email": "e"}, clock=at(8, C))
    )
    assert result["status"] == "applied"
    record = result["record"]
    assert (record["name"], record["phone"], record["email"]) == ("M", "second", "e")


async def test_a_later_delete_of_a_deleted_record_is_the_one_that_beats(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    await everybody_writes(owner)
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
    await write(api, tenant.mutation("ben", "delete", "leads", lead, clock=at(5, B)))
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(3)))
    grave = await grave_of(owner, lead)
    assert (grave["clock"], grave["deleted_by"]) == (at(5, B), tenant.people["ben"])
    [result] = await write(
        api, tenant.mutation("carla", "update", "leads", lead, fields={"phone": "1"}, clock=at(4, C))
    )
    assert (result["status"], result["lost"][0]["by"], result["lost"][0]["at_ms"]) == (
        "merged",
        tenant.people["ben"],
        MS + 5,
    )


async def test_an_update_that_says_nothing_revives_nothing(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
    [result] = await write(api, tenant.mutation("ana", "update", "leads", lead, fields={}, clock=at(9, B)))
    assert (result["status"], result["code"]) == ("rejected", "not_found")
    assert await grave_of(owner, lead) is not None


@pytest.mark.parametrize("operation", ["update", "insert"])
async def test_what_no_record_may_hold_does_not_get_into_a_deleted_one(
    api: Connection, tenant: Tenant, operation: str
) -> None:
    """Else a good write by somebody else would be refused for it when it revives the record."""
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(5)))
    bad = {"name": "L", "score": 101}
    [result] = await write(api, tenant.mutation("ana", operation, "leads", lead, fields=bad, clock=at(4, B)))
    assert (result["status"], result["code"]) == ("rejected", "invalid")
    [result] = await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}, clock=at(6, C))
    )
    assert (result["status"], result["record"]["score"]) == ("applied", None)


async def test_a_cascade_never_buries_a_record_under_a_clock_older_than_its_fields(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    client, contact = new_id(), new_id()
    await write(api, tenant.mutation("ana", "insert", "clients", client, fields={"name": "C"}, clock=at(1)))
    await write(
        api,
        tenant.mutation(
            "ana", "insert", "contacts", contact, fields={"last_name": "C", "client_id": client}, clock=at(9)
        ),
    )
    await write(api, tenant.mutation("ana", "delete", "clients", client, clock=at(5, B)))
    assert (await grave_of(owner, contact))["clock"] >= at(9)
    [result] = await write(
        api, tenant.mutation("ana", "update", "contacts", contact, fields={"phone": "1"}, clock=at(7, C))
    )
    assert (result["status"], result["lost"][0]["field"]) == ("merged", "phone")


async def test_a_delete_in_psql_has_one_clock_in_the_log_and_in_the_tombstone(
    owner: Connection, tenant: Tenant
) -> None:
    leads = [new_id() for _ in range(300)]
    await owner.executemany(
        "INSERT INTO leads (organization_id, id, name) VALUES ($1, $2, 'L')", [(tenant.id, x) for x in leads]
    )
    await owner.execute("DELETE FROM leads")
    logged = {
        str(c["record_id"]): c["clock"] for c in await log_of(owner, tenant) if c["operation"] == "delete"
    }
    graves = await owner.fetch("SELECT record_id::text, clock FROM tombstones")
    assert {row[0]: row[1] for row in graves} == logged


@pytest.mark.parametrize("operation", ["update", "delete"])
async def test_a_deleted_record_of_a_branch_that_one_may_not_read_is_not_found(
    owner: Connection, api: Connection, tenant: Tenant, operation: str
) -> None:
    """I8: as if it had never been; and the grave stays as it was."""
    lead = await make_lead(api, tenant, branch_id=tenant.branches["north"])
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
    fields = {"phone": "1"} if operation == "update" else {}
    for moment in (1, 9):
        [result] = await write(
            api, tenant.mutation("rita", operation, "leads", lead, fields=fields, clock=at(moment, B))
        )
        assert (result["status"], result["code"], result["version"]) == ("rejected", "not_found", None)
    assert (await grave_of(owner, lead))["clock"] == at(2)


async def test_a_deleted_record_of_a_branch_that_one_may_not_write_to_is_forbidden(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant, branch_id=tenant.branches["north"])
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
    [result] = await write(api, tenant.mutation("carla", "delete", "leads", lead, clock=at(9, B)))
    assert (result["status"], result["code"]) == ("rejected", "forbidden")
    assert (await grave_of(owner, lead))["clock"] == at(2)


@pytest.mark.parametrize(("person", "code"), [("rita", "id_taken"), ("carla", "forbidden")])
async def test_an_insert_of_a_deleted_records_id_does_not_take_it_out_of_its_branch(
    owner: Connection, api: Connection, tenant: Tenant, person: str, code: str
) -> None:
    """I8: neither does one older than the delete merge into it, nor a later one stand in its place."""
    lead = await make_lead(api, tenant, branch_id=tenant.branches["north"], phone="north's")
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(5)))
    for clock in (at(3, B), at(9, B), None):
        [result] = await write(
            api, tenant.mutation(person, "insert", "leads", lead, fields={"name": "x"}, clock=clock)
        )
        assert (result["status"], result["code"], result["version"]) == ("rejected", code, None)
        assert result["record"] is None
    [grave] = await owner.fetch("SELECT clock, record ->> 'branch_id' FROM tombstones")
    assert tuple(grave) == (at(5), tenant.branches["north"])


async def test_an_insert_leaves_what_its_author_may_not_read_of_a_deleted_record(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """And its clock: a late write by one who may still counts."""
    await owner.execute("ALTER TABLE leads ADD COLUMN margin numeric(9, 2)")
    await owner.execute("COMMENT ON COLUMN leads.margin IS '@readable(owner, manager)'")
    north = {"branch_id": tenant.branches["north"]}

    async def margin_after(*writes: dict[str, Any]) -> Any:
        lead = await make_lead(api, tenant, **north, margin="77.77")
        await write(api, tenant.mutation("ben", "delete", "leads", lead, clock=at(5, B)))
        for each in writes:
            [result] = await write(api, tenant.mutation(collection="leads", record=lead, **each))
            assert result["status"] != "rejected", result
        return result["record"]["margin"]

    fields = {"name": "again"}
    late = {"person": "ben", "operation": "insert", "fields": fields, "clock": at(3, B)}
    revival = {"person": "ben", "operation": "update", "fields": {"phone": "1"}, "clock": at(9, B)}
    anew = late | {"clock": at(8, B)}
    by_manager = {"person": "ana", "operation": "update", "fields": {"margin": "88.88"}, "clock": at(4)}
    assert await margin_after(late, revival) == "77.77"
    assert await margin_after(late, by_manager, revival) == "88.88"
    assert await margin_after(by_manager, late, revival) == "88.88"
    assert await margin_after(anew) == "77.77"
    assert await margin_after(anew, by_manager) == "88.88"
    assert await margin_after(by_manager, anew) == "88.88"
    # Who may read it writes it: what their insert leaves out is empty.
    assert await margin_after(anew | {"person": "ana"}) is None


async def test_a_revival_carries_what_it_overwrote(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """I9: in the change, as every concurrent overwrite does, and kept for the author."""
    await everybody_writes(owner)
    lead = await make_lead(api, tenant, phone="0")
    await write(
        api,
        tenant.mutation(
            "ben", "update", "leads", lead, fields={"phone": "ben's"}, clock=at(3, B), base_version=1
        ),
    )
    await write(api, tenant.mutation("carla", "delete", "leads", lead, clock=at(4, C)))
    await write(
        api,
        tenant.mutation(
            "ana", "update", "leads", lead, fields={"phone": "ana's"}, clock=at(5), base_version=1
        ),
    )
    change = (await log_of(owner, tenant))[-1]
    assert change["operation"] == "insert"
    assert [(e["field"], e["value"], e["by"]) for e in change["overwrote"]] == [
        ("phone", "ben's", tenant.people["ben"])
    ]
    assert await owner.fetchval("SELECT count(*) FROM overwritten_values") == 1


async def test_a_delete_of_what_somebody_has_inserted_anew_names_what_it_takes(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """I9: who deletes at version 1 has not seen the record of version 3, though it has one stamp for all fields."""
    await everybody_writes(owner)
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("carla", "delete", "leads", lead, clock=at(2)))
    again = {"name": "B", "phone": "ben's"}
    await write(api, tenant.mutation("ben", "insert", "leads", lead, fields=again, clock=at(3, B)))
    [result] = await write(
        api, tenant.mutation("ana", "delete", "leads", lead, clock=at(5, C), base_version=1)
    )
    assert result["status"] == "applied"
    overwrote = {entry["field"]: entry["value"] for entry in result["overwrote"]}
    assert overwrote == again | {"source": "website", "status": "new", "currency": "EUR"}
    assert {entry["by"] for entry in result["overwrote"]} == {tenant.people["ben"]}


async def test_a_delete_names_a_value_that_somebody_has_just_emptied(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """Null is a value, in the change too."""
    await everybody_writes(owner)
    lead = await make_lead(api, tenant, phone="0")
    emptied = {"phone": None}
    await write(
        api, tenant.mutation("ben", "update", "leads", lead, fields=emptied, clock=at(3, B), base_version=1)
    )
    await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=at(5, C), base_version=1))
    [entry] = (await log_of(owner, tenant))[-1]["overwrote"]
    assert entry == {"field": "phone", "value": None, "by": tenant.people["ben"], "at_ms": MS + 3}


# Two processes at once.


async def overlap(
    first: Connection, mutation: dict[str, Any], second: Connection, other: dict[str, Any], owner: Connection
) -> tuple[dict[str, Any], dict[str, Any] | asyncpg.PostgresError]:
    """Write with both; the second begins while the first has written but not committed, and waits for it."""
    async with first.transaction():
        [result] = await write(first, mutation)
        waiting = asyncio.ensure_future(write(second, other))
        async with asyncio.timeout(10):
            while not await owner.fetchval(
                "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1",
                second.get_server_pid(),
            ):
                assert not waiting.done()
    try:
        return result, (await waiting)[0]
    except asyncpg.SerializationError as error:
        return result, error


async def test_an_insert_does_not_slip_past_a_later_delete_that_is_being_committed(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    first, second = await connect("branchline_api"), await connect("branchline_api")
    for is_dead in (False, True):
        lead = await make_lead(first, tenant)
        if is_dead:
            await write(first, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
        delete = tenant.mutation("ana", "delete", "leads", lead, clock=at(5, B))
        insert = tenant.mutation("ana", "insert", "leads", lead, fields={"name": "N"}, clock=at(3, C))
        deleted, inserted = await overlap(first, delete, second, insert, owner)
        assert deleted["status"] == "applied"
        assert isinstance(inserted, dict)
        assert inserted["status"] == "merged"
        assert await grave_of(owner, lead) is not None


@pytest.mark.parametrize("operation", ["update", "delete"])
async def test_a_write_that_meets_a_revival_in_the_act_is_tried_again(
    owner: Connection, connect: Connect, tenant: Tenant, operation: str
) -> None:
    first, second = await connect("branchline_api"), await connect("branchline_api")
    lead = await make_lead(first, tenant)
    await write(first, tenant.mutation("ana", "delete", "leads", lead, clock=at(2)))
    revive = tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}, clock=at(3))
    fields = {"email": "e"} if operation == "update" else {}
    other = tenant.mutation("ana", operation, "leads", lead, fields=fields, clock=at(4, B))
    revived, result = await overlap(first, revive, second, other, owner)
    assert revived["status"] == "applied"
    if isinstance(result, asyncpg.PostgresError):
        # The API runs such a transaction again.
        [result] = await write(second, other)
    assert result["status"] == "applied"
