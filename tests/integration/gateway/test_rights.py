"""What a person may read, on sockets: by branch, by field, by organisation, and from one moment to the next (I8)."""

import orjson
import pytest
import structlog.testing

from gateway import reception
from tests.gateways import WAIT_SECONDS, RunningGateway, Socket, wait_until
from tests.integration.gateway.leads import change_lead, make_lead
from tests.integration.gateway.test_live import follow
from tests.tenants import Connection, Tenant, create_tenant, new_id


async def test_a_narrowed_reader_sees_their_branch_and_records_of_none(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    north, south = tenant.branches["north"], tenant.branches["south"]
    hers = await make_lead(api, tenant, "hers", branch_id=south)
    nobodys = await make_lead(api, tenant, "nobody's")
    await make_lead(api, tenant, "theirs", branch_id=north)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "rita") as rita:
        replica = await follow(rita, "leads")
        assert {record_id for _, record_id in replica.records} == {hers, nobodys}


async def test_a_record_that_moves_between_branches_enters_and_leaves_a_narrowed_view(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    north, south = tenant.branches["north"], tenant.branches["south"]
    lead = await make_lead(api, tenant, "secret of north", branch_id=north)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "rita") as rita:
        await follow(rita, "leads")
        await change_lead(api, tenant, lead, phone="north's")
        await change_lead(api, tenant, lead, branch_id=south, name="known to both")
        await change_lead(api, tenant, lead, phone="south's")
        await change_lead(api, tenant, lead, branch_id=north, notes="secret again")
        await change_lead(api, tenant, lead, phone="north's again")
        await gateway.relay.publish(tenant)
        changes = [(await rita.next("delta"))["changes"] for _ in range(3)]
        assert [(change["operation"], change["version"]) for [change] in changes] == [
            ("enter", 3),
            ("update", 4),
            ("leave", 5),
        ]
        assert changes[0][0]["fields"]["name"] == "known to both"
        assert changes[2][0]["fields"] == {}
        everything = orjson.dumps(rita.messages).decode()
        assert "secret" not in everything
        assert "north's again" not in everything


async def test_a_collection_that_is_not_yours_is_refused_and_not_in_everything(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "ana") as socket:
        rejected = await socket.subscribe("organization_members")
        assert (rejected["type"], rejected["code"]) == ("rejected", "forbidden")
        replica = await follow(socket, "*")
        assert "organization_members" not in {collection for collection, _ in replica.records}


async def test_organisations_share_nothing(
    gateway: RunningGateway, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    other = await create_tenant(owner, "other")
    await make_lead(api, other, "canary")
    await gateway.relay.publish(tenant)
    await gateway.relay.publish(other)
    async with gateway.socket(tenant) as ours, gateway.socket(other) as theirs:
        assert (await follow(ours, "leads")).records == {}
        assert len((await follow(theirs, "leads")).records) == 1
        theirs_branch = await ours.subscribe(f"leads?branch_id={other.branches['north']}")
        assert theirs_branch["type"] == "subscribed"
        await make_lead(api, other, "canary", branch_id=other.branches["north"])
        await gateway.relay.publish(other)
        await theirs.next("delta")
        await make_lead(api, tenant, "ours")
        await gateway.relay.publish(tenant)
        await ours.next("delta")
        assert "canary" not in orjson.dumps(ours.messages).decode()


async def test_a_position_of_somebody_elses_view_is_not_continued(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await make_lead(api, tenant, "north's", branch_id=tenant.branches["north"])
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ana") as ana, gateway.socket(tenant, "rita") as rita:
        replica = await follow(ana, "leads")
        subscribed = await rita.subscribe("leads", replica.since)
        assert subscribed["mode"] == "snapshot"
        assert (await rita.next("snapshot"))["records"] == []


async def test_a_membership_that_becomes_narrower_ends_the_subscription_and_purges(
    gateway: RunningGateway, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    north = tenant.branches["north"]
    await make_lead(api, tenant, "north's", branch_id=north)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "carla") as carla:
        await follow(carla, "leads")
        await owner.execute(
            "UPDATE organization_members SET reads = 'own' WHERE user_id = $1", tenant.people["carla"]
        )
        await make_lead(api, tenant, "canary", branch_id=north)
        await gateway.relay.publish(tenant)
        ended = await carla.next("unsubscribed")
        assert (ended["id"], ended["topic"], ended["reason"]) == (None, "leads", "revoked")
        assert (await carla.next("purge"))["topics"] == ["leads"]
        metrics = gateway.gateway.metrics
        assert (metrics.purges, metrics.purges_acknowledged) == (1, 0)
        # Only what was asked for counts, and once.
        for topics in (["deals", "leads"], ["leads"]):
            await carla.send(type="purged", topics=topics)
        assert (await follow(carla, "leads")).records == {}
        assert (metrics.purges, metrics.purges_acknowledged) == (1, 1)
        assert "canary" not in orjson.dumps(carla.messages).decode()


async def test_a_change_of_rights_that_leaves_the_view_alone_loses_nothing(
    gateway: RunningGateway, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ben") as ben:
        replica = await follow(ben, "leads")
        await owner.execute(
            "UPDATE organization_members SET role = 'manager' WHERE user_id = $1", tenant.people["ben"]
        )
        await make_lead(api, tenant, "after")
        head = await gateway.relay.publish(tenant)
        while replica.position != head:
            replica.take(await ben.next("delta", "unsubscribed"))
        assert len(replica.records) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1",
        "DELETE FROM organization_members WHERE user_id = $1",
    ],
)
async def test_a_membership_that_ends_closes_the_socket(
    gateway: RunningGateway, owner: Connection, tenant: Tenant, statement: str
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ben") as ben, gateway.socket(tenant, "ana") as ana:
        await follow(ben, "leads")
        await follow(ana, "leads")
        await owner.execute(statement, tenant.people["ben"])
        await gateway.relay.publish(tenant)
        assert await ben.wait_closed() == 4504
        [purge] = [message for message in ben.messages if message["type"] == "purge"]
        assert (purge["topics"], purge["reason"]) == (["leads"], "access_ended")
        assert not ana.closed


async def test_a_session_that_ends_closes_its_sockets_and_no_others(
    gateway: RunningGateway, owner: Connection, tenant: Tenant
) -> None:
    second = new_id()
    ben = tenant.people["ben"]
    await owner.execute(
        "INSERT INTO sessions (id, user_id, organization_id, expires_at)"
        " VALUES ($1, $2, $3, now() + interval '1 day')",
        second,
        ben,
        tenant.id,
    )
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ben") as first, Socket.open(gateway.url) as other:
        await other.authenticate(gateway.tokens.issue(ben, tenant.id, second))
        await follow(first, "leads")
        replica = await follow(other, "leads")
        await owner.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", tenant.sessions["ben"])
        head = await gateway.relay.publish(tenant)
        assert await first.wait_closed() == 4504
        # It may have been a device that was lost.
        [purge] = [message for message in first.messages if message["type"] == "purge"]
        assert (purge["topics"], purge["reason"]) == (["leads"], "access_ended")
        while replica.position != head:
            replica.take(await other.next("delta", "head"))
        assert not other.closed


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM sessions WHERE user_id = $1 AND organization_id = $2",
        "UPDATE organizations SET closed_at = now() WHERE id = $2 AND $1::uuid IS NOT NULL",
    ],
)
async def test_sessions_that_somebody_deletes_and_those_of_a_closed_organisation_end_too(
    gateway: RunningGateway, owner: Connection, tenant: Tenant, statement: str
) -> None:
    """Whoever ends access, and however: in psql too."""
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ben") as ben:
        await follow(ben, "leads")
        await owner.execute(statement, tenant.people["ben"], tenant.id)
        await gateway.relay.publish(tenant)
        assert await ben.wait_closed() == 4504
        assert "purge" in {message["type"] for message in ben.messages}


async def test_whose_access_has_ended_is_heard_until_they_have_purged_and_for_nothing_else(
    gateway: RunningGateway,
    owner: Connection,
    api: Connection,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reception, "PURGE_SECONDS", WAIT_SECONDS)
    acknowledged = gateway.gateway.metrics.purges_acknowledged
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ben") as ben:
        await follow(ben, "leads")
        await follow(ben, "tasks")
        await owner.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", tenant.sessions["ben"])
        await gateway.relay.publish(tenant)
        purge = await ben.next("purge")
        said = len(ben.messages)
        await make_lead(api, tenant, "later")
        await gateway.relay.publish(tenant)
        await ben.send(type="subscribe", id=99, topic="deals")
        await ben.send(type="ping", sent_at_ms=1)
        await ben.send(type="purged", topics=purge["topics"][:1])
        assert not ben.closed
        await ben.send(type="purged", topics=purge["topics"])
        assert await ben.wait_closed() == 4504
        assert ben.messages[said:] == []
    assert gateway.gateway.metrics.purges_acknowledged == acknowledged + 2


async def test_what_nobody_was_told_to_purge_is_not_noted(gateway: RunningGateway, tenant: Tenant) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant, "ben") as ben:
        await follow(ben, "leads")
        with structlog.testing.capture_logs() as lines:
            await ben.send(type="purged", topics=["leads"])
            await ben.send(type="ping", sent_at_ms=1)
            await ben.next("pong")
    assert "topics.purged" not in {line["event"] for line in lines}


async def test_who_has_no_membership_or_session_is_not_let_in(
    gateway: RunningGateway, owner: Connection, tenant: Tenant
) -> None:
    await owner.execute("UPDATE sessions SET revoked_at = now() WHERE user_id = $1", tenant.people["vera"])
    for person, session in (("vera", tenant.sessions["vera"]), ("ben", new_id())):
        token = gateway.tokens.issue(tenant.people[person], tenant.id, session)
        async with Socket.open(gateway.url) as socket:
            await socket.send(type="authenticate", client_id=new_id(), token=token)
            assert await socket.wait_closed() == 4504
            assert socket.messages == []


async def test_a_collection_that_is_tracked_on_a_running_system_can_be_followed(
    gateway: RunningGateway, owner: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        assert (await socket.subscribe("visits"))["code"] == "unknown_collection"
        everything = await follow(socket, "*")
        await owner.execute(
            "CREATE TABLE visits (organization_id uuid NOT NULL REFERENCES organizations, id uuid NOT NULL"
            " DEFAULT uuidv7(), place text, PRIMARY KEY (organization_id, id))"
        )
        await owner.execute("SELECT track('visits')")
        ended = await socket.next("unsubscribed")
        assert (ended["topic"], ended["reason"]) == ("*", "epoch")
        await owner.execute("INSERT INTO visits (organization_id, place) VALUES ($1, 'Porto')", tenant.id)
        await gateway.relay.publish(tenant)
        again = await socket.subscribe("*", everything.since)
        assert again["mode"] == "snapshot"
        assert (await socket.subscribe("visits"))["mode"] == "snapshot"
        await wait_until(lambda: b"Porto" in orjson.dumps(socket.messages))
