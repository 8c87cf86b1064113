"""Following a topic: snapshot, live, replay, and the end of it."""

import orjson
import pytest

from tests.gateways import Replica, RunningGateway, Socket, run_gateway
from tests.integration.gateway.leads import change_lead, delete_lead, make_lead
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, new_id, write


async def follow(socket: Socket, topic: str, since: object = None) -> Replica:
    """Subscribe, and read until the topic is live or its snapshot is whole."""
    replica = Replica(topic)
    subscribed = await socket.subscribe(topic, since)
    replica.take(subscribed)
    while replica.position is None or replica.position < subscribed["offset"]:
        replica.take(await socket.next("snapshot", "delta"))
    return replica


async def catch_up(socket: Socket, replica: Replica, head: int) -> None:
    """Read until the replica has come to a position."""
    while replica.position is None or replica.position < head:
        replica.take(await socket.next("delta", "head"))


async def test_ready_says_who_is_there_and_where_the_head_is(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await make_lead(api, tenant)
    head = await gateway.relay.publish(tenant)
    async with Socket.open(gateway.url) as socket:
        ready = await socket.authenticate(gateway.token(tenant, "rita"))
    assert ready["offset"] == head
    assert ready["epoch"]
    assert ready["heartbeat_ms"] == 10_000
    assert ready["principal"] == {
        "user_id": tenant.people["rita"],
        "name": "Rita",
        "organization_id": tenant.id,
        "role": "agent",
        "branch_ids": [tenant.branches["south"]],
        "reads": "own",
    }
    assert {"message_bytes", "subscriptions"} <= ready["limits"].keys()
    assert isinstance(ready["connection_id"], str)


async def test_a_write_arrives_as_a_delta(gateway: RunningGateway, api: Connection, tenant: Tenant) -> None:
    async with gateway.socket(tenant) as socket:
        subscribed = await socket.subscribe("leads")
        assert subscribed["mode"] == "snapshot"
        assert (await socket.next("snapshot"))["last"] is True
        lead = await make_lead(api, tenant, "Ines")
        head = await gateway.relay.publish(tenant)
        delta = await socket.next("delta")
        [change] = delta["changes"]
        assert (change["operation"], change["id"], change["fields"]["name"]) == ("insert", lead, "Ines")
        assert change["actor"]["user_id"] == tenant.people["ana"]
        assert (delta["from"], delta["to"]) == (subscribed["offset"], head)


async def test_records_in_snapshots_and_deltas_are_encoded_as_everywhere(
    gateway: RunningGateway, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    async with gateway.socket(tenant) as socket:
        await socket.subscribe("leads", "now")
        lead = await make_lead(api, tenant, "Émile", estimated_value="1200.50")
        await gateway.relay.publish(tenant)
        [change] = (await socket.next("delta"))["changes"]
        await socket.subscribe("leads")
        [record] = (await socket.next("snapshot"))["records"]
        text = await owner.fetchval("SELECT encode_record(l)::text FROM leads l WHERE id = $1", lead)
        assert change["fields"] == record == orjson.loads(text)


async def test_an_update_tells_the_changed_fields_and_a_delete_none(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        await socket.subscribe("leads", "now")
        await change_lead(api, tenant, lead, phone="+351 1", company=None, email=None)
        await delete_lead(api, tenant, lead)
        await gateway.relay.publish(tenant)
        [update] = (await socket.next("delta"))["changes"]
        [delete] = (await socket.next("delta"))["changes"]
        assert update["fields"].keys() == {"phone", "updated_at", "updated_by"}
        assert update["fields"]["phone"] == "+351 1"
        assert (delete["operation"], delete["fields"], delete["version"]) == ("delete", {}, 3)


async def test_a_record_that_moves_through_a_filter_enters_and_leaves(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant, status="new")
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads?status=qualified,won")
        assert replica.records == {}
        for status in ("won", "qualified", "lost"):
            await change_lead(api, tenant, lead, status=status)
        head = await gateway.relay.publish(tenant)
        operations = []
        while replica.position != head:
            delta = await socket.next("delta")
            operations += [change["operation"] for change in delta["changes"]]
            replica.take(delta)
        assert operations == ["enter", "update", "leave"]
        assert replica.records == {}


async def test_every_spelling_of_a_topic_is_the_same_topic(gateway: RunningGateway, tenant: Tenant) -> None:
    async with gateway.socket(tenant) as socket:
        one = await socket.subscribe("leads?status=won,new")
        other = await socket.subscribe("leads?status=new,%77on")
        assert one["topic"] == other["topic"] == "leads?status=new,won"
        assert one["view"] == other["view"]


async def test_everything_comes_collection_by_collection(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "*")
        collections = {collection for collection, _ in replica.records}
        assert collections == {"leads", "branches"}
        await change_lead(api, tenant, lead, phone="1")
        head = await gateway.relay.publish(tenant)
        await catch_up(socket, replica, head)
        assert replica.records["leads", lead]["phone"] == "1"


async def test_one_record_can_be_followed(gateway: RunningGateway, api: Connection, tenant: Tenant) -> None:
    lead, other = await make_lead(api, tenant), await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, f"leads/{lead}")
        assert list(replica.records) == [("leads", lead)]
        await change_lead(api, tenant, other, phone="1")
        await change_lead(api, tenant, lead, phone="2")
        await gateway.relay.publish(tenant)
        delta = await socket.next("delta")
        assert [change["id"] for change in delta["changes"]] == [lead]


async def test_a_snapshot_comes_in_pages_that_add_up(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    leads = {await make_lead(api, tenant, f"L{number}") for number in range(25)}
    async with (
        run_gateway(database, servers.redis_url, snapshot_page_records=10) as gateway,
        gateway.socket(tenant) as socket,
    ):
        await socket.subscribe("leads")
        pages = [await socket.next("snapshot") for _ in range(3)]
        assert [len(page["records"]) for page in pages] == [10, 10, 5]
        assert [page["last"] for page in pages] == [False, False, True]
        assert {record["id"] for page in pages for record in page["records"]} == leads
        assert len({page["offset"] for page in pages}) == 1


async def test_who_was_away_gets_exactly_what_they_missed(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
    before = replica.position
    assert before is not None
    for batch in range(5):
        mutations = [
            tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": f"{batch} {number}"})
            for number in range(99)
        ]
        await write(
            api, *mutations, tenant.mutation("ana", "update", "leads", lead, fields={"phone": str(batch)})
        )
    head = await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        subscribed = await socket.subscribe("leads", replica.since)
        assert (subscribed["mode"], subscribed["offset"]) == ("replay", head)
        replica.take(subscribed)
        await catch_up(socket, replica, head)
    assert replica.offsets == list(range(before + 1, head + 1))
    assert len(replica.offsets) == 500


async def test_a_replay_of_nothing_is_an_empty_delta(gateway: RunningGateway, tenant: Tenant) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        subscribed = await socket.subscribe("leads", replica.since)
        delta = await socket.next("delta")
        assert (subscribed["mode"], delta["to"], delta["changes"]) == ("replay", subscribed["offset"], [])


async def test_a_replay_of_other_topics_changes_still_reaches_the_head(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "tasks")
    for _ in range(3):
        await make_lead(api, tenant)
    head = await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica.take(await socket.subscribe("tasks", replica.since))
        await catch_up(socket, replica, head)
    assert replica.offsets == []


@pytest.mark.parametrize("difference", ["epoch", "view", "offset"])
async def test_a_position_that_cannot_be_continued_gets_a_snapshot(
    gateway: RunningGateway, api: Connection, tenant: Tenant, difference: str
) -> None:
    await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        wrong = {"epoch": "another", "view": "leads#other", "offset": 1_000_000}
        subscribed = await socket.subscribe("leads", replica.since | {difference: wrong[difference]})
        assert subscribed["mode"] == "snapshot"
        assert (await socket.next("snapshot"))["last"] is True


async def test_a_position_that_the_log_has_pruned_gets_a_snapshot(
    gateway: RunningGateway, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    for _ in range(3):
        await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        await owner.execute("UPDATE commits SET logged_on = logged_on - 30")
        await owner.fetchval("SELECT prune_commits(current_date - 7)")
        subscribed = await socket.subscribe("leads", replica.since | {"offset": 1})
        assert subscribed["mode"] == "snapshot"
        page = await socket.next("snapshot")
        assert len(page["records"]) == 3


async def test_now_sends_nothing_of_the_past(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await make_lead(api, tenant)
    head = await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        subscribed = await socket.subscribe("leads", "now")
        assert (subscribed["mode"], subscribed["offset"]) == ("live", head)
        lead = await make_lead(api, tenant)
        await gateway.relay.publish(tenant)
        assert [change["id"] for change in (await socket.next("delta"))["changes"]] == [lead]


async def test_who_unsubscribes_hears_no_more(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    async with gateway.socket(tenant) as socket:
        await socket.subscribe("leads", "now")
        await socket.subscribe("tasks", "now")
        await socket.send(type="unsubscribe", id=7, topic="leads")
        ended = await socket.next("unsubscribed")
        assert (ended["id"], ended["topic"], ended["reason"]) == (7, "leads", "asked")
        await make_lead(api, tenant)
        [result] = await write(
            api, tenant.mutation("ana", "insert", "tasks", new_id(), fields={"title": "T"})
        )
        assert result["status"] == "applied", result
        await gateway.relay.publish(tenant)
        assert (await socket.next("delta"))["topic"] == "tasks"


async def test_subscribers_of_one_view_share_an_encoding_and_get_the_same(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "ana") as ana, gateway.socket(tenant, "vera") as vera:
        ours, theirs = await ana.subscribe("leads", "now"), await vera.subscribe("leads", "now")
        assert ours["view"] == theirs["view"]
        await make_lead(api, tenant)
        await gateway.relay.publish(tenant)
        assert await ana.next("delta") == await vera.next("delta")


async def test_a_large_transaction_comes_in_pages(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        before = replica.position
        notes = "n" * 4_000
        await write(
            api,
            *[
                tenant.mutation(
                    "ana", "insert", "leads", new_id(), fields={"name": f"L{number}", "notes": notes}
                )
                for number in range(200)
            ],
        )
        head = await gateway.relay.publish(tenant)
        pages = []
        while replica.position != head:
            page = await socket.next("delta")
            pages.append(page)
            replica.take(page)
        assert len(pages) > 2
        assert {(page["from"], page["to"]) for page in pages} == {(before, head)}
        assert [page.get("more", False) for page in pages] == [True] * (len(pages) - 1) + [False]
        assert all(len(orjson.dumps(page)) <= 256 * 1024 for page in pages)
        assert len(replica.records) == 200


async def test_the_head_comes_to_those_who_are_up_to_date(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    async with (
        run_gateway(database, servers.redis_url, heartbeat_ms=200) as gateway,
        gateway.socket(tenant) as socket,
    ):
        replica = await follow(socket, "tasks")
        await make_lead(api, tenant)
        head = await gateway.relay.publish(tenant)
        await catch_up(socket, replica, head)
        assert replica.position == head


async def test_messages_that_need_no_answer_end_nothing(gateway: RunningGateway, tenant: Tenant) -> None:
    async with gateway.socket(tenant) as socket:
        await socket.send(type="receipt", offset=1, shown_at_ms=1)
        await socket.send(type="purged", topics=["leads"])
        await socket.send(type="ping", sent_at_ms=5)
        assert (await socket.next("pong"))["sent_at_ms"] == 5
