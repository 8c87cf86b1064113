"""I7 in the database itself: the same writes in another order, in other batches, or at the same moment."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import asyncpg
import orjson
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from tests.properties.fold import Write, fold
from tests.properties.runs import Bench, choose_seed, open_bench, thorough
from tests.properties.twin import DEFAULTS
from tests.servers import Database
from tests.tenants import Connection, Tenant, create_tenant, new_id, write

START_MS = 4_102_444_800_000
PEOPLE = ("ana", "ben", "carla")
ORDERS = 3

fields = st.fixed_dictionaries(
    {},
    optional={
        "phone": st.sampled_from([None, "1", "2"]),
        "email": st.sampled_from([None, "a", "b"]),
        "score": st.sampled_from([1, 2, 101]),
    },
)


@dataclass(frozen=True, slots=True)
class Move:
    """One write: who, what, and the moment of its clock. No two share a moment."""

    operation: str
    record: int
    person: int
    moment: int
    fields: dict[str, Any]


moves = st.builds(
    Move,
    st.sampled_from(["update", "update", "update", "delete", "delete", "insert"]),
    st.integers(0, 1),
    st.integers(0, 2),
    st.integers(1, 10_000),
    fields,
)
histories = st.lists(moves, min_size=2, max_size=8, unique_by=lambda move: move.moment)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an organisation came to: the numbers of the accepted moves, and the records with clocks and authors."""

    accepted: frozenset[int]
    records: dict[int, Any]
    answers: tuple[Any, ...] = ()


@dataclass(slots=True)
class Case:
    """One set of moves with its ids, which are the same in every organisation that it is delivered to."""

    moves: list[Move]
    records: list[str]
    mutations: list[str]

    @classmethod
    def of(cls, chosen: list[Move]) -> "Case":
        """Both records begin with an insert; the moves come after it."""
        begun = [Move("insert", record, 0, 0, {"phone": "0"}) for record in (0, 1)]
        everything = begun + chosen
        return cls(everything, [new_id(), new_id()], [new_id() for _ in everything])

    def element(self, tenant: Tenant, number: int) -> dict[str, Any]:
        """A move for write_mutations."""
        move = self.moves[number]
        name = {"name": f"N{number}"} if move.operation == "insert" else {}
        return tenant.mutation(
            PEOPLE[move.person],
            move.operation,
            "leads",
            self.records[move.record],
            mutation_id=self.mutations[number],
            fields={} if move.operation == "delete" else name | move.fields,
            clock=f"{START_MS + move.moment}-0000-00000000-0000-4000-8000-00000000000{move.person}",
        )

    async def deliver(self, api: Connection, tenant: Tenant, batches: list[list[int]]) -> list[Any]:
        """Write the moves, a transaction a batch; the answers by number, without what arrival alone decides."""
        answers: dict[int, Any] = {}
        for batch in batches:
            results = await write(api, *(self.element(tenant, number) for number in batch))
            answers |= dict(zip(batch, results, strict=True))
        return [answers.get(number) for number in range(len(self.moves))]

    def writes(self, tenant: Tenant, accepted: frozenset[int]) -> list[Write]:
        """The accepted moves as the fold takes them."""
        made = []
        for number in sorted(accepted):
            element = self.element(tenant, number)
            whole = DEFAULTS | element["fields"] if element["operation"] == "insert" else element["fields"]
            made.append(
                Write(element["id"], element["operation"], element["clock"], element["user_id"], whole)
            )
        return made

    async def outcome(self, owner: Connection, tenant: Tenant, answers: list[Any]) -> Outcome:
        """Read what has become of the records; it must be the fold of what was accepted."""
        accepted = frozenset(
            n for n, each in enumerate(answers) if each and each["status"] in ("applied", "merged")
        )
        folded = fold(self.writes(tenant, accepted))
        names = {person: name for name, person in tenant.people.items()}
        records: dict[int, Any] = {}
        for number, record in enumerate(self.records):
            lives, values, stamps, buried = await fetch_record(owner, tenant, record)
            expected = folded[record]
            assert lives == expected.lives, (number, accepted)
            assert values == expected.values, (number, accepted)
            assert stamps == expected.stamps, (number, accepted)
            assert buried in (None, expected.deleted), (number, accepted)
            authors = {name: (clock, names[str(author)]) for name, (clock, author) in stamps.items()}
            records[number] = (lives, values, authors, buried)
        told = tuple((each["status"], each["code"], each["clock"]) if each else None for each in answers)
        return Outcome(accepted, records, told)


async def fetch_record(owner: Connection, tenant: Tenant, record: str) -> tuple[bool, Any, Any, str | None]:
    """Whether a lead lives, its values, the clock and author of each, and the clock of its grave."""
    row = await owner.fetchrow(
        "SELECT encode_record(l)::text AS record, field_clocks::text AS clocks, NULL AS clock FROM leads l"
        " WHERE organization_id = $1 AND id = $2 UNION ALL"
        " SELECT record::text, field_clocks::text, clock FROM tombstones"
        " WHERE organization_id = $1 AND record_id = $2",
        tenant.id,
        record,
    )
    assert row is not None
    values, clocks = orjson.loads(row["record"]), orjson.loads(row["clocks"])
    stamps = {name: clocks.get(name) or clocks["*"] for name in DEFAULTS}
    return (
        row["clock"] is None,
        {name: values[name] for name in DEFAULTS},
        {name: (stamp[0], stamp[2]) for name, stamp in stamps.items()},
        row["clock"],
    )


@dataclass(slots=True)
class Organizations:
    """As many organisations of the same kind as a set of writes is delivered to."""

    bench: Bench
    tenants: list[Tenant]


@pytest.fixture(scope="module")
def organizations(module_database: Database) -> Iterator[Organizations]:
    with open_bench(module_database) as bench:
        tenants = [bench.run(create_tenant(bench.owner, bench.slug())) for _ in range(ORDERS)]
        bench.run(
            bench.owner.execute(
                "UPDATE organization_members SET role = 'manager', reads = 'all', branch_ids = NULL"
            )
        )
        yield Organizations(bench, tenants)


def deliver_in_several_orders(organizations: Organizations, examples: int) -> None:
    bench = organizations.bench

    @seed(choose_seed())
    @thorough(examples)
    @given(histories, st.data())
    def deliver(history: list[Move], data: st.DataObject) -> None:
        case = Case.of(history)
        outcomes = []
        for tenant in organizations.tenants:
            order = data.draw(st.permutations(range(2, len(case.moves))))
            cuts = data.draw(st.sets(st.integers(1, max(1, len(order) - 1))))
            edges = [0, *sorted(cut for cut in cuts if cut < len(order)), len(order)]
            batches = [[0, 1], *(order[a:b] for a, b in pairwise(edges))]
            answers = bench.run(case.deliver(bench.api, tenant, batches))
            outcomes.append(bench.run(case.outcome(bench.owner, tenant, answers)))
        for number, outcome in enumerate(outcomes):
            for other in outcomes[:number]:
                if outcome.accepted == other.accepted:
                    bench.seen["pairs of orders with the same accepted writes"] += 1
                    assert outcome.records == other.records
                else:
                    bench.seen["pairs of orders in which something was refused in one only"] += 1
        bench.seen["deleted in the end"] += sum(not lives for lives, *_ in outcomes[0].records.values())

    deliver()


def test_the_order_of_delivery_does_not_matter(organizations: Organizations) -> None:
    """I7: ids, writes and clocks are the same, the order and the batches are not; so are the rows."""
    deliver_in_several_orders(organizations, 80)


@pytest.mark.long
def test_the_order_of_delivery_does_not_matter_in_thousands_of_cases(organizations: Organizations) -> None:
    """I7."""
    deliver_in_several_orders(organizations, 4_000)
    assert organizations.bench.seen["pairs of orders with the same accepted writes"] >= 2_000


async def overlap(bench: Bench, first: dict[str, Any], second: dict[str, Any]) -> tuple[Any, Any, bool]:
    """Both answers, and whether the second had to wait: it begins when the first has written and not committed."""
    transaction = bench.api.transaction()
    await transaction.start()
    [one] = await write(bench.api, first)
    other = asyncio.ensure_future(write(bench.other, second))
    has_waited = False
    async with asyncio.timeout(20):
        while not (other.done() or has_waited):
            has_waited = await bench.owner.fetchval(
                "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1",
                bench.other.get_server_pid(),
            )
            await asyncio.sleep(0)
    await transaction.commit()
    try:
        [two] = await other
    except asyncpg.SerializationError:
        # The API's way: the transaction is run again.
        [two] = await write(bench.other, second)
    return one, two, has_waited


def deliver_at_the_same_moment(organizations: Organizations, examples: int) -> None:
    bench = organizations.bench
    both, straight, reverse = organizations.tenants

    @seed(choose_seed())
    @thorough(examples)
    @given(st.lists(moves, min_size=2, max_size=5, unique_by=lambda move: move.moment))
    def deliver(history: list[Move]) -> None:
        case = Case.of([replace(move, record=0) for move in history])
        *before, a, b = range(len(case.moves))
        answers = bench.run(case.deliver(bench.api, both, [[n] for n in before]))
        *answers[a:], has_waited = bench.run(overlap(bench, case.element(both, a), case.element(both, b)))
        bench.seen["second waited" if has_waited else "second went ahead"] += 1
        found = bench.run(case.outcome(bench.owner, both, answers))
        serial = []
        for tenant, order in ((straight, [a, b]), (reverse, [b, a])):
            answers = bench.run(case.deliver(bench.api, tenant, [[n] for n in [*before, *order]]))
            serial.append(bench.run(case.outcome(bench.owner, tenant, answers)))
        assert found in serial

    deliver()


def test_two_processes_at_the_same_moment_are_as_one_after_the_other(organizations: Organizations) -> None:
    """I7: whatever the second has read before the first has committed."""
    deliver_at_the_same_moment(organizations, 60)


@pytest.mark.long
def test_two_processes_at_the_same_moment_in_thousands_of_cases(organizations: Organizations) -> None:
    """I7."""
    deliver_at_the_same_moment(organizations, 4_000)
    assert organizations.bench.seen["second waited"] >= 1_000
