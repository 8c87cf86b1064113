"""What a view's subscriber holds is what SQL would answer, after every step: filters, narrowing by branch, resumes."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from core.catalogue import Catalogue, fetch_catalogue
from core.database import Pool, create_pool, scoped
from core.log import fetch_changes, fetch_head
from core.principal import Principal
from core.protocol.change import LoggedChange, change_from_json, change_to_json
from core.protocol.topic import parse_topic
from core.protocol.view import View, change_for_view, view_of
from gateway.page import page_statement
from tests.properties.gadgets import (
    BY_NAME,
    REMARKS,
    Chosen,
    narrowing,
    random_filter,
    random_reader,
    random_values,
    statements,
)
from tests.properties.runs import Bench, choose_seed, open_bench
from tests.servers import Database
from tests.tenants import Tenant, create_tenant, new_id

ROWS = 40
EVENTS = ("enter", "leave", "insert", "update", "delete", "null", "narrowed", "resumed", "rights changed")


@dataclass(slots=True)
class Follower:
    """A subscriber: what it asked for, where it stands, and what it holds."""

    chosen: Chosen
    reader: Principal
    view: View
    position: int = 0
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    back_at: int = 0

    def apply(self, change: LoggedChange, seen: Counter[str]) -> None:
        """Apply what the view shows of a change. What does not fit is a defect of the view."""
        assert change.offset == self.position + 1
        self.position = change.offset
        wire = change_for_view(self.view, change)
        if wire is None:
            self._count_narrowed(change, seen)
            return
        held, operation = self.records.get(change.id), wire["operation"]
        seen[operation] += 1
        if self.chosen.has_null and operation != "update" and _touches_null(change, self.chosen.fields):
            seen["null"] += 1
        match operation:
            case "insert" | "enter":
                assert held is None, f"{operation} of a record that was there"
                self.records[change.id] = wire["fields"]
            case "update":
                assert held is not None, "update of a record that was not there"
                assert wire["version"] == held["version"] + 1
                held |= wire["fields"] | {"version": wire["version"]}
            case "delete" | "leave":
                assert held is not None, f"{operation} of a record that was not there"
                assert wire["fields"] == {}
                del self.records[change.id]

    def _count_narrowed(self, change: LoggedChange, seen: Counter[str]) -> None:
        whole = View("", self.view.topic, self.view.fields, self.view.branched, None, self.view.matchers)
        if change_for_view(whole, change) is not None:
            seen["narrowed"] += 1


def _touches_null(change: LoggedChange, names: frozenset[str]) -> bool:
    return any(
        change.record.get(name) is None or (name in change.previous and change.previous[name] is None)
        for name in names
    )


@dataclass(slots=True)
class Gadgets:
    """An organisation whose gadgets change at random."""

    bench: Bench
    gateway: Pool
    tenant: Tenant
    catalogue: Catalogue
    dice: random.Random
    branches: list[str]
    alive: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    async def step(self) -> None:
        """One transaction of one to three statements; one in twenty is rolled back."""
        transaction = self.bench.owner.transaction()
        before = list(self.alive), list(self.dead)
        await transaction.start()
        for _ in range(self.dice.choice([1, 1, 1, 2, 3])):
            await self._statement()
        if self.dice.random() < 0.05:
            await transaction.rollback()
            self.alive, self.dead = before
        else:
            await transaction.commit()

    async def _statement(self) -> None:
        chance = self.dice.random()
        if len(self.alive) < ROWS / 2 or chance < 0.15:
            await self._insert()
        elif chance < 0.30 and len(self.alive) > ROWS / 2:
            await self._delete()
        elif chance < 0.32:
            await self._lose_a_branch()
        else:
            await self._update()

    async def _insert(self) -> None:
        if self.dead and self.dice.random() < 0.3:
            record = self.dead.pop(self.dice.randrange(len(self.dead)))
        else:
            record = new_id()
        values = random_values(self.dice, list(BY_NAME)) | {"branch_id": self._branch()}
        names = ", ".join(values)
        typed = ", ".join(f"${number}::text::{_type(name)}" for number, name in enumerate(values, 3))
        await self.bench.owner.execute(
            f"INSERT INTO gadgets (organization_id, id, {names}) VALUES ($1, $2, {typed})",
            self.tenant.id,
            record,
            *values.values(),
        )
        self.alive.append(record)

    async def _update(self) -> None:
        names = self.dice.sample(list(BY_NAME), self.dice.choice([1, 1, 2, 4]))
        values: dict[str, str | None] = random_values(self.dice, names)
        if self.dice.random() < 0.4:
            values["branch_id"] = self._branch()
        if self.dice.random() < 0.2:
            values = {"remark": self.dice.choice(REMARKS)}
        several = self.dice.sample(self.alive, min(len(self.alive), self.dice.choice([1, 1, 1, 2, 5])))
        assignments = ", ".join(
            f"{name} = ${number}::text::{_type(name)}" for number, name in enumerate(values, 3)
        )
        await self.bench.owner.execute(
            f"UPDATE gadgets SET {assignments} WHERE organization_id = $1 AND id = ANY ($2::uuid[])",
            self.tenant.id,
            several,
            *values.values(),
        )

    async def _delete(self) -> None:
        record = self.alive.pop(self.dice.randrange(len(self.alive)))
        self.dead.append(record)
        await self.bench.owner.execute(
            "DELETE FROM gadgets WHERE organization_id = $1 AND id = $2", self.tenant.id, record
        )

    async def _lose_a_branch(self) -> None:
        """A branch goes, and its records with it belong to none; then there is a branch of that id again."""
        branch = self.dice.choice(self.branches)
        await self.bench.owner.execute("DELETE FROM branches WHERE id = $1", branch)
        await self.bench.owner.execute(
            "INSERT INTO branches (organization_id, id, slug, name) VALUES ($1, $2, $3::text, $3::text)",
            self.tenant.id,
            branch,
            f"b-{branch}",
        )

    def _branch(self) -> str | None:
        return self.dice.choice([*self.branches, None])

    def follow(self) -> Follower:
        """Somebody who subscribes to something."""
        reader = random_reader(self.dice, self.tenant.id, self.branches)
        chosen = random_filter(self.dice, self.branches, may_see_secrets=reader.role == "manager")
        view = view_of(parse_topic(chosen.topic, self.catalogue), reader, self.catalogue)
        return Follower(chosen, reader, view)

    async def snapshot(self, follower: Follower) -> None:
        """Take everything anew, page by page, as the gateway reads it."""
        epoch_and_head = await fetch_head(self.bench.owner, self.tenant.id)
        follower.records, follower.position, after = {}, epoch_and_head[1], None
        while True:
            page = page_statement(
                follower.view, "gadgets", self.tenant.id, after=after, limit=7, limit_bytes=2_000
            )
            async with scoped(self.gateway, self.tenant.id) as connection:
                rows = await connection.fetch(page.sql, *page.parameters)
            for row in rows:
                record = follower.view.strip("gadgets", orjson.loads(row["record"]))
                follower.records[row["id"]] = record
            if not rows:
                return
            after = rows[-1]["id"]


def _type(name: str) -> str:
    return {"branch_id": "uuid", "remark": "text"}.get(name) or BY_NAME[name].type


def _oracle(followers: list[Follower]) -> str:
    """One statement that says for each gadget which followers should hold it."""
    columns = ", ".join(
        f"({narrowing(each.reader)} AND {each.chosen.condition}) IS TRUE AS v{number}"
        for number, each in enumerate(followers)
    )
    return f"SELECT g.id::text, encode_record(g)::text AS record, {columns} FROM gadgets g WHERE organization_id = $1"


def _frozen(item: tuple[str, Any]) -> tuple[str, str]:
    return item[0], repr(item[1])


async def compare(world: Gadgets, followers: list[Follower], oracle: str, now: int) -> None:
    """Whoever is connected holds exactly what SQL answers, byte for byte."""
    rows = await world.bench.owner.fetch(oracle, world.tenant.id)
    records = {row["id"]: orjson.loads(row["record"]) for row in rows}
    for number, follower in enumerate(followers):
        if follower.back_at > now:
            continue
        expected = {
            row["id"]: follower.view.strip("gadgets", records[row["id"]]) for row in rows if row[number + 2]
        }
        if follower.records != expected:
            differing = [
                dict(
                    set(map(_frozen, (follower.records.get(key) or {}).items()))
                    ^ set(map(_frozen, (expected.get(key) or {}).items()))
                )
                for key in follower.records.keys() | expected.keys()
            ]
            raise AssertionError(
                f"{follower.chosen.topic} for {follower.reader} at {now}, {follower.position}:"
                f" {[each for each in differing if each]}"
            )


async def catch_up(world: Gadgets, follower: Follower) -> None:
    """Read the log from the follower's position, in parts of any size."""
    while True:
        limit = world.dice.randint(1, 30)
        changes = await fetch_changes(world.bench.owner, world.tenant.id, follower.position, limit)
        for change in changes:
            follower.apply(change, world.bench.seen)
        if not changes:
            return


async def live(world: Gadgets, followers: list[Follower], now: int, after: int) -> int:
    """Everybody takes what the last step has brought; those who come back take what they missed."""
    changes = await fetch_changes(world.bench.owner, world.tenant.id, after, 100_000)
    # As they come through Redis.
    changes = [change_from_json(orjson.loads(orjson.dumps(change_to_json(each)))) for each in changes]
    for follower in followers:
        if follower.back_at > now:
            continue
        if follower.position < after:
            world.bench.seen["resumed"] += 1
            await catch_up(world, follower)
        else:
            for change in changes:
                follower.apply(change, world.bench.seen)
        if world.dice.random() < 0.05:
            follower.back_at = now + world.dice.randint(2, 12)
    return changes[-1].offset if changes else after


async def run_views(bench: Bench, database: Database, views: int, steps: int) -> None:
    """Views, steps, and a comparison of all after each."""
    dice = random.Random(choose_seed())
    # Somebody writes from another part of the world; what is read must not depend on it.
    await bench.owner.execute("ALTER ROLE branchline_app SET TimeZone = 'America/St_Johns'")
    await bench.owner.execute("SET TimeZone = 'Asia/Kathmandu'")
    gateway = await create_pool(database.url, role="branchline_gateway", application_name="test gateway")
    tenant = await create_tenant(bench.owner, bench.slug())
    branches = list(tenant.branches.values())
    branches.append(new_id())
    await bench.owner.execute(
        "INSERT INTO branches (organization_id, id, slug, name) VALUES ($1, $2, 'third', 'third')",
        tenant.id,
        branches[-1],
    )
    world = Gadgets(bench, gateway, tenant, await fetch_catalogue(bench.owner), dice, branches)
    while len(world.alive) < ROWS:
        await world.step()
    followers = [world.follow() for _ in range(views)]
    for follower in followers:
        await world.snapshot(follower)
    oracle, head = _oracle(followers), followers[0].position
    await compare(world, followers, oracle, 0)
    for now in range(1, steps + 1):
        await world.step()
        head = await live(world, followers, now, head)
        await compare(world, followers, oracle, now)
        if dice.random() < 0.2:
            await change_rights(world, dice.choice(followers))
            oracle = _oracle(followers)
    await gateway.close()


async def change_rights(world: Gadgets, follower: Follower) -> None:
    """Another branch may be read, or one less: the view has another name, and the follower starts anew."""
    before = follower.view
    reader = random_reader(world.dice, world.tenant.id, world.branches)
    if reader.role != "manager" and "secret" in follower.chosen.fields:
        return
    follower.reader, follower.view = reader, view_of(before.topic, reader, world.catalogue)
    if follower.view.name != before.name:
        world.bench.seen["rights changed"] += 1
        follower.back_at = 0
        await world.snapshot(follower)


@pytest.fixture(scope="module")
def bench(module_database: Database) -> Iterator[Bench]:
    with open_bench(module_database) as opened:
        for statement in statements():
            opened.run(opened.owner.execute(statement))
        yield opened


def test_views_are_what_sql_answers(bench: Bench, module_database: Database) -> None:
    """Twenty views over two hundred steps."""
    bench.run(run_views(bench, module_database, views=20, steps=200))
    assert all(bench.seen[event] > 0 for event in EVENTS)


@pytest.mark.long
def test_a_hundred_views_are_what_sql_answers_over_a_thousand_steps(
    bench: Bench, module_database: Database
) -> None:
    """Each kind of event at least a hundred times."""
    bench.seen.clear()
    bench.run(run_views(bench, module_database, views=100, steps=1_000))
    rare = {event: bench.seen[event] for event in EVENTS if bench.seen[event] < 100}
    assert not rare
