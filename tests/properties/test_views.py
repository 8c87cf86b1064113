"""What a view's subscriber holds is what SQL would answer, after every step: filters, narrowing by branch, resumes."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from core.database import scoped
from core.log import fetch_changes, fetch_head
from core.principal import Principal
from core.protocol.change import LoggedChange, change_from_json, change_to_json
from core.protocol.topic import parse_topic
from core.protocol.view import View, change_for_view, view_of
from gateway.page import page_statement
from tests.properties.gadget_world import Gadgets
from tests.properties.gadgets import (
    Chosen,
    narrowing,
    random_filter,
    random_reader,
    statements,
)
from tests.properties.runs import Bench, choose_seed, open_bench
from tests.servers import Database

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


def follow(world: Gadgets) -> Follower:
    """Somebody who subscribes to something."""
    reader = random_reader(world.dice, world.tenant.id, world.branches)
    chosen = random_filter(world.dice, world.branches, may_see_secrets=reader.role == "manager")
    view = view_of(parse_topic(chosen.topic, world.catalogue), reader, world.catalogue)
    return Follower(chosen, reader, view)


async def snapshot(world: Gadgets, follower: Follower) -> None:
    """Take everything anew, page by page, as the gateway reads it."""
    epoch_and_head = await fetch_head(world.bench.owner, world.tenant.id)
    follower.records, follower.position, after = {}, epoch_and_head[1], None
    while True:
        page = page_statement(
            follower.view, "gadgets", world.tenant.id, after=after, limit=7, limit_bytes=2_000
        )
        async with scoped(world.gateway, world.tenant.id) as connection:
            rows = await connection.fetch(page.sql, *page.parameters)
        for row in rows:
            record = follower.view.strip("gadgets", orjson.loads(row["record"]))
            follower.records[row["id"]] = record
        if not rows:
            return
        after = rows[-1]["id"]


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
    world = await Gadgets.create(bench, database, dice)
    followers = [follow(world) for _ in range(views)]
    for follower in followers:
        await snapshot(world, follower)
    oracle, head = _oracle(followers), followers[0].position
    await compare(world, followers, oracle, 0)
    for now in range(1, steps + 1):
        await world.step()
        head = await live(world, followers, now, head)
        await compare(world, followers, oracle, now)
        if dice.random() < 0.2:
            await change_rights(world, dice.choice(followers))
            oracle = _oracle(followers)
    await world.gateway.close()


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
        await snapshot(world, follower)


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
