"""Presence, leases and signals: on one gateway, and between two of them on real servers."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from cli.ports import pick_free
from gateway.options import Options
from gateway.sweep import TICK_SECONDS
from tests.gateways import SECRET, RunningGateway, Socket, run_gateway, wait_until
from tests.integration.gateway.leads import change_lead, delete_lead, make_lead
from tests.integration.gateway.onlookers import Onlooker
from tests.servers import HOST, Database, Servers
from tests.tenants import Connection, Tenant, create_tenant, new_id

GHOST_SECONDS = 10.0


@pytest.fixture
async def other_gateway(servers: Servers, database: Database) -> AsyncIterator[RunningGateway]:
    """Another gateway on the test's database."""
    async with run_gateway(database, servers.redis_url) as running:
        yield running


async def announce(socket: Socket, topic: str, state: Any) -> None:
    await socket.send(type="announce", topic=topic, state=state)


async def rejection(socket: Socket, topic: str, state: Any) -> str:
    """Announce something that is not done; give the code."""
    await announce(socket, topic, state)
    rejected = await socket.next("rejected")
    assert rejected["id"] is None
    return str(rejected["code"])


async def hear_all(socket: Socket) -> None:
    """Wait until everything that was sent before now has come, and what it led to in a burst as well."""
    for _ in range(3):
        await socket.send(type="ping", sent_at_ms=1)
        await socket.next("pong")
        await asyncio.sleep(0)


def said(socket: Socket, *types: str) -> list[dict[str, Any]]:
    return [message for message in socket.messages if message["type"] in types]


async def wait_for_signal(socket: Socket) -> None:
    await wait_until(lambda: said(socket, "signal"))


# Who is here.


async def test_the_roster_then_who_joins_changes_and_leaves_across_gateways(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "ana") as ana, other_gateway.socket(tenant, "vera") as vera:
        await announce(ana, "leads", {"mood": "calm"})
        ana_sees, vera_sees = Onlooker(ana), Onlooker(vera)
        await ana_sees.watch("leads")
        await ana_sees.sees("leads", Ana={"mood": "calm"})
        await vera_sees.watch("leads")
        await vera_sees.sees("leads", Ana={"mood": "calm"})
        async with gateway.socket(tenant, "ben") as ben:
            await announce(ben, "leads", {})
            for each in (ana_sees, vera_sees):
                await each.sees("leads", Ana={"mood": "calm"}, Ben={})
            [entry] = [each for each in vera_sees.rosters["leads"].values() if each["name"] == "Ben"]
            assert entry["user_id"] == tenant.people["ben"]
            assert entry["branch_id"] == tenant.branches["north"]
            await announce(ben, "leads", {"mood": "busy"})
            for each in (ana_sees, vera_sees):
                await each.sees("leads", Ana={"mood": "calm"}, Ben={"mood": "busy"})
            await announce(ana, "leads", None)
            for each in (ana_sees, vera_sees):
                await each.sees("leads", Ben={"mood": "busy"})
        # The socket has ended without a word.
        for each in (ana_sees, vera_sees):
            await each.sees("leads")


async def test_the_first_socket_of_a_gateway_gets_the_others_in_its_roster(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "ana") as ana:
        await announce(ana, "leads", {})
        await hear_all(ana)
        async with other_gateway.socket(tenant, "vera") as vera:
            await vera.send(type="subscribe", id=1, topic="leads", since="now", presence=True)
            roster = await vera.next("presence")
            assert [each["name"] for each in roster["joined"]] == ["Ana"]
            assert (roster["left"], roster["changed"], roster["count"]) == ([], [], 1)
            assert [m["type"] for m in vera.messages if m["type"] in ("subscribed", "presence")] == [
                "subscribed",
                "presence",
            ]


async def test_topics_in_other_spellings_are_one_and_other_topics_are_not(
    gateway: RunningGateway, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "ana") as ana, gateway.socket(tenant, "vera") as vera:
        vera_sees = Onlooker(vera)
        await vera_sees.watch("leads?status=new,won")
        await vera_sees.watch("deals")
        await announce(ana, "leads?status=won,new", {})
        await announce(ana, "leads", {"elsewhere": True})
        await vera_sees.sees("leads?status=new,won", Ana={})
        assert vera_sees.states("deals") == {}


async def test_who_did_not_ask_and_other_organisations_hear_nothing(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant, owner: Connection, api: Connection
) -> None:
    stranger = await create_tenant(owner, "stranger")
    lead = await make_lead(api, tenant)
    async with (
        gateway.socket(tenant, "ana") as ana,
        gateway.socket(tenant, "ben") as ben,
        gateway.socket(stranger, "ana") as near,
        other_gateway.socket(stranger, "ben") as far,
        other_gateway.socket(tenant, "vera") as vera,
    ):
        strangers = [Onlooker(near), Onlooker(far)]
        for each in strangers:
            await each.watch("leads")
            await each.watch("*")
            await each.watch(f"leads/{lead}")
        await ben.subscribe("leads", "now")
        vera_sees = Onlooker(vera)
        await vera_sees.watch("leads")
        await announce(ana, "leads", {"record": lead, "field": "name"})
        await ana.send(type="signal", topic="leads", event="wave", payload="secret")
        await vera_sees.sees("leads", Ana={"record": lead, "field": "name", "version": 1})
        await wait_for_signal(vera)
        for socket in (near, far):
            await hear_all(socket)
            assert all(not each["joined"] for each in said(socket, "presence"))
            assert not said(socket, "signal")
            # Nor may they announce something about a record of another organisation.
            assert await rejection(socket, "leads", {"record": lead}) == "not_found"
        await hear_all(ben)
        assert not said(ben, "presence")


async def test_no_ghosts_of_a_gateway_that_was_killed(
    gateway: RunningGateway, servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with gateway.socket(tenant, "vera") as vera, separate_gateway(servers, database) as (url, process):
        vera_sees = Onlooker(vera)
        await vera_sees.watch("leads")
        async with Socket.open(url) as ana:
            await ana.authenticate(gateway.token(tenant, "ana"))
            await announce(ana, "leads", {"mood": "calm"})
            await vera_sees.sees("leads", Ana={"mood": "calm"})
            process.send_signal(signal.SIGKILL)
            killed_at = time.monotonic()
            await process.wait()
            await vera_sees.sees("leads", GHOST_SECONDS)
            assert time.monotonic() - killed_at <= GHOST_SECONDS


async def test_no_ghost_of_a_socket_whose_peer_is_dead(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    """It is let go by the second ping that it does not answer: after 20 s and a tick, by default."""
    async with (
        run_gateway(database, servers.redis_url, ping_seconds=1.0) as gateway,
        gateway.socket(tenant, "vera") as vera,
        gateway.socket(tenant, "ana") as ana,
    ):
        vera_sees = Onlooker(vera)
        await vera_sees.watch("leads")
        await announce(ana, "leads", {"mood": "calm"})
        await vera_sees.sees("leads", Ana={"mood": "calm"})
        ana.connection.transport.pause_reading()
        await vera_sees.sees("leads")
        assert gateway.gateway.metrics.closes == {1006: 1}
    assert 2 * Options().ping_seconds + TICK_SECONDS <= 25


@contextlib.asynccontextmanager
async def separate_gateway(servers: Servers, database: Database) -> AsyncIterator[tuple[str, Process]]:
    """A gateway as a process of its own, which may be killed."""
    port, status_port = sorted((pick_free(HOST), pick_free(HOST)))
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "REDIS_URL": servers.redis_url,
        "BRANCHLINE_SECRET": SECRET,
        "BRANCHLINE_HOST": HOST,
        "BRANCHLINE_GATEWAY_PORT": str(port),
        "BRANCHLINE_GATEWAY_INDEX": str(status_port - port),
    }
    command = [str(Path(sys.executable).with_name("branchline")), "gateway"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"ws://{HOST}:{port}/ws"
        async with asyncio.timeout(30):
            while True:
                assert process.returncode is None, "the gateway did not start"
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield url, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_an_organisation_that_nobody_is_left_of_is_let_go_and_begun_anew(
    gateway: RunningGateway,
    other_gateway: RunningGateway,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with other_gateway.socket(tenant, "vera") as vera:
        await announce(vera, "leads", {})
        monkeypatch.setattr("gateway.intake.LINGER_SECONDS", 0.0)
        for _ in range(2):
            async with gateway.socket(tenant, "ana") as ana:
                ana_sees = Onlooker(ana)
                await ana_sees.watch("leads")
                await ana_sees.sees("leads", Vera={})
            await wait_until(lambda: not gateway.gateway.intake.organizations)
            assert gateway.gateway.gauges()["presence_entries"] == 0


# Leases.


async def test_a_lease_is_seen_on_every_topic_that_contains_its_record(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    lead = await make_lead(api, tenant, status="new")
    lease = {"record": lead, "field": "name"}
    shown = {**lease, "version": 1}
    async with gateway.socket(tenant, "ana") as ana, other_gateway.socket(tenant, "vera") as vera:
        vera_sees = Onlooker(vera)
        inside = ("*", "leads", f"leads/{lead}", "leads?status=new")
        outside = ("deals", f"leads/{new_id()}", "leads?status=won")
        for topic in (*inside, *outside):
            await vera_sees.watch(topic)
        await announce(ana, f"leads/{lead}", lease)
        for topic in inside:
            await vera_sees.sees(topic, Ana=shown)
        assert [vera_sees.states(topic) for topic in outside] == [{}, {}, {}]
        # The record moves out of one view and into another; the lease goes with it.
        await change_lead(api, tenant, lead, status="won")
        await gateway.relay.publish(tenant)
        await vera_sees.sees("leads?status=won", Ana=shown)
        await vera_sees.sees("leads?status=new")
        await delete_lead(api, tenant, lead)
        await gateway.relay.publish(tenant)
        for topic in (*inside, *outside):
            await vera_sees.sees(topic)


async def test_a_connection_with_more_leases_shows_them_all_and_the_version_is_its_own(
    gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    leads = [await make_lead(api, tenant), await make_lead(api, tenant)]
    async with gateway.socket(tenant, "ana") as ana, gateway.socket(tenant, "vera") as vera:
        vera_sees = Onlooker(vera)
        await vera_sees.watch("leads")
        await announce(ana, "leads", {"here": True})
        states = [{"record": lead, "field": "name", "version": 7} for lead in leads]
        await announce(ana, f"leads/{leads[0]}", states[0])
        await announce(ana, f"leads/{leads[1]}", states[1])
        await vera_sees.sees("leads", Ana=states[1])
        [entry] = vera_sees.rosters["leads"].values()
        assert entry["leases"] == [states[1], states[0]]
        await announce(ana, f"leads/{leads[1]}", None)
        await vera_sees.sees("leads", Ana=states[0])
        await announce(ana, f"leads/{leads[0]}", None)
        await vera_sees.sees("leads", Ana={"here": True})


async def test_who_reads_one_branch_sees_nothing_of_another(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    north, south = tenant.branches["north"], tenant.branches["south"]
    hidden = await make_lead(api, tenant, branch_id=north)
    open_to_her = await make_lead(api, tenant, branch_id=south)
    for each in (gateway, other_gateway):
        async with gateway.socket(tenant, "ben") as ben, each.socket(tenant, "rita") as rita:
            rita_sees = Onlooker(rita)
            topics = ("*", "leads", f"leads/{hidden}", f"leads/{open_to_her}", f"leads?branch_id={north}")
            for topic in topics:
                await rita_sees.watch(topic)
            await announce(ben, f"leads/{hidden}", {"record": hidden, "field": "name"})
            await announce(ben, "leads", {"record": hidden, "field": "name"})
            await announce(ben, f"leads?branch_id={north}", {"canary": 1})
            await ben.send(type="signal", topic=f"leads/{hidden}", event="wave", payload="canary")
            await ben.send(type="signal", topic=f"leads?branch_id={north}", event="wave", payload="canary")
            await ben.send(type="signal", topic="leads", event="wave", payload={"record": hidden})
            # Told after all of these, so that by then they would have come.
            await announce(ben, f"leads/{open_to_her}", {"record": open_to_her, "field": "phone"})
            await rita_sees.sees("leads", Ben={"record": open_to_her, "field": "phone", "version": 1})
            await ben.send(type="signal", topic="leads", event="last", payload=None)
            await wait_for_signal(rita)
            told = said(rita, "presence", "signal")
            assert not [m for m in told if "canary" in str(m) or (hidden in str(m) and m.get("joined"))]
            assert [m["event"] for m in said(rita, "signal")] == ["last"]
            # And she learns nothing by announcing.
            assert await rejection(rita, "leads", {"record": hidden}) == "not_found"
            assert await rejection(rita, f"leads/{hidden}", {}) == "not_found"
            assert await rejection(rita, f"leads?branch_id={north}", {}) == "forbidden"


async def test_a_lease_vanishes_for_her_when_its_record_moves_away(
    gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    lead = await make_lead(api, tenant, branch_id=tenant.branches["south"])
    async with gateway.socket(tenant, "ana") as ana, gateway.socket(tenant, "rita") as rita:
        rita_sees = Onlooker(rita)
        await rita_sees.watch("leads")
        await announce(ana, "leads", {"record": lead, "field": "name"})
        await rita_sees.sees("leads", Ana={"record": lead, "field": "name", "version": 1})
        await change_lead(api, tenant, lead, branch_id=tenant.branches["north"])
        await gateway.relay.publish(tenant)
        await rita_sees.sees("leads")


# Signals.


async def test_a_signal_comes_to_the_others_on_the_topic_and_to_nobody_else(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant
) -> None:
    async with (
        gateway.socket(tenant, "ana") as ana,
        gateway.socket(tenant, "ben") as near,
        other_gateway.socket(tenant, "vera") as far,
        other_gateway.socket(tenant, "carla") as elsewhere,
    ):
        for socket in (ana, near, far):
            await socket.subscribe("leads", "now")
        await elsewhere.subscribe("deals", "now")
        await ana.send(type="signal", topic="leads", event="wave", payload={"n": 1})
        for socket in (near, far):
            heard = await socket.next("signal")
            sender = {key: heard["from"][key] for key in ("user_id", "name")}
            assert (heard["topic"], heard["event"], heard["payload"]) == ("leads", "wave", {"n": 1})
            assert sender == {"user_id": tenant.people["ana"], "name": "Ana"}
        for socket in (ana, elsewhere):
            await hear_all(socket)
            assert not said(socket, "signal")


# Limits.


async def test_what_is_too_much_or_makes_no_sense_is_refused(
    gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    lead = await make_lead(api, tenant)
    async with gateway.socket(tenant, "ana") as ana:
        assert await rejection(ana, "leads", {"text": "x" * 1024}) == "too_large"
        for depth in (250, 253, 300):
            deep = '{"d":' * depth + "{}" + "}" * depth
            await ana.connection.send(f'{{"type":"announce","topic":"leads","state":{deep}}}')
            assert (await ana.next("rejected"))["code"] in ("invalid_value", "too_large")
        assert await rejection(ana, "leeds", {}) == "unknown_collection"
        assert await rejection(ana, "leads", {"record": 5}) == "invalid_value"
        assert await rejection(ana, "leads", {"record": new_id()}) == "not_found"
        assert await rejection(ana, "leads", {"record": lead, "field": "nope"}) == "unknown_field"
        assert await rejection(ana, "leads", {"record": lead, "version": "1"}) == "invalid_value"
        assert await rejection(ana, f"leads/{new_id()}", {"record": lead}) == "invalid_value"
        assert await rejection(ana, f"leads/{new_id()}", {}) == "not_found"
        assert await rejection(ana, "*", {"record": lead}) == "invalid_value"
        await ana.send(type="signal", topic="leads", event="e", payload="x" * 4096)
        assert (await ana.next("rejected"))["code"] == "too_large"
        await ana.send(type="signal", topic=f"leads/{new_id()}", event="e", payload=1)
        assert (await ana.next("rejected"))["code"] == "not_found"
        for number in range(20):
            await announce(ana, f"leads?client_id={new_id()}" if number else "leads", {})
        before = len(said(ana, "rejected"))
        assert await rejection(ana, "deals", {}) == "too_many_announcements"
        assert len(said(ana, "rejected")) == before + 1
        await announce(ana, "leads", None)
        await announce(ana, "deals", {})
        await hear_all(ana)
        assert len(said(ana, "rejected")) == before + 1


async def test_a_flood_of_announcements_delays_nobody(
    gateway: RunningGateway, other_gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    lead = await make_lead(api, tenant)
    async with (
        gateway.socket(tenant, "ben") as flooder,
        gateway.socket(tenant, "ana") as ana,
        other_gateway.socket(tenant, "vera") as vera,
    ):
        ana_sees, vera_sees = Onlooker(ana), Onlooker(vera)
        await ana_sees.watch("leads")
        await vera_sees.watch("leads")
        is_flooding = True

        async def flood() -> int:
            number = 0
            while is_flooding or number < 200:
                for _ in range(10):
                    number += 1
                    await announce(flooder, "leads", {"record": lead, "n": number})
                # A pace, about fifty times what the limit allows: clients and gateways share one event loop here.
                await asyncio.sleep(0.01)
            return number

        flooding = asyncio.create_task(flood())
        await wait_until(lambda: ana_sees.states("leads"))
        ways = []
        for _ in range(50):
            began = time.monotonic()
            await ana.send(type="ping", sent_at_ms=1)
            await ana.next("pong")
            ways.append(time.monotonic() - began)
        is_flooding = False
        sent = await flooding
        last = {"version": 1, "record": lead, "n": sent}
        for each in (ana_sees, vera_sees):
            # The last one comes, and most of the others went with a later one.
            await each.sees("leads", Ben=last)
            assert len(said(each.socket, "presence")) < sent / 5
        assert sorted(ways)[len(ways) // 2] < 0.1


async def test_announcements_count_as_messages(servers: Servers, database: Database, tenant: Tenant) -> None:
    async with (
        run_gateway(database, servers.redis_url, messages_per_second_per_user=20) as gateway,
        gateway.socket(tenant, "ana") as ana,
    ):
        for _ in range(60):
            await ana.send(type="signal", topic="leads", event="e", payload=1)
        assert await ana.wait_closed() == 4508


# Those who cannot be told at the moment.


async def test_who_did_not_read_is_told_later_what_has_changed_since(
    servers: Servers, database: Database, tenant: Tenant
) -> None:
    async with (
        run_gateway(database, servers.redis_url) as gateway,
        gateway.socket(tenant, "ana") as ana,
        gateway.socket(tenant, "ben") as ben,
        gateway.socket(tenant, "vera") as vera,
    ):
        vera_sees = Onlooker(vera)
        await vera_sees.watch("leads")
        await announce(ana, "leads", {"n": 0})
        await announce(ben, "leads", {"n": 0})
        await vera_sees.sees("leads", Ana={"n": 0}, Ben={"n": 0})
        [seat] = [s for s in gateway.gateway.server.seats if s.principal and s.principal.name == "Vera"]
        # As the event loop would say it, if she did not read.
        seat.connection.pause_writing()
        async with gateway.socket(tenant, "carla") as carla:
            ana_sees = Onlooker(ana)
            await ana_sees.watch("leads")
            await announce(ana, "leads", {"n": 1})
            await announce(ben, "leads", None)
            await announce(carla, "leads", {})
            await ana_sees.sees("leads", Ana={"n": 1}, Carla={})
            before = len(said(vera, "presence"))
            seat.connection.resume_writing()
            await vera_sees.sees("leads", Ana={"n": 1}, Carla={})
            assert len(said(vera, "presence")) == before + 1


async def test_rights_that_are_lost_end_what_one_announced_and_what_one_saw(
    gateway: RunningGateway, tenant: Tenant, api: Connection, owner: Connection
) -> None:
    lead = await make_lead(api, tenant, branch_id=tenant.branches["north"])
    async with gateway.socket(tenant, "carla") as carla, gateway.socket(tenant, "ana") as ana:
        carla_sees, ana_sees = Onlooker(carla), Onlooker(ana)
        await carla_sees.watch("leads")
        await ana_sees.watch("leads")
        lease = {"record": lead, "field": "name"}
        await announce(carla, "leads", lease)
        await ana_sees.sees("leads", Carla={**lease, "version": 1})
        await owner.execute(
            "UPDATE organization_members SET reads = 'own' WHERE user_id = $1", tenant.people["carla"]
        )
        await gateway.relay.publish(tenant)
        await ana_sees.sees("leads")
        assert (await carla.next("unsubscribed"))["reason"] == "revoked"
        carla_sees.look()
        carla_sees.rosters.clear()
        await carla_sees.watch("leads")
        await announce(ana, "leads", lease)
        await ana_sees.sees("leads", Ana={**lease, "version": 1})
        await hear_all(carla)
        assert carla_sees.states("leads") == {}


# Receipts and freshness.


async def test_receipts_become_a_histogram_and_garbage_is_counted(
    gateway: RunningGateway, tenant: Tenant, api: Connection
) -> None:
    async with Socket.open(gateway.url) as ana, gateway.socket(tenant, "ben") as ben:
        token = gateway.token(tenant, "ana")
        await ana.send(type="authenticate", client_id=new_id(), token=token, receipts=True)
        await ana.next("ready")
        for socket in (ana, ben):
            await socket.subscribe("leads", "now")
        await make_lead(api, tenant)
        await gateway.relay.publish(tenant)
        [change] = (await ana.next("delta"))["changes"]
        offset, committed = change["offset"], change["committed_at_ms"]
        before = shown_count()
        for shown_at_ms in (committed - 5_000, committed + 3_600_000, 2**62):
            await ana.send(type="receipt", offset=offset, shown_at_ms=shown_at_ms)
        await ana.send(type="receipt", offset=offset + 1, shown_at_ms=committed)
        await ana.send(type="receipt", offset=offset, shown_at_ms=committed)
        await ana.send(type="receipt", offset=offset, shown_at_ms=committed)
        # Who did not say that they would send receipts sends none.
        await ben.send(type="receipt", offset=offset, shown_at_ms=committed)
        await hear_all(ana)
        await hear_all(ben)
        assert shown_count() == before + 1
        ignored = gateway.gateway.metrics.ignored_receipts
        assert ignored == {"unknown_offset": 1, "repeated": 1, "clock": 3, "too_long": 0}


def shown_count() -> float:
    """How many receipts have counted, in this process."""
    value = REGISTRY.get_sample_value("branchline_hop_seconds_count", {"hop": "screen"})
    assert value is not None
    return value


async def test_the_head_says_up_to_when_the_log_was_known_to_be_complete(
    servers: Servers, database: Database, tenant: Tenant, api: Connection
) -> None:
    async with (
        run_gateway(database, servers.redis_url, heartbeat_ms=200, silence_seconds=60) as gateway,
        gateway.socket(tenant) as ana,
    ):
        await ana.subscribe("leads", "now")
        began_ms = int(time.time() * 1000)
        await make_lead(api, tenant)
        head = await gateway.relay.publish(tenant)
        while (message := await ana.next("head"))["offset"] < head or message["at_ms"] < began_ms:
            pass
        assert message["at_ms"] <= int(time.time() * 1000)
        # Nobody says any longer where the log's head is: time goes on, and what is known does not.
        gateway.relay.is_beating = False
        for _ in range(2):
            await gateway.relay.head(tenant.id)
            last = await ana.next("head")
        later = [await ana.next("head") for _ in range(3)]
        assert {each["at_ms"] for each in later} == {last["at_ms"]}
