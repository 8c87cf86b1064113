"""A snapshot, its pages read while records change, and the deltas after it, are the log's fold at every head."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from core.log import fetch_changes, fetch_head
from core.protocol.change import LoggedChange
from core.protocol.topic import parse_topic
from core.protocol.view import View, change_for_view, view_of
from gateway.metrics import Metrics
from gateway.snapshot import SnapshotReader
from tests.properties.gadget_world import Gadgets
from tests.properties.gadgets import random_filter, random_reader, statements
from tests.properties.runs import Bench, choose_seed, open_bench
from tests.servers import Database

PAGE_RECORDS = 6
READERS = 5
ENOUGH = 60
"""Offsets over which a reader is watched after its snapshot."""


@dataclass(slots=True)
class Reader:
    """A client that asked for a snapshot when the gateway stood at `position`.

    Once its last page has been read, when the log's head was `whole_at`, it must be right at every head from there on.
    """

    view: View
    position: int
    after: str | None = None
    whole_at: int | None = None
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def has_enough(self) -> bool:
        """Whether it has been compared at so many heads that another may take its place."""
        return self.whole_at is not None and self.position >= self.whole_at + ENOUGH

    def take_page(self, records: list[str | bytes]) -> None:
        """Keep a page's records."""
        for text in records:
            record = orjson.loads(text)
            assert record["id"] not in self.records, "a record is in two pages"
            self.records[record["id"]] = record

    def apply(self, change: LoggedChange) -> None:
        """Apply a change as the contract says: what is not above a record's version is skipped."""
        assert change.offset == self.position + 1
        self.position = change.offset
        wire = change_for_view(self.view, change)
        held = self.records.get(change.id)
        if wire is None or (held is not None and wire["version"] <= held["version"]):
            return
        match wire["operation"]:
            case "insert" | "enter":
                self.records[change.id] = wire["fields"]
            case "update":
                if held is not None:
                    held |= wire["fields"] | {"version": wire["version"]}
            case _:
                self.records.pop(change.id, None)


@dataclass(slots=True)
class Fold:
    """The log's fold at every head: each record as its last change left it."""

    heads: list[dict[str, Any]] = field(default_factory=lambda: [{}])

    def take(self, change: LoggedChange) -> None:
        """One more change."""
        records = dict(self.heads[-1])
        if change.collection == "gadgets":
            if change.operation == "delete":
                del records[change.id]
            else:
                records[change.id] = change.record
        self.heads.append(records)

    def shown(self, view: View, head: int) -> dict[str, Any]:
        """What a view shows at a head."""
        return {
            key: view.strip("gadgets", record)
            for key, record in self.heads[head].items()
            if view.shows("gadgets", record)
        }


class Storm:
    """A gateway that lags behind a storm of writes, and clients that ask for snapshots in the middle of it."""

    def __init__(self, world: Gadgets) -> None:
        self.world = world
        self.pages = SnapshotReader(world.gateway, Metrics(), page_records=PAGE_RECORDS)
        self.fold = Fold()
        self.log: list[LoggedChange] = []
        self.position = 0
        self.epoch = ""
        self.readers: list[Reader] = []

    async def follow_log(self) -> None:
        """Read what is new; the gateway comes to know a part of it."""
        for change in await fetch_changes(
            self.world.bench.owner, self.world.tenant.id, len(self.log), 100_000
        ):
            self.log.append(change)
            self.fold.take(change)
        # Whole transactions: a gateway stands behind one, never inside.
        ends = [each.offset for each in self.log[self.position :] if each.offset == each.last_of_commit]
        if ends and self.world.dice.random() < 0.8:
            self.position = self.world.dice.choice(ends)

    def ask(self) -> None:
        """Somebody subscribes: to a filter that another one has already, as often as not."""
        dice = self.world.dice
        if self.readers and dice.random() < 0.4:
            view = dice.choice(self.readers).view
        else:
            reader = random_reader(dice, self.world.tenant.id, self.world.branches)
            chosen = random_filter(dice, self.world.branches, may_see_secrets=reader.role == "manager")
            topic = chosen.topic if dice.random() < 0.7 else "gadgets"
            view = view_of(parse_topic(topic, self.world.catalogue), reader, self.world.catalogue)
        self.readers.append(Reader(view, self.position))

    async def advance(self, reader: Reader) -> None:
        """The next page, or the next changes that the gateway knows of."""
        if reader.whole_at is None:
            page = await self.pages.fetch_page(
                reader.view,
                "gadgets",
                self.world.tenant.id,
                self.epoch,
                after=reader.after,
                # Where the snapshot began: deltas are applied once all pages are there.
                at=reader.position,
                now=self.position,
            )
            self.world.bench.seen["pages"] += 1
            reader.take_page(page.records)
            reader.after = page.after
            if page.after is None:
                _, reader.whole_at = await fetch_head(self.world.bench.owner, self.world.tenant.id)
            return
        until = min(self.position, reader.position + self.world.dice.randint(1, 10))
        for change in self.log[reader.position : until]:
            reader.apply(change)
            if reader.position >= reader.whole_at:
                assert reader.records == self.fold.shown(reader.view, reader.position), reader.view.topic
                self.world.bench.seen["heads compared"] += 1

    async def finish(self) -> None:
        """The storm is over: all come to the head, and are what a fresh snapshot would be."""
        self.position = len(self.log)
        for reader in self.readers:
            while reader.whole_at is None or reader.position < self.position:
                await self.advance(reader)
            assert reader.records == self.fold.shown(reader.view, self.position)


async def run_storm(bench: Bench, database: Database, storms: int, steps: int) -> None:
    """Storms of so many transactions, each with new readers all the time."""
    dice = random.Random(choose_seed())
    world = await Gadgets.create(bench, database, dice)
    storm = Storm(world)
    storm.epoch, _ = await fetch_head(bench.owner, world.tenant.id)
    for _ in range(storms):
        storm.readers.clear()
        for _ in range(steps):
            await world.step()
            await storm.follow_log()
            if len([each for each in storm.readers if each.whole_at is None]) < READERS:
                storm.ask()
            for reader in dice.sample(storm.readers, min(len(storm.readers), 4)):
                await storm.advance(reader)
            storm.readers = [each for each in storm.readers if not each.has_enough]
        await storm.finish()
    await world.gateway.close()


@pytest.fixture(scope="module")
def bench(module_database: Database) -> Iterator[Bench]:
    with open_bench(module_database) as opened:
        for statement in statements():
            opened.run(opened.owner.execute(statement))
        yield opened


def test_a_snapshot_and_its_deltas_are_the_fold_of_the_log_at_every_head(
    bench: Bench, module_database: Database
) -> None:
    bench.run(run_storm(bench, module_database, storms=3, steps=60))
    assert bench.seen["heads compared"] > 100


@pytest.mark.long
def test_a_snapshot_and_its_deltas_are_the_fold_of_the_log_in_long_storms(
    bench: Bench, module_database: Database
) -> None:
    bench.run(run_storm(bench, module_database, storms=60, steps=200))
    assert bench.seen["heads compared"] > 10_000
