"""PURE but for the time. What branches bring along when they come back, and what must come of it.

The mix is that of a queue, not of a loader: new leads, edits of leads that others edit as well, edits that are older
than what is there and lose, and mutations that are sent again because an answer got lost. The score folds what was
accepted by its effective clocks, which is what PostgreSQL must then have (I6, I7).
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import uuid_utils

from core.clock import Clock, tick

_TEXTS = ("name", "company", "email", "phone", "notes")
_LATE_MS = 60_000
_RECENT = 2_000
"""What is edited or sent again is among the last so many: a day's work, not an archive."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Of how many mutations one is of each kind, by chance but from a seed; the rest are edits that win.

    `bad_each` in a row is one that must be refused (0: none): every other one for a value that there is none of, every
    other one for a reference to nothing, which only PostgreSQL can know.
    """

    insert_share: float = 0.30
    late_share: float = 0.07
    repeat_share: float = 0.05
    bad_each: int = 0
    record_bytes: int = 256
    seed: int = 1


@dataclass(slots=True)
class Asked:
    """A mutation that was sent, and what it must be answered with."""

    mutation: dict[str, Any]
    expected: frozenset[str]


_ACCEPTED = frozenset({"applied", "merged"})
_DUPLICATE = frozenset({"duplicate"})
_REJECTED = frozenset({"rejected"})


@dataclass(slots=True)
class Folded:
    """What was accepted, added up: by record the value and clock of each field, and which mutations are in the log."""

    results: Counter[str] = field(default_factory=Counter)
    fields: dict[str, dict[str, tuple[str | None, str]]] = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)
    remembered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def refused_as_expected(self) -> int:
        """Bad ones that were rejected; everything else that is, is a fault."""
        return self.results["rejected"] - self.faults["answered rejected"]

    def take(self, asked: Asked, result: dict[str, Any]) -> None:
        """Hold a result against what was asked, and fold it in."""
        status, mutation = result["status"], asked.mutation
        self.results[status] += 1
        if result["mutation_id"] != mutation["mutation_id"] or status not in asked.expected:
            self.faults[f"answered {status}"] += 1
            if len(self.examples) < 3:
                self.examples.append(f"{mutation}: {result}"[:600])
            return
        if status in _ACCEPTED:
            self._fold(mutation, result)

    def _fold(self, mutation: dict[str, Any], result: dict[str, Any]) -> None:
        clock, lost = result["clock"], {each["field"] for each in result.get("lost", ())}
        self.remembered += 1
        if mutation["fields"].keys() - lost:
            self.logged.add(mutation["mutation_id"])
        if mutation["operation"] == "insert":
            # It says of every field what its value is: of those that it does not name, that there is none.
            self.fields[mutation["id"]] = dict.fromkeys(_TEXTS, (None, clock))
        record = self.fields[mutation["id"]]
        for name, value in mutation["fields"].items():
            if name not in record or record[name][1] <= clock:
                record[name] = (value, clock)

    def add(self, other: "Folded") -> None:
        """Add what another client has seen of other records."""
        self.results += other.results
        self.fields |= other.fields
        self.logged |= other.logged
        self.remembered += other.remembered
        self.faults += other.faults
        self.examples = (self.examples + other.examples)[:3]


class Desk:
    """An organisation's shared work: the records that exist, and what was answered. Its branches draw from it."""

    def __init__(self, branch_id: str, mix: Mix, seed: int) -> None:
        self.folded = Folded()
        self._branch_id = branch_id
        self._mix = mix
        self._chance = Random(seed)
        self._records: list[str] = []
        self._number = 0

    def settle(self, asked: Asked, result: dict[str, Any]) -> None:
        """Take the result of a mutation."""
        self.folded.take(asked, result)
        if result["status"] in _ACCEPTED and asked.mutation["operation"] == "insert":
            _keep_recent(self._records, asked.mutation["id"])

    def draw(self, answered: Sequence[dict[str, Any]], clock: Clock) -> Asked:
        """The next mutation of a branch whose clock says `clock`, and of which these were `answered`."""
        self._number += 1
        mix, chance = self._mix, self._chance
        if mix.bad_each and self._number % mix.bad_each == 0:
            return self._bad(clock)
        kind = chance.random()
        if not self._records or kind < mix.insert_share:
            return Asked(self._insert(clock), _ACCEPTED)
        kind -= mix.insert_share
        if kind < mix.late_share:
            return Asked(self._edit(Clock(clock.ms - _LATE_MS, clock.counter, clock.client_id)), _ACCEPTED)
        if answered and kind - mix.late_share < mix.repeat_share:
            return Asked(chance.choice(answered), _DUPLICATE)
        return Asked(self._edit(clock), _ACCEPTED)

    def _insert(self, clock: Clock) -> dict[str, Any]:
        name = f"Lead {self._number} "
        fields = {"name": name, "branch_id": self._branch_id, "phone": str(self._number)}
        fields["notes"] = name.ljust(max(self._mix.record_bytes - 160, len(name)), "x")
        return _mutation("insert", str(uuid_utils.uuid7()), fields, clock)

    def _edit(self, clock: Clock) -> dict[str, Any]:
        # Squared: a few records are in everybody's hands, most are in nobody's.
        record = self._records[-1 - int(len(self._records) * self._chance.random() ** 2)]
        names = self._chance.sample(_TEXTS, self._chance.choice((1, 1, 2, 3)))
        return _mutation("update", record, {name: f"{name} {self._number}" for name in names}, clock)

    def _bad(self, clock: Clock) -> Asked:
        mutation = self._insert(clock)
        if (self._number // self._mix.bad_each) % 2:
            mutation["fields"]["status"] = "nonsense"
        else:
            mutation["fields"]["client_id"] = mutation["id"]
        return Asked(mutation, _REJECTED)


class Branch:
    """A client of one person: stamps what it draws by a clock that never goes back."""

    def __init__(self, desk: Desk) -> None:
        self.client_id = str(uuid_utils.uuid4())
        self._desk = desk
        self._clock: Clock | None = None
        self._answered: list[dict[str, Any]] = []

    def draw(self, count: int) -> tuple[int, list[Asked]]:
        """The client's time in Unix milliseconds, and so many mutations."""
        now_ms = time.time_ns() // 1_000_000
        drawn = []
        for _ in range(count):
            self._clock = tick(self._clock, now_ms, self.client_id)
            drawn.append(self._desk.draw(self._answered, self._clock))
        return now_ms, drawn

    def settle(self, asked: Sequence[Asked], results: Sequence[dict[str, Any]]) -> None:
        """Take the results of a push."""
        if len(asked) != len(results):
            self._desk.folded.faults[f"{len(asked)} mutations had {len(results)} results"] += 1
            return
        for each, result in zip(asked, results, strict=True):
            self._desk.settle(each, result)
            if result["status"] in _ACCEPTED:
                _keep_recent(self._answered, each.mutation)


def _mutation(operation: str, record_id: str, fields: dict[str, Any], clock: Clock) -> dict[str, Any]:
    return {
        "mutation_id": str(uuid_utils.uuid7()),
        "collection": "leads",
        "id": record_id,
        "operation": operation,
        "fields": fields,
        "clock": str(clock),
    }


def _keep_recent(items: list[Any], item: Any) -> None:
    items.append(item)
    if len(items) > 2 * _RECENT:
        del items[:_RECENT]
