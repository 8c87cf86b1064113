"""I1, I6, I7 and I9 over everything that clients, networks and processes do: see `World`."""

import random
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.properties.law import check
from tests.properties.runs import Bench, choose_seed, open_bench, run_machine
from tests.properties.world import World
from tests.servers import Database

RECORDS = 4
EVENTS = (
    *("answered", "answer lost", "died before commit", "sent twice", "several people", "stragglers"),
    *("applied", "merged", "duplicate", "rejected", "lost", "lost deletes", "overwrote", "equal clocks"),
    *("revived", "merged into a grave", "psql insert", "psql update", "psql delete"),
)
clients = st.integers(0, 5)
records = st.integers(0, RECORDS - 1)
ways = st.sampled_from([0, 1, 40, 700, 4_000, 20_000])
fields = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["A", "B", "C"]),
        "phone": st.sampled_from([None, "1", "2"]),
        "score": st.sampled_from([None, 1, 2, 100, 101]),
        "status": st.sampled_from(["new", "won", "lost"]),
        "estimated_value": st.sampled_from([None, "0.00", "12.50"]),
    },
)


class Convergence(RuleBasedStateMachine):
    """Clients with clocks and queues of their own, a bad network, processes that die, and somebody in psql."""

    bench: ClassVar[Bench]
    ends: ClassVar[list[str]] = []

    @initialize()
    def begin(self) -> None:
        bench = self.bench
        self.world = bench.run(World.create(bench.owner, bench.api, bench.slug()))
        self.ids = [self.world.new_id() for _ in range(RECORDS)]
        self.stragglers: list[list[dict[str, Any]]] = []
        first = self.world.clients[0]
        for record in self.ids[:2]:
            self.world.edit(first, "insert", record, {"name": "N"})
        elements = self.world.arrive(first, self.world.take(first, 2), 1)
        bench.run(self.world.settle(first, bench.run(self.world.commit(elements))))
        for client in self.world.clients:
            bench.run(self.world.pull(client))

    @rule(client=clients, record=records, fields=fields)
    def insert(self, client: int, record: int, fields: dict[str, Any]) -> None:
        who = self.world.clients[client]
        self.world.edit(who, "insert", self.ids[record], {"name": "N"} | fields, base_version=None)

    @rule(client=clients, record=records, fields=fields, mode=st.sampled_from(["merge", "merge", "strict"]))
    def update(self, client: int, record: int, fields: dict[str, Any], mode: str) -> None:
        self.world.edit(self.world.clients[client], "update", self.ids[record], fields, mode=mode)

    @rule(client=clients, record=records)
    def delete(self, client: int, record: int) -> None:
        self.world.edit(self.world.clients[client], "delete", self.ids[record], {})

    @rule(client=clients, record=records, operation=st.sampled_from(["update", "delete"]), fields=fields)
    def write_without_a_clock(self, client: int, record: int, operation: str, fields: dict[str, Any]) -> None:
        """By HTTP: the server stamps it."""
        who = self.world.clients[client]
        content = fields if operation == "update" else {}
        self.world.edit(who, operation, self.ids[record], content, clock=None, base_version=None)

    @rule(
        client=clients,
        limit=st.integers(1, 5),
        way_ms=ways,
        fate=st.sampled_from(["answered", "answered", "answer lost", "died before commit", "sent twice"]),
    )
    def push(self, client: int, limit: int, way_ms: int, fate: str) -> None:
        who = self.world.clients[client]
        batch = self.world.take(who, limit)
        if not who.is_online or not batch:
            return
        elements = self.world.arrive(who, batch, way_ms)
        self.stragglers.append(elements)
        self.world.seen[fate] += 1
        if fate == "died before commit":
            self.bench.run(self.world.die_before_commit(elements))
            return
        results = self.bench.run(self.world.commit(elements))
        if fate == "sent twice":
            results = self.bench.run(self.world.commit(elements))
        if fate != "answer lost":
            self.bench.run(self.world.settle(who, results))

    @rule(client=clients, record=records, phones=st.tuples(st.integers(), st.integers()))
    def hurry(self, client: int, record: int, phones: tuple[int, int]) -> None:
        """Two edits a millisecond apart, the first request a millisecond slower: their clocks may become equal."""
        who = self.world.clients[client]
        if not who.is_online or who.queue:
            return
        for way_ms, phone in zip((1, 0), phones, strict=True):
            self.world.edit(who, "update", self.ids[record], {"phone": str(phone)})
            elements = self.world.arrive(who, self.world.take(who, 1), way_ms)
            self.bench.run(self.world.settle(who, self.bench.run(self.world.commit(elements))))

    @rule(together=st.lists(clients, min_size=2, max_size=4, unique=True), limit=st.integers(1, 3))
    def push_together(self, together: list[int], limit: int) -> None:
        """One transaction for several people, as the API's batches are."""
        parts = []
        for client in together:
            who = self.world.clients[client]
            batch = self.world.take(who, limit)
            if who.is_online and batch:
                parts.append((who, self.world.arrive(who, batch, 1)))
        results = self.bench.run(self.world.commit([each for _, part in parts for each in part]))
        for who, part in parts:
            self.world.seen["several people"] += len(parts) > 1
            self.bench.run(self.world.settle(who, results[: len(part)]))
            results = results[len(part) :]

    @precondition(lambda self: self.stragglers)
    @rule(which=st.integers(0, 20))
    def straggler(self, which: int) -> None:
        """An old request arrives once more, after what was sent later."""
        elements = self.stragglers[which % len(self.stragglers)]
        self.world.seen["stragglers"] += 1
        self.bench.run(self.world.commit(elements, is_straggler=True))

    @rule(client=clients)
    def pull(self, client: int) -> None:
        if self.world.clients[client].is_online:
            self.bench.run(self.world.pull(self.world.clients[client]))

    @rule(client=clients)
    def partition_or_heal(self, client: int) -> None:
        who = self.world.clients[client]
        who.is_online = not who.is_online

    @rule(ms=st.sampled_from([1, 1_000, 90_000, 7_200_000]))
    def time_passes(self, ms: int) -> None:
        self.world.now_ms += ms

    @rule(record=records, statement=st.sampled_from(["insert", "update", "delete"]))
    def somebody_in_psql(self, record: int, statement: str) -> None:
        self.bench.run(self.world.psql(statement, self.ids[record]))

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is None or world.is_broken:
            return  # what is wrong has been said already
        for who in world.clients:
            who.is_online = True
            while batch := world.take(who, 5):
                self.bench.run(world.settle(who, self.bench.run(world.commit(world.arrive(who, batch, 1)))))
        for who in world.clients:
            self.bench.run(world.pull(who))
        self.bench.run(check(world, random.Random(len(world.accepted))))
        self.bench.seen += world.seen
        self.ends.append(world.digest())


@pytest.fixture(scope="module")
def bench(module_database: Database) -> Iterator[Bench]:
    with open_bench(module_database) as opened:
        yield opened


def test_replicas_converge_whatever_happens(bench: Bench) -> None:
    """I7, I6, I9 and I1, in the short form."""
    Convergence.bench = bench
    run_machine(Convergence, choose_seed(), examples=25, steps=40)


@pytest.mark.long
def test_replicas_converge_whatever_happens_in_a_thousand_runs(bench: Bench) -> None:
    """I7, I6, I9 and I1, and each kind of event often enough to mean something."""
    Convergence.bench = bench
    bench.seen.clear()
    run_machine(Convergence, choose_seed(), examples=1_000, steps=200)
    rare = {event: bench.seen[event] for event in EVENTS if bench.seen[event] < 100}
    assert not rare


def test_a_seed_gives_the_same_runs_again(bench: Bench) -> None:
    """So that what has failed once can be looked at."""
    Convergence.bench = bench
    chosen, ends = choose_seed(), []
    for _ in range(2):
        Convergence.ends.clear()
        run_machine(Convergence, chosen, examples=3, steps=30)
        ends.append(list(Convergence.ends))
    assert ends[0] == ends[1]
    assert len(ends[0]) >= 3
