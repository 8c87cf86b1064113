"""Writes against the real system: shown at once, sent once, refused without blocking, lost never in silence."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from branchline_client import Client, Loss, WriteRefusedError, connect, identity, session
from branchline_client.clock import parse_clock
from tests.client_python.integration.conftest import Open, client_of
from tests.client_python.integration.people import ANA, BEN, CARLA, VERA, effects, row, within
from tests.client_python.transports import Faulty
from tests.stack import Stack


async def test_a_write_shows_at_once_is_kept_sent_and_confirmed(
    system: Stack, open_client: Open, tmp_path: Path
) -> None:
    ben = await open_client(BEN, store=tmp_path / "ben")
    async with within(), ben.live("leads") as leads:
        await leads.wait_live()
        write = ben.insert("leads", {"name": "At once"})
        shown = leads.get(write.id)
        assert shown is not None
        assert (shown["name"], shown["branch_id"], shown["version"]) == (
            "At once",
            ben.principal.branch_ids[0],
            0,
        )
        assert leads.state_of(write.id) == "local"
        await write.local
        result = await write.server
        assert (result.status, result.version) == ("applied", 1)
        await leads.wait_for(lambda it: it.get(write.id) == row(system, write.id))
        assert leads.state_of(write.id) == "saved"
        assert ben.pending == 0


async def test_nothing_flickers_between_a_write_its_answer_and_its_delta(open_client: Open) -> None:
    ana = await open_client(ANA)
    async with within(), ana.live("leads") as leads:
        await leads.wait_live()
        write = ana.insert("leads", {"name": "v0"})
        seen: list[Any] = []
        leads.on_change(
            lambda update: seen.extend(
                (e.after or {}).get("name") for e in update.effects if e.id == write.id
            )
        )
        for n in range(1, 20):
            ana.update("leads", write.id, {"name": f"v{n}"})
            await asyncio.sleep(0)
        await ana.drain()
        await leads.wait_for(lambda it: it.server_record(write.id) is not None)
        await leads.wait_for(lambda it: it.server_record(write.id)["name"] == "v19")
        numbers = [int(name[1:]) for name in seen]
        assert numbers == sorted(numbers)
        assert leads.get(write.id)["name"] == "v19"


async def test_a_thousand_writes_go_in_a_few_requests_and_each_takes_effect_once(
    system: Stack, open_client: Open
) -> None:
    transport = Faulty()
    ana = await open_client(ANA, transport=transport)
    async with within():
        transport.is_cut = True
        writes = [ana.insert("leads", {"name": f"bulk {n}", "score": n % 100}) for n in range(1_000)]
        transport.is_cut = False
        results = await asyncio.gather(*(write.server for write in writes))
    assert {result.status for result in results} == {"applied"}
    assert transport.sent <= 5
    assert effects(system, [write.mutation_id for write in writes]) == dict.fromkeys(
        (write.mutation_id for write in writes), 1
    )


async def test_answers_that_are_lost_on_their_way_do_no_harm(system: Stack, open_client: Open) -> None:
    transport = Faulty(lose_every=2)
    ana = await open_client(ANA, transport=transport)
    async with within():
        writes = []
        for n in range(10):
            write = ana.insert("leads", {"name": f"lost answer {n}"})
            writes += [write, ana.update("leads", write.id, {"score": n})]
            await write.server
        results = await asyncio.gather(*(write.server for write in writes))
    assert transport.lost >= 5
    assert any(result.is_repeat for result in results)
    assert set(effects(system, [write.mutation_id for write in writes]).values()) == {1}
    assert [row(system, write.id)["score"] for write in writes[::2]] == list(range(10))  # type: ignore[index]


async def test_a_refused_write_is_in_the_inbox_and_blocks_nothing(system: Stack, open_client: Open) -> None:
    ana = await open_client(ANA)
    async with within(), ana.live("leads") as leads:
        await leads.wait_live()
        good = ana.insert("leads", {"name": "Good"})
        bad = ana.update("leads", good.id, {"score": 1_000})
        after = ana.update("leads", good.id, {"company": "Still sent"})
        other = ana.insert("leads", {"name": "Other"})
        assert leads.get(good.id)["score"] == 1_000
        with pytest.raises(WriteRefusedError) as refused:
            await bad.server
        assert (refused.value.code, refused.value.entry.mutation.fields) == ("invalid", {"score": 1_000})
        await asyncio.gather(good.server, after.server, other.server)
        await leads.wait_for(lambda it: it.get(good.id) == row(system, good.id))
        assert (leads.get(good.id)["score"], leads.get(good.id)["company"]) == (None, "Still sent")
        assert leads.state_of(good.id) == "needs-review"
        [entry] = ana.inbox
        [again] = ana.inbox.retry(entry, {"score": 100})
        assert leads.get(good.id)["score"] == 100
        assert (await again.server).status == "applied"
        assert len(ana.inbox) == 0


async def test_what_followed_a_refused_insert_waits_in_the_inbox_and_comes_back_with_it(
    system: Stack, open_client: Open, tmp_path: Path
) -> None:
    ana = await open_client(ANA, store=tmp_path / "ana")
    async with within():
        insert = ana.insert("leads", {"name": ""})
        update = ana.update("leads", insert.id, {"company": "Follows"})
        for write in (insert, update):
            with pytest.raises(WriteRefusedError):
                await write.server
        codes = {entry.id: (entry.code, entry.depends_on) for entry in ana.inbox}
        assert codes == {
            insert.mutation_id: ("invalid", ()),
            update.mutation_id: ("refused_by_dependency", (insert.mutation_id,)),
        }
        entry = ana.inbox.get(insert.mutation_id)
        assert entry is not None
        writes = ana.inbox.retry(entry, {"name": "Now with a name"})
        await asyncio.gather(*(write.server for write in writes))
        found = row(system, insert.id)
        assert found is not None
        assert (found["name"], found["company"]) == ("Now with a name", "Follows")


async def test_records_that_refer_to_each_other_are_made_offline_in_any_depth(
    system: Stack, open_client: Open
) -> None:
    transport = Faulty()
    ana = await open_client(ANA, transport=transport)
    async with within():
        transport.is_cut = True
        company = ana.insert("clients", {"name": "Offline & Sons"})
        lead = ana.insert("leads", {"name": "Lead", "client_id": company.id})
        deal = ana.insert("deals", {"name": "Deal", "lead_id": lead.id, "client_id": company.id})
        transport.is_cut = False
        results = await asyncio.gather(company.server, lead.server, deal.server)
    assert [result.status for result in results] == ["applied"] * 3
    assert row(system, deal.id, "deals")["lead_id"] == lead.id  # type: ignore[index]


async def test_a_viewer_is_refused_and_keeps_what_they_typed(open_client: Open) -> None:
    vera = await open_client(VERA)
    async with within():
        write = vera.insert("leads", {"name": "Typed in vain"})
        with pytest.raises(WriteRefusedError) as refused:
            await write.server
        assert (refused.value.code, refused.value.entry.mutation.fields) == (
            "forbidden",
            {"name": "Typed in vain"},
        )


async def prepare_lead(client: Client, **fields: Any) -> str:
    write = client.insert("leads", {"name": "Shared", **fields})
    await write.server
    return write.id


async def test_different_fields_of_two_branches_both_stay(system: Stack, open_client: Open) -> None:
    ana, transport = await open_client(ANA), Faulty()
    away = await open_client(ANA, transport=transport)
    async with within():
        lead = await prepare_lead(ana)
        transport.is_cut = True
        offline = away.update("leads", lead, {"phone": "1"})
        await ana.update("leads", lead, {"email": "a@b.example"}).server
        transport.is_cut = False
        assert (await offline.server).status == "applied"
    found = row(system, lead)
    assert found is not None
    assert (found["phone"], found["email"]) == ("1", "a@b.example")


async def test_a_value_that_lost_on_its_way_is_shown_and_can_be_restored(
    system: Stack, open_client: Open
) -> None:
    ana, transport = await open_client(ANA), Faulty()
    away = await open_client(CARLA, transport=transport)
    losses: list[Loss] = []
    away.lost.on_loss(losses.append)
    async with within():
        lead = await prepare_lead(away)
        transport.is_cut = True
        offline = away.update("leads", lead, {"phone": "typed offline"})
        await asyncio.sleep(0.002)
        await ana.update("leads", lead, {"phone": "typed later"}).server
        transport.is_cut = False
        result = await offline.server
        assert result.status == "merged"
        assert ana.principal is not None
        [loss] = losses_of(away, lead)
        assert [each for each in losses if each.record_id == lead] == [loss]
        assert (loss.kind, loss.mine, loss.theirs, loss.by) == (
            "lost",
            "typed offline",
            "typed later",
            ana.principal.user_id,
        )
        assert row(system, lead)["phone"] == "typed later"  # type: ignore[index]
        await (await away.lost.restore(loss)).server
        assert row(system, lead)["phone"] == "typed offline"  # type: ignore[index]
        assert losses_of(away, lead) == []


async def test_a_value_that_somebody_replaced_unseen_is_told_to_its_author(open_client: Open) -> None:
    carla, transport = await open_client(CARLA), Faulty()
    ana = await open_client(ANA, transport=transport)
    async with within(), carla.live("leads") as leads, ana.live("leads") as of_ana:
        await leads.wait_live()
        await of_ana.wait_live()
        lead = await prepare_lead(carla)
        await of_ana.wait_for(lambda it: it.server_record(lead) is not None)
        seen = of_ana.server_record(lead)["version"]
        await carla.update("leads", lead, {"phone": "of Carla"}).server
        # Typed later by the clock, by somebody whose screen did not show Carla's value yet.
        await ana.update("leads", lead, {"phone": "of Ana"}, base_version=seen).server
        while not losses_of(carla, lead):
            await asyncio.sleep(0.01)
        [loss] = losses_of(carla, lead)
        assert (loss.kind, loss.mine, loss.theirs) == ("overwritten", "of Carla", "of Ana")
        assert [item["field"] for item in await listed(carla, lead)] == ["phone"]
        await carla.lost.dismiss(loss)
        assert await listed(carla, lead) == []


def losses_of(client: Client, lead: str) -> list[Loss]:
    """What this person has lost of a lead: other tests of the same people leave something, too."""
    return [loss for loss in client.lost if loss.record_id == lead]


async def listed(client: Client, lead: str) -> list[dict[str, Any]]:
    """What the API still has to tell of a lead's overwritten values."""
    answer = await client.request("GET", "/api/overwritten")
    return [item for item in answer["items"] if item["record_id"] == lead]


async def test_who_was_away_is_told_at_the_next_start_and_once(system: Stack, open_client: Open) -> None:
    ana = await open_client(ANA)
    async with within():
        async with client_of(system, CARLA) as carla:
            lead = await prepare_lead(carla, phone="of Carla")
        ana.update("leads", lead, {"phone": "of Ana"}, base_version=0)
        await ana.drain()
        async with client_of(system, CARLA) as carla, carla.live("leads") as leads:
            while not losses_of(carla, lead):
                await asyncio.sleep(0.01)
            await leads.wait_live()
            [loss] = losses_of(carla, lead)
            assert (loss.mine, loss.theirs) == ("of Carla", "of Ana")
            await carla.lost.dismiss(loss)
        async with client_of(system, CARLA) as carla:
            await carla.wait_live()
            assert await listed(carla, lead) == []


async def test_an_amount_is_not_merged_but_one_may_correct_oneself(system: Stack, open_client: Open) -> None:
    ana, transport = await open_client(ANA), Faulty()
    away = await open_client(ANA, transport=transport)
    async with within(), away.live("deals") as deals, ana.live("deals") as of_ana:
        await deals.wait_live()
        await of_ana.wait_live()
        insert = ana.insert("deals", {"name": "Critical", "amount": "1.00"})
        await insert.server
        await deals.wait_for(lambda it: insert.id in it)
        transport.is_cut = True
        first = away.update("deals", insert.id, {"amount": "2.00"})
        second = away.update("deals", insert.id, {"amount": "3.00"})
        transport.is_cut = False
        assert [(await write.server).status for write in (first, second)] == ["applied", "applied"]

        # At once: the copy need not have the last one yet.
        transport.is_cut = True
        third = away.update("deals", insert.id, {"amount": "4.00"})
        assert third.mutation.base_version == 3
        await of_ana.wait_for(lambda it: it.get(insert.id)["amount"] == "3.00")
        assert (await ana.update("deals", insert.id, {"amount": "9.00"}).server).status == "applied"
        transport.is_cut = False
        with pytest.raises(WriteRefusedError) as refused:
            await third.server
        entry = refused.value.entry
        assert entry.code == "version_mismatch"
        assert entry.record is not None
        assert entry.record["amount"] == "9.00"
        # Whoever tries again has seen the record that lies beside the refused value.
        [again] = away.inbox.retry(entry)
        assert (await again.server).status == "applied"
    assert row(system, insert.id, "deals")["amount"] == "4.00"  # type: ignore[index]


@pytest.mark.parametrize("off_ms", [-3_600_000, 3_600_000, 365 * 86_400_000])
async def test_a_device_whose_clock_is_wrong_neither_wins_nor_loses_by_it(
    system: Stack, open_client: Open, monkeypatch: pytest.MonkeyPatch, off_ms: int
) -> None:
    ana = await open_client(ANA)
    lead = await prepare_lead(await open_client(CARLA), phone="0")
    monkeypatch.setattr(session, "device_ms", lambda: identity.device_ms() + off_ms)
    transport = Faulty()
    async with within(), client_of(system, CARLA, transport=transport) as wrong, wrong.live("leads") as leads:
        await leads.wait_live()
        # It has seen the value, so it wins over it.
        result = await wrong.update("leads", lead, {"phone": "1"}).server
        assert (result.status, result.clock is not None) == ("applied", True)
        assert abs(parse_clock(str(result.clock)).ms - identity.device_ms()) < 5_000
        # Typed before another's, sent after it: it does not win, though its clock is a year ahead.
        transport.is_cut = True
        late = wrong.update("leads", lead, {"phone": "2"})
        # A device knows the server's time to half a round trip: writes that lie closer together have no order.
        await asyncio.sleep(1)
        await ana.update("leads", lead, {"phone": "3"}).server
        transport.is_cut = False
        assert [each.theirs for each in (await late.server).lost] == ["3"]


async def test_what_a_fresh_device_with_a_wrong_clock_typed_offline_keeps_its_order(
    system: Stack, open_client: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has never heard the server: its stamps are an hour off until then, and are moved together."""
    monkeypatch.setattr(session, "device_ms", lambda: identity.device_ms() + 3_600_000)
    async with within():
        async with connect("http://127.0.0.1:9", "nothing yet", store=tmp_path / "s") as offline:
            insert = offline.insert("leads", {"name": "v0"})
            for n in range(1, 4):
                await offline.update("leads", insert.id, {"name": f"v{n}"}).local
        async with client_of(system, ANA, store=tmp_path / "s") as client:
            await client.wait_live()
            last = client.update("leads", insert.id, {"name": "v4"})
            result = await last.server
        assert abs(parse_clock(str(result.clock)).ms - identity.device_ms()) < 60_000
    assert row(system, insert.id)["name"] == "v4"  # type: ignore[index]
