"""What Redis loses, repeats or mixes up costs time and never a change (I3, I4, I5)."""

import asyncio
import dataclasses
import functools
import itertools
import random

import orjson
import structlog

from gateway.broker import Broker
from gateway.broker import connect as connect_redis
from gateway.metrics import Metrics
from tests.gateways import Replica, RunningGateway, Socket, commits_of, run_gateway, wait_until
from tests.integration.conftest import Connect
from tests.integration.gateway.leads import make_lead
from tests.integration.gateway.test_live import catch_up, follow
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, new_id, write


async def test_a_lost_publication_is_filled_from_the_log_by_the_next(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        lost, found = await make_lead(api, tenant), ""
        await gateway.relay.skip(tenant)
        found = await make_lead(api, tenant)
        head = await gateway.relay.publish(tenant)
        await catch_up(socket, replica, head)
        assert {record_id for _, record_id in replica.records} == {lost, found}
        assert replica.offsets == list(range(head - 1, head + 1))


async def test_the_last_publication_before_a_silence_is_filled_by_the_heartbeat(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        await make_lead(api, tenant)
        await gateway.relay.skip(tenant)
        await catch_up(socket, replica, gateway.relay.published[tenant.id])
        assert len(replica.records) == 1


async def test_a_repeated_publication_is_not_sent_twice(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    before = await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        await make_lead(api, tenant)
        for _ in range(3):
            gateway.relay.published[tenant.id] = before
            await gateway.relay.publish(tenant)
        await make_lead(api, tenant)
        head = await gateway.relay.publish(tenant)
        await catch_up(socket, replica, head)
        assert replica.offsets == [head - 1, head]
        assert len([each for each in socket.messages if each["type"] == "delta"]) == 2


async def test_a_relay_that_was_deposed_is_ignored(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    gateway.relay.term = 7
    await gateway.relay.publish(tenant)
    await gateway.relay.beat()
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        await make_lead(api, tenant)
        gateway.relay.is_beating = False
        gateway.relay.term = 6
        epoch, _ = await gateway.relay.head(tenant.id)
        [change] = await gateway.relay.changes(tenant, replica.since["offset"])
        forged = dataclasses.replace(change, record={**change.record, "name": "of a deposed relay"})
        await gateway.relay.publish_commit(tenant, epoch, [forged])
        gateway.relay.term = 7
        head = await gateway.relay.publish(tenant)
        await catch_up(socket, replica, head)
        assert [record["name"] for record in replica.records.values()] == ["L"]


async def test_a_gateway_that_begins_does_not_call_itself_degraded(
    servers: Servers, database: Database
) -> None:
    with structlog.testing.capture_logs() as events:
        async with run_gateway(database, servers.redis_url, poll_seconds=0.0001) as gateway:
            await wait_until(lambda: gateway.gateway.intake.is_fresh)
    assert not [each for each in events if each["event"].startswith("intake.")]


async def test_while_the_relay_is_silent_the_log_is_read_and_it_is_said(
    servers: Servers, database: Database, api: Connection, tenant: Tenant
) -> None:
    async with run_gateway(database, servers.redis_url, silence_seconds=0.6) as gateway:
        await gateway.relay.publish(tenant)
        async with gateway.socket(tenant) as socket:
            replica = await follow(socket, "leads")
            gateway.relay.is_beating = False
            await wait_until(lambda: gateway.gateway.intake.is_degraded)
            readiness = gateway.gateway.readiness()
            assert readiness.ready
            assert readiness.details["degraded"] is True
            await make_lead(api, tenant)
            _, head = await gateway.relay.head(tenant.id)
            await catch_up(socket, replica, head)
            gateway.relay.is_beating = True
            await wait_until(lambda: not gateway.gateway.intake.is_degraded)


async def test_a_connection_to_redis_that_breaks_loses_nothing(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    gateway.relay.is_beating = False
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        head = 0
        for _ in range(5):
            connects = gateway.gateway.metrics.redis_connects
            await gateway.gateway._redis.client_kill_filter(_type="pubsub")
            await make_lead(api, tenant)
            await gateway.relay.skip(tenant)
            head = gateway.relay.published[tenant.id]
            await wait_until(functools.partial(_has_connected_since, gateway, connects))
            await catch_up(socket, replica, head)
        assert len(replica.offsets) == 5


def _has_connected_since(gateway: RunningGateway, connects: int) -> bool:
    return gateway.gateway.metrics.redis_connects > connects


async def test_pages_of_a_transaction_that_break_off_begin_again_without_harm(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        await write(
            api,
            *[
                tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": f"L{n}"})
                for n in range(60)
            ],
        )
        epoch, head = await gateway.relay.head(tenant.id)
        [commit] = commits_of(await gateway.relay.changes(tenant, replica.since["offset"]))
        # A relay that dies amid its pages, and the next one, which begins the transaction again.
        gateway.relay.page_bytes = 8_000
        partly = commit[:25]
        await gateway.relay.publish_commit(tenant, epoch, partly)
        gateway.relay.term = 2
        await gateway.relay.publish(tenant)
        await catch_up(socket, replica, head)
        assert replica.offsets == list(range(head - 59, head + 1))
        assert len(replica.records) == 60


async def test_another_epoch_has_everybody_subscribe_again(
    gateway: RunningGateway, api: Connection, owner: Connection, tenant: Tenant
) -> None:
    await make_lead(api, tenant)
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        async with gateway.relay._turn:
            await owner.fetchval("SELECT renew_epoch('test')")
        await make_lead(api, tenant)
        await gateway.relay.publish(tenant)
        ended = await socket.next("unsubscribed")
        assert (ended["topic"], ended["reason"]) == ("leads", "epoch")
        subscribed = await socket.subscribe("leads", replica.since)
        assert subscribed["mode"] == "snapshot"
        assert subscribed["epoch"] != replica.epoch


async def test_a_client_that_knows_more_than_this_gateway_waits_for_it(
    gateway: RunningGateway, api: Connection, tenant: Tenant
) -> None:
    await gateway.relay.publish(tenant)
    async with gateway.socket(tenant) as socket:
        replica = await follow(socket, "leads")
        gateway.relay.is_beating = False
        await make_lead(api, tenant)
        await make_lead(api, tenant)
        _, head = await gateway.relay.head(tenant.id)
        # As from another gateway, where the first of the two has arrived.
        subscribed = await socket.subscribe("leads", replica.since | {"offset": head - 1})
        assert (subscribed["mode"], subscribed["offset"]) == ("replay", head)
        delta = await socket.next("delta")
        assert [change["offset"] for change in delta["changes"]] == [head]


async def test_snapshot_and_deltas_add_up_to_the_database_amid_a_storm_of_writes(
    servers: Servers, database: Database, connect: Connect, tenant: Tenant
) -> None:
    writers = [await connect("branchline_api") for _ in range(3)]
    owner = await connect()
    topics = ["leads", "leads?status=new,won", f"leads?branch_id=~,{tenant.branches['north']}", "*"]
    async with run_gateway(database, servers.redis_url, snapshot_page_records=7) as gateway:
        stop = asyncio.Event()
        storm = [
            asyncio.create_task(_write_until(stop, api, tenant, seed)) for seed, api in enumerate(writers)
        ]
        relay = asyncio.create_task(_publish_until(stop, gateway, tenant))
        async with gateway.socket(tenant, "ana") as ana, gateway.socket(tenant, "rita") as rita:
            for _ in range(3):
                for socket, topic in itertools.product((ana, rita), topics):
                    await socket.subscribe(topic)
                    await asyncio.sleep(0.01)
            stop.set()
            await asyncio.gather(*storm, relay)
            head = await gateway.relay.publish(tenant)
            for socket, person in ((ana, "ana"), (rita, "rita")):
                for topic in topics:
                    replica = await _replay_messages(socket, topic, head)
                    expected = await _expected(owner, tenant, topic, person)
                    assert replica.records == expected, (person, topic)


async def _write_until(stop: asyncio.Event, api: Connection, tenant: Tenant, seed: int) -> None:
    chance = random.Random(seed)
    leads: list[str] = []
    branches = [None, tenant.branches["north"], tenant.branches["south"]]
    while not stop.is_set():
        batch = []
        for _ in range(chance.randrange(1, 6)):
            fields = {"status": chance.choice(["new", "won", "lost"]), "branch_id": chance.choice(branches)}
            if not leads or chance.random() < 0.4:
                leads.append(new_id())
                fields["name"] = f"L{len(leads)}"
                batch.append(tenant.mutation("ana", "insert", "leads", leads[-1], fields=fields))
            elif chance.random() < 0.2:
                batch.append(
                    tenant.mutation("ana", "delete", "leads", leads.pop(chance.randrange(len(leads))))
                )
            else:
                batch.append(tenant.mutation("ana", "update", "leads", chance.choice(leads), fields=fields))
        await write(api, *batch)


async def _publish_until(stop: asyncio.Event, gateway: RunningGateway, tenant: Tenant) -> None:
    chance = random.Random(99)
    while not stop.is_set():
        if chance.random() < 0.2:
            await gateway.relay.skip(tenant)
        else:
            await gateway.relay.publish(tenant)
        await asyncio.sleep(0.002)


async def _replay_messages(socket: Socket, topic: str, head: int) -> Replica:
    """Apply all that a socket was sent of a topic, until it has come to a position."""
    replica = Replica(topic)
    taken = 0
    async with asyncio.timeout(20):
        while replica.position is None or replica.position < head:
            while taken < len(socket.messages):
                message = socket.messages[taken]
                taken += 1
                if message["type"] == "subscribed" and message["topic"] == replica.topic:
                    replica.offsets.clear()
                replica.take(message)
            socket._arrived.clear()
            if replica.position is None or replica.position < head:
                await socket._arrived.wait()
    return replica


async def _expected(
    owner: Connection, tenant: Tenant, topic: str, person: str
) -> dict[tuple[str, str], dict[str, object]]:
    condition = {
        "leads": "true",
        "*": "true",
        "leads?status=new,won": "status IN ('new', 'won')",
    }.get(topic, "(branch_id IS NULL OR branch_id = '{}')".format(tenant.branches["north"]))
    rights = "true" if person == "ana" else f"(branch_id IS NULL OR branch_id = '{tenant.branches['south']}')"
    rows = await owner.fetch(
        f"SELECT encode_record(l)::text AS record FROM leads l WHERE organization_id = $1 AND {condition} AND {rights}",
        tenant.id,
    )
    records = [("leads", orjson.loads(row["record"])) for row in rows]
    if topic == "*":
        rows = await owner.fetch(
            "SELECT encode_record(b)::text AS record FROM branches b WHERE organization_id = $1", tenant.id
        )
        records += [("branches", orjson.loads(row["record"])) for row in rows]
    return {(collection, record["id"]): record for collection, record in records}


async def test_a_broker_that_is_cancelled_at_any_moment_ends(servers: Servers) -> None:
    chance = random.Random(5)

    async def begin_and_cancel() -> None:
        redis = connect_redis(servers.redis_url)
        broker = Broker(
            redis, Metrics(), channel="test", on_message=lambda *_: None, on_subscribed=lambda _: None
        )
        running = asyncio.create_task(broker.run())
        await asyncio.sleep(chance.random() * 0.02)
        running.cancel()
        _, pending = await asyncio.wait([running], timeout=5)
        assert not pending
        await redis.aclose()

    for _ in range(10):
        await asyncio.gather(*[begin_and_cancel() for _ in range(20)])
