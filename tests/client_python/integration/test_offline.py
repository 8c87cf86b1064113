"""Nothing typed is lost (I9): not by a crash, a server that is away, a queue that is too old, or lost access."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from branchline_client import (
    LiveState,
    PrincipalChangedError,
    State,
    StoreInUseError,
    UnsentWritesError,
    WriteRefusedError,
    connect,
)
from branchline_client.cache import FILE
from branchline_client.clock import Clock
from branchline_client.identity import device_ms, new_client_id
from branchline_client.mutation import Mutation
from branchline_client.queue import Queue
from branchline_client.store import Changes, Store
from tests.client_python.integration.conftest import Open, client_of
from tests.client_python.integration.people import ANA, BEN, CARLA, effects, row, rows, within
from tests.client_python.transports import Faulty
from tests.stack import Stack

ROOT = Path(__file__).parents[3]
NOWHERE = "http://127.0.0.1:9"


def type_until_killed(folder: Path) -> list[list[str]]:
    """What another process has typed and was told to be kept: record, insert, update; it is killed while it types."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "clients/python/src")])
    typist = subprocess.Popen(
        [sys.executable, "-m", "tests.client_python.typist", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert typist.stdout is not None
    kept = [typist.stdout.readline().split() for _ in range(50)]
    typist.send_signal(signal.SIGKILL)
    kept += [line.split() for line in typist.stdout.read().splitlines() if len(line.split()) == 3]
    typist.wait()
    typist.stdout.close()
    return kept


async def test_what_was_typed_offline_survives_a_kill_and_takes_effect_once(
    system: Stack, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    kept = await asyncio.to_thread(type_until_killed, folder)
    async with within(), client_of(system, ANA, store=folder) as ana:
        assert ana.pending >= 2 * len(kept)
        await ana.drain()
        assert len(ana.inbox) == 0
    mutations = [mutation for _, *both in kept for mutation in both]
    assert effects(system, mutations) == dict.fromkeys(mutations, 1)
    found = rows(system, "t.name LIKE 'typed %'")
    assert [found[record_id]["name"] for record_id, *_ in kept] == [f"typed {n}" for n in range(len(kept))]


async def test_a_client_without_a_connection_shows_what_it_knew_and_what_is_typed(
    system: Stack, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    async with within(), client_of(system, ANA, store=folder) as ana, ana.live("branches") as branches:
        await branches.wait_live()
    async with within(), connect(NOWHERE, "token", store=folder) as offline:
        async with offline.live("branches", sort="slug") as branches:
            assert branches.state is LiveState.STALE
            assert [each["slug"] for each in branches] == ["harbour", "north", "south"]
            write = offline.update("branches", branches.records[0]["id"], {"city": "Typed"})
            await write.local
            assert branches.records[0]["city"] == "Typed"
            assert branches.state_of(write.id) == "saving"
    async with within(), connect(NOWHERE, "token", store=folder) as offline:
        async with offline.live("branches", sort="slug") as branches:
            assert branches.records[0]["city"] == "Typed"


async def test_a_write_that_was_answered_just_before_a_restart_stays_visible(
    system: Stack, tmp_path: Path
) -> None:
    """The cache may be older than the answer: what was read once is not unread by a restart."""
    folder = tmp_path / "store"
    async with within(), client_of(system, ANA, store=folder) as ana:
        insert = ana.insert("leads", {"name": "before"})
        await insert.server
        async with ana.live("leads", id=insert.id) as lead:
            await lead.wait_live()
    async with within(), client_of(system, ANA, store=folder) as ana:
        # Not followed here, so its copy on the disk does not get it.
        await ana.update("leads", insert.id, {"name": "after"}).server
    async with within(), connect(NOWHERE, "token", store=folder) as offline:
        async with offline.live("leads", id=insert.id) as lead:
            assert [each["name"] for each in lead] == ["after"]
    async with within(), client_of(system, ANA, store=folder) as ana, ana.live("leads", id=insert.id) as lead:
        await lead.wait_live()
        assert lead.get(insert.id) == row(system, insert.id)


async def test_a_server_that_is_away_for_long_costs_no_write(
    system: Stack, tmp_path: Path, open_client: Open
) -> None:
    transport = Faulty()
    ana = await open_client(ANA, transport=transport, store=tmp_path / "s")
    async with within():
        transport.is_cut = True
        write = ana.insert("leads", {"name": "Patient"})
        await write.local
        # Far more tries than a write has against the server's own errors.
        tries = transport.refused
        while transport.refused < tries + 12:
            ana.online()
            await asyncio.sleep(0.01)
        assert (ana.pending, len(ana.inbox)) == (1, 0)
        transport.is_cut = False
        ana.online()
        assert (await write.server).status == "applied"


async def test_a_queue_that_is_too_old_comes_back_to_its_author(system: Stack, tmp_path: Path) -> None:
    """After 90 days nobody knows any more whether it was written before."""
    folder = tmp_path / "store"
    made_ms = device_ms() - 100 * 86_400_000
    store, kept = await Store.open(folder, new_client_id)
    stamp = str(Clock(made_ms, 0, kept.clock.client_id))
    mutation = Mutation(
        "01900000-0000-7000-8000-000000000001",
        "leads",
        "01900000-0000-7000-8000-000000000002",
        "insert",
        {"name": "Old"},
    )
    pending = Queue().add(replace(mutation, clock=stamp, made_at_ms=made_ms))
    await store.keep(Changes(put=[pending]))
    await store.close()
    async with within(), client_of(system, ANA, store=folder) as ana:
        await ana.drain()
        [entry] = ana.inbox
        assert (entry.code, entry.mutation.fields) == ("expired", {"name": "Old"})
        [again] = ana.inbox.retry(entry)
        assert (await again.server).status == "applied"
    assert row(system, mutation.id) is not None


async def test_lost_access_purges_and_puts_aside_and_says_so(
    system: Stack, tmp_path: Path, open_client: Open
) -> None:
    transport = Faulty()
    carla = await open_client(CARLA, transport=transport, store=tmp_path / "carla")
    member = f"user_id = (SELECT id FROM users WHERE email = '{CARLA}')"
    async with within(), carla.live("leads") as leads:
        await leads.wait_live()
        everything = len(leads)
        own = next(
            each
            for each in leads
            if carla.principal and each["branch_id"] in (carla.principal.branch_ids or ())
        )
        transport.is_cut = True
        write = carla.update("leads", own["id"], {"phone": "typed"})
        await write.local
        try:
            system.psql(f"UPDATE organization_members SET reads = 'own' WHERE {member}")
            with pytest.raises(WriteRefusedError) as refused:
                await write.server
            assert refused.value.code == "access_lost"
            assert refused.value.entry.mutation.fields == {"phone": "typed"}
            # What may still be read comes anew.
            await leads.wait_for(lambda it: it.state is LiveState.LIVE and 0 < len(it) < everything)
            own_branches = f"SELECT unnest(branch_ids) FROM organization_members WHERE {member}"
            expected = rows(system, f"(branch_id IS NULL OR branch_id IN ({own_branches}))")
            await leads.wait_for(lambda it: {each["id"]: each for each in it} == expected)
        finally:
            transport.is_cut = False
            system.psql(f"UPDATE organization_members SET reads = 'all' WHERE {member}")
        await leads.wait_for(lambda it: len(it) >= everything)


async def test_rights_that_went_while_one_was_away_take_with_them_what_is_kept(
    system: Stack, tmp_path: Path
) -> None:
    folder = tmp_path / "carla"
    member = f"user_id = (SELECT id FROM users WHERE email = '{CARLA}')"
    async with within(), client_of(system, CARLA, store=folder) as carla:
        async with carla.live("leads") as leads, carla.live("clients") as companies:
            await leads.wait_live()
            await companies.wait_live()
            everything = len(leads)
    assert _kept_topics(folder) == {"leads", "clients"}
    try:
        system.psql(f"UPDATE organization_members SET reads = 'own' WHERE {member}")
        async with within(), client_of(system, CARLA, store=folder) as carla, carla.live("leads") as leads:
            await leads.wait_live()
            assert 0 < len(leads) < everything
        assert _kept_topics(folder) == {"leads"}
    finally:
        system.psql(f"UPDATE organization_members SET reads = 'all' WHERE {member}")


def _kept_topics(folder: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        return {topic for (topic,) in connection.execute("SELECT DISTINCT topic FROM records")}


async def test_another_persons_work_is_never_sent(system: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with within(), client_of(system, ANA, store=folder) as ana:
        await ana.wait_live()
    async with within(), connect(NOWHERE, "token", store=folder) as offline:
        write = offline.insert("leads", {"name": "Of Ana"})
        await write.local
    async with within(), client_of(system, BEN, store=folder) as ben:
        with pytest.raises(PrincipalChangedError):
            await ben.wait_live()
        assert ben.state is State.STOPPED
        assert ben.pending == 1
    assert row(system, write.id) is None
    async with within(), client_of(system, ANA, store=folder) as ana:
        await ana.drain()
    assert row(system, write.id) is not None


async def test_a_folder_belongs_to_one_client_at_a_time(tmp_path: Path) -> None:
    async with connect(NOWHERE, "token", store=tmp_path / "s"):
        with pytest.raises(StoreInUseError):
            await connect(NOWHERE, "token", store=tmp_path / "s").__aenter__()


async def test_who_has_no_folder_is_told_what_closing_would_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    from branchline_client import client

    monkeypatch.setattr(client, "CLOSE_SECONDS", 0.05)
    offline = await connect(NOWHERE, "token").__aenter__()
    offline.insert("leads", {"name": "Lost"})
    offline.insert("leads", {"name": "Lost too"})
    with pytest.raises(UnsentWritesError, match="2 writes"):
        await offline.__aexit__(None, None, None)
