"""PURE. What `write_mutations` must answer: its promises written a second time, for one collection and people with all
rights, without a database. Each answer of PostgreSQL is compared with this.
"""

from dataclasses import dataclass, field
from typing import Any

from core.clock import Stamp, merge_fields
from core.protocol.change import LoggedChange

DEFAULTS: dict[str, Any] = {
    "branch_id": None,
    "name": None,
    "company": None,
    "email": None,
    "phone": None,
    "source": "website",
    "status": "new",
    "score": None,
    "estimated_value": None,
    "currency": "EUR",
    "owner_id": None,
    "client_id": None,
    "next_step_at": None,
    "notes": None,
}
"""A lead of which nothing is known."""


@dataclass(slots=True)
class Record:
    """A lead as the server holds it. `buried` is the clock of its delete, None while it lives."""

    version: int
    values: dict[str, Any]
    clocks: dict[str, Stamp]
    buried: str | None = None
    buried_by: str | None = None

    @property
    def latest(self) -> str:
        """The greatest clock of its fields."""
        return max(stamp[0] for stamp in self.clocks.values())


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be answered. `lost` and `overwrote` have an entry a field, as the contract has them."""

    status: str
    code: str | None = None
    version: int | None = None
    lost: list[dict[str, Any]] = field(default_factory=list)
    overwrote: list[dict[str, Any]] = field(default_factory=list)


def is_valid(values: dict[str, Any]) -> bool:
    """Whether a lead passes the table's constraints, as far as the tests come near them."""
    return bool(values["name"]) and (values["score"] is None or 0 <= values["score"] <= 100)


class Twin:
    """All leads of one organisation, as the writes that were accepted so far have made them."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def is_buried(self, record: str) -> bool:
        """Whether a record has been deleted."""
        found = self.records.get(record)
        return found is not None and found.buried is not None

    def write(self, mutation: dict[str, Any], clock: str) -> Expected:
        """Take a mutation with its effective clock: its own, or the server's stamp if it has none of its own."""
        found = self.records.get(mutation["id"])
        match mutation["operation"]:
            case "insert":
                return self._insert(mutation, clock, found)
            case "update":
                return self._update(mutation, clock, found)
            case _:
                return self._delete(mutation, clock, found)

    def _insert(self, mutation: dict[str, Any], clock: str, found: Record | None) -> Expected:
        values = DEFAULTS | mutation["fields"]
        author = mutation["user_id"]
        if found is not None and found.buried is not None and clock <= found.buried:
            return self._merge_into_grave(found, mutation, values, clock)
        if not is_valid(values):
            return _rejected("invalid")
        if found is not None and found.buried is None:
            return _rejected("id_taken")
        version = 1 if found is None else found.version + 1
        self.records[mutation["id"]] = Record(version, values, {"*": (clock, version, author)})
        return Expected("applied", version=version)

    def _update(self, mutation: dict[str, Any], clock: str, found: Record | None) -> Expected:
        if found is None:
            return _rejected("not_found")
        if found.buried is not None:
            return self._update_buried(mutation, clock, found)
        if mutation.get("mode") == "strict" and mutation.get("base_version") != found.version:
            return _rejected("version_mismatch")
        author = mutation["user_id"]
        merge = merge_fields(
            found.values,
            found.clocks,
            mutation["fields"],
            clock,
            mutation.get("base_version"),
            author,
            found.version + 1,
        )
        if not is_valid(found.values | merge.winners):
            return _rejected("invalid")
        if merge.winners:
            found.version += 1
            found.values = found.values | merge.winners
            found.clocks = merge.clocks
        return Expected(
            "merged" if merge.lost else "applied",
            version=found.version,
            lost=merge.lost,
            overwrote=merge.overwrote,
        )

    def _update_buried(self, mutation: dict[str, Any], clock: str, found: Record) -> Expected:
        if mutation["clock"] is None or not mutation["fields"]:
            return _rejected("not_found")
        if mutation.get("mode") == "strict":
            return _rejected("version_mismatch")
        author, base = mutation["user_id"], mutation.get("base_version")
        fields = mutation["fields"]
        assert found.buried is not None
        if clock <= found.buried:
            return self._merge_into_grave(found, mutation, fields, clock)
        merge = merge_fields(found.values, found.clocks, fields, clock, base, author, found.version + 1)
        if not is_valid(found.values | merge.winners):
            return _rejected("invalid")
        found.version += 1
        found.values, found.clocks = found.values | merge.winners, merge.clocks
        found.buried = found.buried_by = None
        return Expected(
            "merged" if merge.lost else "applied",
            version=found.version,
            lost=merge.lost,
            overwrote=merge.overwrote,
        )

    def _delete(self, mutation: dict[str, Any], clock: str, found: Record | None) -> Expected:
        if found is None:
            return _rejected("not_found")
        author = mutation["user_id"]
        if found.buried is not None:
            if mutation["clock"] is None:
                return _rejected("not_found")
            if clock > found.buried:
                found.buried, found.buried_by = clock, author
            return Expected("applied", version=found.version)
        if mutation.get("mode") == "strict" and mutation.get("base_version") != found.version:
            return _rejected("version_mismatch")
        if clock < found.latest:
            newest = max(found.clocks.values(), key=lambda stamp: stamp[0])
            lost = {"field": "*", "mine": None, "theirs": None, "by": newest[2], "at_ms": int(newest[0][:13])}
            return Expected("merged", version=found.version, lost=[lost])
        overwrote = _overwrote_by_delete(found, mutation.get("base_version"), author)
        found.version += 1
        found.buried, found.buried_by = clock, author
        return Expected("applied", version=found.version, overwrote=overwrote)

    def log(self, change: LoggedChange) -> None:
        """Take a change that nobody asked for here: somebody in psql wrote."""
        stamp = (change.clock, change.version, change.record["updated_by"])
        match change.operation:
            case "insert":
                values = {name: change.record[name] for name in DEFAULTS}
                self.records[change.id] = Record(change.version, values, {"*": stamp})
            case "update":
                found = self.records[change.id]
                found.version = change.version
                found.values |= {name: change.record[name] for name in change.changed}
                found.clocks |= dict.fromkeys(change.changed, stamp)
            case "delete":
                found = self.records[change.id]
                found.version, found.buried, found.buried_by = change.version, change.clock, None

    def _merge_into_grave(
        self, found: Record, mutation: dict[str, Any], fields: dict[str, Any], clock: str
    ) -> Expected:
        author = mutation["user_id"]
        merge = merge_fields(found.values, found.clocks, fields, clock, None, author, found.version + 1)
        if not is_valid(found.values | merge.winners):
            return _rejected("invalid")
        found.values, found.clocks = found.values | merge.winners, merge.clocks
        return Expected("merged", version=found.version, lost=_lost_to_delete(mutation, found))


def _rejected(code: str) -> Expected:
    return Expected("rejected", code=code)


def _lost_to_delete(mutation: dict[str, Any], found: Record) -> list[dict[str, Any]]:
    assert found.buried is not None
    at_ms = int(found.buried[:13])
    return [
        {"field": name, "mine": value, "theirs": None, "by": found.buried_by, "at_ms": at_ms}
        for name, value in sorted(mutation["fields"].items())
    ]


def _overwrote_by_delete(found: Record, base: int | None, author: str | None) -> list[dict[str, Any]]:
    """What the delete takes with it unseen: of an insert only what has a value."""
    overwrote = []
    for name, value in sorted(found.values.items()):
        stamp = found.clocks.get(name) or found.clocks["*"]
        is_typed = name in found.clocks or value is not None
        if base is not None and stamp[1] > base and stamp[2] != author and is_typed:
            overwrote.append({"field": name, "value": value, "by": stamp[2], "at_ms": int(stamp[0][:13])})
    return overwrote
