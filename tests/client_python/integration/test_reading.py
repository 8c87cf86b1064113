"""Live collections and streams against the real system."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from branchline_client import LiveState, State, SubscriptionRefusedError
from tests.client_python.integration.conftest import Open, client_of
from tests.client_python.integration.people import ANA, BEN, CARLA, OLGA, RITA, rows, within
from tests.stack import Stack


async def test_a_live_collection_is_what_postgresql_holds_in_the_apis_order(
    system: Stack, open_client: Open
) -> None:
    client = await open_client(ANA)
    async with within(), client.live("leads", where={"status": ["new", "won"]}, sort="name") as leads:
        await leads.wait_live()
        assert {each["id"]: each for each in leads.records} == rows(system, "status IN ('new', 'won')")
        page = await client.request("GET", "/api/leads?status=new,won&sort=name&limit=200")
        assert leads.records[:200] == page["items"]


async def test_what_others_write_arrives_with_who_and_what(system: Stack, open_client: Open) -> None:
    ana, carla = await open_client(ANA), await open_client(CARLA)
    async with within(), ana.live("leads") as leads:
        await leads.wait_live()
        updates: list[Any] = []
        leads.on_change(updates.append)
        write = carla.insert("leads", {"name": "From Carla"})
        result = await write.server
        assert result.record is not None
        await leads.wait_for(lambda it: write.id in it)
        assert leads.get(write.id) == result.record
        await carla.update("leads", write.id, {"score": 7}).server
        await leads.wait_for(lambda it: it.get(write.id)["score"] == 7)
        inserted, updated = updates[0].effects[0], updates[-1].effects[0]
        assert carla.principal is not None
        assert (inserted.kind, inserted.change.actor["user_id"]) == ("added", carla.principal.user_id)
        assert (updated.kind, updated.fields) == ("changed", {"score"})


async def test_records_enter_and_leave_a_filtered_view(system: Stack, open_client: Open) -> None:
    ana = await open_client(ANA)
    async with within(), ana.live("leads", where={"status": "won"}) as won:
        await won.wait_live()
        async with ana.live("leads") as leads:
            await leads.wait_live()
            lead = next(each for each in leads if each["status"] == "new")
        system.psql(f"UPDATE leads SET status = 'won' WHERE id = '{lead['id']}'")
        await won.wait_for(lambda it: lead["id"] in it)
        assert won.get(lead["id"]) == rows(system, f"t.id = '{lead['id']}'")[lead["id"]]
        system.psql(f"UPDATE leads SET status = 'lost' WHERE id = '{lead['id']}'")
        await won.wait_for(lambda it: lead["id"] not in it)


async def test_a_stream_gives_each_change_once_and_goes_on_where_it_was(
    system: Stack, open_client: Open
) -> None:
    ana = await open_client(ANA)
    async with within():
        stream = ana.subscribe("leads")
        await stream.begun()
        writes = [ana.insert("leads", {"name": f"stream {n}"}) for n in range(5)]
        names = []
        async for change in stream:
            names.append(change.fields["name"])
            if len(names) == 3:
                break
        position = stream.position
        stream.close()
        await asyncio.gather(*(write.server for write in writes))
        assert names == ["stream 0", "stream 1", "stream 2"]
        assert position is not None
        async for change in ana.subscribe("leads", since=position):
            if change.mutation_id == writes[4].mutation_id:
                break
            # What was pushed in one transaction comes whole: only what was taken counts as seen.
            names.append(change.fields["name"])
        assert names[-1] == "stream 3"


async def test_a_stream_from_a_snapshot_tells_every_record_first(system: Stack, open_client: Open) -> None:
    ana = await open_client(ANA)
    async with within():
        stream = ana.subscribe("branches", since=None)
        first = await anext(stream)
        assert first.operation == "reset"
        entered = [(await anext(stream)).fields["slug"] for _ in range(3)]
        assert set(entered) == {"north", "south", "harbour"}


async def test_a_collection_that_joins_a_stream_has_the_records_and_what_follows(
    system: Stack, open_client: Open
) -> None:
    ana, ben = await open_client(ANA), await open_client(BEN)
    async with within():
        stream = ana.subscribe("leads")
        await stream.begun()
        first = ben.insert("leads", {"name": "before"})
        while (await anext(stream)).id != first.id:
            pass
        async with ana.live("leads") as leads:
            second = ben.insert("leads", {"name": "during"})
            await leads.wait_live()
            await leads.wait_for(lambda it: second.id in it)
            assert {each["id"]: each for each in leads.records} == rows(system)
        assert (await anext(stream)).id == second.id


async def test_a_person_sees_what_they_may_read(system: Stack, open_client: Open) -> None:
    rita, olga = await open_client(RITA), await open_client(OLGA)
    async with within(), rita.live("leads") as of_rita, olga.live("leads") as of_olga:
        await of_rita.wait_live()
        await of_olga.wait_live()
        own = "(branch_id IS NULL OR branch_id IN (SELECT id FROM branches WHERE slug = 'south'))"
        assert {each["id"]: each for each in of_rita.records} == rows(system, own)
        assert not {each["organization_id"] for each in of_olga} & {
            each["organization_id"] for each in of_rita
        }


async def test_a_topic_that_cannot_be_followed_says_why(open_client: Open) -> None:
    ana = await open_client(ANA)
    async with within():
        with pytest.raises(SubscriptionRefusedError, match="notes") as refused:
            await anext(ana.subscribe("leads", where={"notes": "x"}))
        assert refused.value.code == "not_filterable"
        async with ana.live("weather") as weather:
            with pytest.raises(SubscriptionRefusedError):
                await weather.wait_live()
            assert weather.state is LiveState.ENDED


async def test_a_client_that_was_away_goes_on_from_its_disk(system: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with within(), client_of(system, ANA, store=folder) as ana, ana.live("leads", sort="name") as leads:
        await leads.wait_live()
        count = len(leads)
    for score in (1, 2):
        system.psql(
            f"UPDATE leads SET score = {score} WHERE id IN (SELECT id FROM leads WHERE status = 'new' LIMIT 50)"
        )
    facts: list[str] = []
    async with within(), client_of(system, ANA, store=folder) as again:
        again.on_fact(lambda spec, fact: facts.append(type(fact).__name__))
        async with again.live("leads", sort="name") as leads:
            assert (leads.state, len(leads)) == (LiveState.STALE, count)
            await leads.wait_live()
            # The gateway itself may not have heard of the last update yet.
            await leads.wait_for(lambda it: {each["id"]: each for each in it.records} == rows(system))
    assert "Replaced" not in facts


async def test_without_sockets_changes_are_pulled(system: Stack, open_client: Open) -> None:
    ana = await open_client(ANA, sockets=False, poll_seconds=0.1)
    assert ana.state is State.POLLING
    ben = await open_client(BEN)
    async with within(), ana.live("leads", where={"status": "new"}) as leads:
        stream = ana.subscribe("leads")
        await leads.wait_live()
        await stream.begun()
        write = ben.insert("leads", {"name": "polled", "status": "new"})
        await leads.wait_for(lambda it: write.id in it)
        async for change in stream:
            if change.id == write.id:
                break
        own = ana.insert("leads", {"name": "own", "status": "new"})
        await own.server
        await ben.update("leads", write.id, {"status": "lost"}).server
        await leads.wait_for(lambda it: write.id not in it)
        assert {each["id"]: each for each in leads.records} == rows(system, "status = 'new'")
