"""The whole system under writers, watchers and kill -9: when it is over, everybody holds what PostgreSQL has.

The checker judges: the log is 1..N, each watcher was told each change once and in order, every replica is PostgreSQL's
rows, these are the fold of all accepted writes, and each acknowledged write is present or was beaten.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson
import pytest
from argon2 import PasswordHasher

from core.catalogue import Catalogue, fetch_catalogue
from core.database import fetch_principal
from core.log import fetch_changes, fetch_head
from core.protocol.change import LoggedChange
from core.protocol.topic import parse_topic
from core.protocol.view import View, view_of
from tests.checker import (
    Acknowledged,
    Trace,
    check_acknowledged,
    check_applied,
    check_log,
    check_replica,
)
from tests.properties.fold import Write, fold
from tests.properties.runs import choose_seed
from tests.properties.storm import HttpWriter, PushWriter, Storm, Watcher
from tests.properties.twin import DEFAULTS
from tests.stack import DEMO_PASSWORD, Stack, run_stack
from tests.tenants import Connection, Tenant, create_tenant

HOUR_MS = 3_600_000
HEAL_SECONDS = 30.0
VICTIMS = ("gateway-1", "gateway-2", "relay")
SLUG = "storm"


class Scene:
    """A stack, an organisation in it, and everybody who takes part. `round` can be played again and again."""

    def __init__(self, stack: Stack, owner: Connection, tenant: Tenant, catalogue: Catalogue) -> None:
        self.stack = stack
        self.owner = owner
        self.tenant = tenant
        self.catalogue = catalogue
        self.acknowledged: list[Acknowledged] = []
        self.by_http: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.seen: Counter[str] = Counter()

    async def round(self, dice: random.Random, seconds: float, kills: int) -> None:
        """A storm, the end of it, and the checker."""
        storm = Storm(self.stack.api_url, self.stack.gateway_url, dice)
        storm.branches = list(self.tenant.branches.values())
        storm.leads = [str(row[0]) for row in await self.owner.fetch("SELECT id FROM leads LIMIT 40")]
        pushers = [
            PushWriter(storm, self._token(person), skew)
            for person, skew in (
                ("ana", 0),
                ("ana", HOUR_MS),
                ("ben", -HOUR_MS),
                ("carla", 400 * 24 * HOUR_MS),
            )
        ]
        writers = [HttpWriter(storm, self._token(person)) for person in ("ana", "ben")]
        watchers = [await self._watcher(storm, number) for number in range(8)]
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(watcher.run()) for watcher in watchers]
            try:
                async with asyncio.TaskGroup() as storming:
                    for each in (*(p.run() for p in pushers), *(w.run() for w in writers), self._psql(storm)):
                        storming.create_task(each)
                    await self._kill(storm, seconds, kills)
                    storm.stopping.set()
                await self._heal(watchers)
            finally:
                for watcher, task in zip(watchers, following, strict=True):
                    watcher.left = True
                    task.cancel()
        self.acknowledged += [each for pusher in pushers for each in pusher.acknowledged]
        for writer in writers:
            self.by_http |= writer.acknowledged
        self.seen += storm.seen
        await self._check(watchers)

    def _token(self, person: str) -> str:
        return self.stack.token(f"{person}@{SLUG}.test")

    async def _watcher(self, storm: Storm, number: int) -> Watcher:
        person = storm.dice.choice(["ana", "rita", "vera", "carla"])
        north, south = self.tenant.branches["north"], self.tenant.branches["south"]
        topic = storm.dice.choice(
            [
                *("leads", "*", "leads?status=new,won", "leads?status=lost", "leads?branch_id=~"),
                *(f"leads?branch_id={north}", f"leads?branch_id={south},~&status=new"),
                *(f"leads/{lead}" for lead in storm.leads[:1]),
            ]
        )
        principal = await fetch_principal(
            self.owner, self.tenant.id, self.tenant.people[person], self.tenant.sessions[person]
        )
        assert principal is not None
        view = view_of(parse_topic(topic, self.catalogue), principal, self.catalogue)
        name = f"{number}: {person} on {topic}"
        return Watcher(storm, name, self._token(person), topic, view, Trace(name, view))

    async def _psql(self, storm: Storm) -> None:
        while not storm.stopping.is_set():
            if storm.leads:
                await self.owner.execute(
                    "UPDATE leads SET score = $2 WHERE id = $1",
                    storm.dice.choice(storm.leads),
                    storm.dice.randrange(100),
                )
            await storm.pause(0.1)

    async def _kill(self, storm: Storm, seconds: float, kills: int) -> None:
        """Kill somebody now and then; whoever is killed must be back before the next one goes."""
        ends_at = time.monotonic() + seconds
        for _ in range(kills):
            await storm.pause(storm.dice.random() * seconds / kills)
            name = storm.dice.choice(VICTIMS)
            victim = self.stack.up.processes()[name]
            os.kill(victim.pid, signal.SIGKILL)
            storm.seen[f"killed {name}"] += 1
            await self._wait(lambda n=name, v=victim: self.stack.up.processes().get(n) not in (None, v))
        await storm.pause(max(0.0, ends_at - time.monotonic()))

    async def _wait(self, condition: Any) -> None:
        async with asyncio.timeout(HEAL_SECONDS):
            while not condition():
                await asyncio.sleep(0.02)

    async def _heal(self, watchers: list[Watcher]) -> None:
        """Wait until everybody is at the head; nobody writes any more."""
        _, head = await fetch_head(self.owner, self.tenant.id)
        await self._wait(
            lambda: all(each.held is not None and each.held.position >= head for each in watchers)
        )

    async def _check(self, watchers: list[Watcher]) -> None:
        _, head = await fetch_head(self.owner, self.tenant.id)
        log = await fetch_changes(self.owner, self.tenant.id, 0, head + 1)
        check_log(log, head)
        rows = await self._rows()
        leads = {("leads", key): record for key, record in rows["leads"].items()}
        for watcher in watchers:
            check_applied(watcher.trace, log)
            assert watcher.trace.position == head
            assert watcher.held is not None
            check_replica(watcher.name, watcher.held.records, _shown(watcher.view, rows))
        acknowledged = [*self.acknowledged, *self._acknowledged_by_http(log)]
        check_acknowledged(acknowledged, log, leads)
        _check_fold(acknowledged, log, rows["leads"])

    async def _rows(self) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for name in self.catalogue.collections:
            found = await self.owner.fetch(
                f"SELECT id::text, encode_record(t)::text AS record FROM {name} t WHERE organization_id = $1",
                self.tenant.id,
            )
            rows[name] = {row["id"]: orjson.loads(row["record"]) for row in found}
        return rows

    def _acknowledged_by_http(self, log: list[LoggedChange]) -> list[Acknowledged]:
        """What the log says of each write by HTTP: it took effect once, however often it was asked for (I6)."""
        effects: dict[str, list[LoggedChange]] = {}
        asked = {note: lead for note, (lead, _, _) in self.by_http.items()}
        for change in log:
            note = change.record.get("notes")
            # A revival tells the whole record again, and it is not this write's.
            if note in asked and (change.version == 1 or "notes" in change.changed):
                effects.setdefault(note, []).append(change)
        found = []
        for note, (lead, operation, fields) in self.by_http.items():
            changes = effects.get(note, [])
            assert [change.id for change in changes] == [lead], f"{operation} {note}: {changes}"
            mutation_id, clock = changes[0].mutation_id, changes[0].clock
            assert mutation_id is not None
            found.append(Acknowledged(mutation_id, ("leads", lead), operation, fields, clock))
        return found


def _check_fold(acknowledged: list[Acknowledged], log: list[LoggedChange], rows: dict[str, Any]) -> None:
    """The rows are the fold of what was acknowledged, and of what the log says of everybody else."""
    known = {each.mutation_id for each in acknowledged}
    writes = []
    for each in acknowledged:
        fields = dict(each.fields)
        whole = DEFAULTS | fields if each.operation == "insert" else fields
        writes.append(Write(each.key[1], each.operation, each.clock, None, whole))
    for change in log:
        if change.collection == "leads" and change.mutation_id not in known:
            names = {"insert": tuple(DEFAULTS), "update": change.changed, "delete": ()}[change.operation]
            whole = {name: change.record[name] for name in names}
            writes.append(Write(change.id, change.operation, change.clock, None, whole))
    folded = fold(writes)
    assert rows.keys() == {key for key, each in folded.items() if each.lives}
    for key, row in rows.items():
        differing = {n: (row[n], v) for n, v in folded[key].values.items() if row[n] != v}
        assert not differing, f"{key}: {differing}"


def _shown(view: View, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        key: view.strip(name, record)
        for name in view.fields
        for key, record in rows[name].items()
        if view.shows(name, record)
    }


@pytest.fixture(scope="module")
def stormy_stack() -> Iterator[Stack]:
    with run_stack("storm", gateways=2, demo=False) as running:
        yield running


async def enter(stack: Stack) -> Scene:
    """An organisation whose people can sign in."""
    owner = await asyncpg.connect(stack.owner_url)
    tenant = await create_tenant(owner, SLUG)
    await owner.execute("UPDATE users SET password_hash = $1", PasswordHasher().hash(DEMO_PASSWORD))
    # Writers write to all branches; who watches is narrowed as ever.
    await owner.execute(
        "UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE user_id = ANY ($1::uuid[])",
        [tenant.people[name] for name in ("ana", "ben", "carla")],
    )
    return Scene(stack, owner, tenant, await fetch_catalogue(owner))


async def play(stack: Stack, rounds: int, seconds: float, kills: int) -> None:
    dice = random.Random(choose_seed())
    scene = await enter(stack)
    try:
        for _ in range(rounds):
            await scene.round(dice, seconds, kills)
    finally:
        await scene.owner.close(timeout=10)
        print(", ".join(f"{name}: {count}" for name, count in sorted(scene.seen.items())))


def test_gateways_and_relay_are_killed_and_everybody_ends_equal(stormy_stack: Stack) -> None:
    asyncio.run(play(stormy_stack, rounds=1, seconds=6, kills=3))


@pytest.mark.long
def test_gateways_and_relay_are_killed_again_and_again_and_everybody_ends_equal() -> None:
    with run_stack("storm-long", gateways=2, demo=False) as stack:
        asyncio.run(play(stack, rounds=20, seconds=30, kills=8))
