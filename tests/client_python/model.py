"""A model of the server in memory, for simulations: the log, the merge and the views are the server's own pure code.

What it adds is what a database does in reality: numbering, rows, tombstones, answers that are remembered.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from branchline_client.change import change_from_json
from branchline_client.message import Delta
from branchline_client.mutation import Mutation, Result, result_from_json
from core.clock import effective_clocks, merge_fields, parse_clock
from core.principal import Principal
from core.protocol.change import LoggedChange
from core.protocol.collection import Catalogue, Collection, Field
from core.protocol.topic import parse_topic
from core.protocol.view import View, change_for_view, view_of

Record = dict[str, Any]
EPOCH = "e1"
COLLECTION = "leads"
FIELDS = ("name", "phone", "status")
CATALOGUE = Catalogue(
    "1", {COLLECTION: Collection(COLLECTION, {name: Field(name, "text", filterable=True) for name in FIELDS})}
)
REFUSED_VALUE = "refused"
"""A value that a constraint forbids."""


def make_view(user_id: str, topic: str) -> View:
    """What a topic shows to somebody who reads everything."""
    principal = Principal(user_id, user_id, "org", "agent", None, "all", "s")
    return view_of(parse_topic(topic, CATALOGUE), principal, CATALOGUE)


@dataclass
class Row:
    """A record with its clocks; a deleted one is a tombstone."""

    record: Record
    clocks: dict[str, Any]
    version: int
    is_dead: bool = False
    died_at: str = ""


@dataclass
class ModelServer:
    """The server. `now_ms` is its time; `rows` and `log` are what a database would hold."""

    now_ms: int = 1_700_000_000_000
    rows: dict[str, Row] = field(default_factory=dict)
    log: list[LoggedChange] = field(default_factory=list)
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def head(self) -> int:
        """The newest offset."""
        return len(self.log)

    def records(self, view: View) -> dict[str, Record]:
        """What a view shows now."""
        return {
            key: view.strip(COLLECTION, row.record)
            for key, row in self.rows.items()
            if not row.is_dead and view.shows(COLLECTION, row.record)
        }

    def push(self, user_id: str, now_ms: int, mutations: Iterable[Mutation]) -> tuple[list[Result], int]:
        """Write mutations, each for itself; the results, and the head."""
        todo = list(mutations)
        clocks = effective_clocks(
            [parse_clock(each.clock) for each in todo], now_ms - self.now_ms, self.now_ms
        )
        begun = self.head
        results = [
            self._write(user_id, mutation, str(clock)) for mutation, clock in zip(todo, clocks, strict=True)
        ]
        # All of a push is one transaction.
        for index in range(begun, self.head):
            object.__setattr__(self.log[index], "last_of_commit", self.head)
        return [result_from_json(each) for each in results], self.head

    def delta(self, view: View, after: int, to: int, *, conflated: bool = False) -> Delta:
        """What a view shows of the log after an offset up to another."""
        told = [wire for c in self.log[after:to] if (wire := change_for_view(view, c)) is not None]
        if conflated:
            told = list(_conflate(told))
        changes = tuple(change_from_json(each) for each in told)
        return Delta(view.topic.canonical, EPOCH, after, to, changes, conflated=conflated)

    def commit_ends(self) -> list[int]:
        """The offsets at which transactions end."""
        return sorted({change.last_of_commit for change in self.log})

    def _write(self, user_id: str, mutation: Mutation, clock: str) -> dict[str, Any]:
        key = (user_id, mutation.mutation_id)
        answer: dict[str, Any] = {"mutation_id": mutation.mutation_id}
        content = (mutation.id, mutation.operation, mutation.fields, mutation.base_version, mutation.mode)
        first = self.answers.get(key)
        if first is not None:
            if first["content"] != content:
                return {**answer, "status": "rejected", "code": "id_reused"}
            return {**answer, "status": "duplicate", "first": first["answer"]}
        if REFUSED_VALUE in mutation.fields.values():
            return {**answer, "status": "rejected", "code": "invalid"}
        row = self.rows.get(mutation.id)
        write = {"insert": self._insert, "update": self._update, "delete": self._delete}[mutation.operation]
        outcome = write(user_id, mutation, clock, row)
        if outcome["status"] != "rejected":
            self.answers[key] = {"content": content, "answer": outcome}
        return {**answer, **outcome}

    def _insert(self, user_id: str, mutation: Mutation, clock: str, row: Row | None) -> dict[str, Any]:
        if row is not None and not row.is_dead:
            return {"status": "rejected", "code": "id_taken"}
        if row is not None and clock <= row.died_at:
            return {"status": "merged", "version": row.version, "clock": clock, "lost": _lost(mutation, row)}
        version = 1 if row is None else row.version + 1
        record = {"id": mutation.id, "version": version, **dict.fromkeys(FIELDS), **mutation.fields}
        self.rows[mutation.id] = Row(record, {"*": (clock, version, user_id)}, version)
        self._log(user_id, mutation, "insert", record, clock, (), {}, None)
        return {"status": "applied", "version": version, "clock": clock}

    def _update(self, user_id: str, mutation: Mutation, clock: str, row: Row | None) -> dict[str, Any]:
        if row is None:
            return {"status": "rejected", "code": "not_found"}
        if mutation.mode == "strict" and mutation.base_version != row.version:
            return {"status": "rejected", "code": "version_mismatch"}
        merge = merge_fields(
            row.record, row.clocks, mutation.fields, clock, mutation.base_version, user_id, row.version + 1
        )
        if row.is_dead and clock <= row.died_at:
            row.record, row.clocks = {**row.record, **merge.winners}, merge.clocks
            return {"status": "merged", "version": row.version, "clock": clock, "lost": _lost(mutation, row)}
        lost = {"lost": merge.lost} if merge.lost else {}
        if merge.winners:
            previous = {
                name: row.record[name] for name in merge.winners if row.record[name] != merge.winners[name]
            }
            operation = "insert" if row.is_dead else "update"
            row.version += 1
            row.record = {**row.record, **merge.winners, "version": row.version}
            row.clocks, row.is_dead = merge.clocks, False
            changed = tuple(previous) if operation == "update" else ()
            before = previous if operation == "update" else {}
            self._log(
                user_id, mutation, operation, row.record, clock, changed, before, merge.overwrote or None
            )
        status = "merged" if merge.lost else "applied"
        return {"status": status, "version": row.version, "clock": clock, **lost}

    def _delete(self, user_id: str, mutation: Mutation, clock: str, row: Row | None) -> dict[str, Any]:
        if row is None:
            return {"status": "rejected", "code": "not_found"}
        if row.is_dead:
            row.died_at = max(row.died_at, clock)
            return {"status": "applied", "version": row.version, "clock": clock}
        latest = max(stamp[0] for stamp in row.clocks.values())
        if clock < latest:
            lost = [{"field": "*", "mine": None, "theirs": None, "by": None, "at_ms": 0}]
            return {"status": "merged", "version": row.version, "clock": clock, "lost": lost}
        row.version += 1
        row.is_dead, row.died_at = True, clock
        self._log(user_id, mutation, "delete", row.record, clock, (), {}, None, version=row.version)
        return {"status": "applied", "version": row.version, "clock": clock}

    def _log(
        self,
        user_id: str,
        mutation: Mutation,
        operation: Any,
        record: Record,
        clock: str,
        changed: tuple[str, ...],
        previous: Record,
        overwrote: list[dict[str, Any]] | None,
        version: int | None = None,
    ) -> None:
        offset = self.head + 1
        self.log.append(
            LoggedChange(
                offset=offset,
                collection=COLLECTION,
                id=mutation.id,
                operation=operation,
                version=record["version"] if version is None else version,
                record=record,
                changed=changed,
                previous=previous,
                clock=clock,
                actor={"user_id": user_id, "name": user_id, "branch_id": None},
                mutation_id=mutation.mutation_id,
                transaction=mutation.mutation_id,
                committed_at_ms=self.now_ms,
                overwrote=overwrote,
                last_of_commit=offset,
            )
        )


def _lost(mutation: Mutation, row: Row) -> list[dict[str, Any]]:
    return [
        {"field": name, "mine": value, "theirs": None, "by": None, "at_ms": int(row.died_at[:13])}
        for name, value in mutation.fields.items()
    ]


def _conflate(told: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The latest state of each record in place of each step, with all mutations in it."""
    merged: dict[str, dict[str, Any]] = {}
    for change in told:
        ids = [change["mutation_id"]] if change["mutation_id"] else []
        before = merged.pop(change["id"], None)
        fields = change["fields"]
        operation = change["operation"]
        if before is not None:
            ids = [*before["mutation_ids"], *ids]
            if operation == "update":
                fields = {**before["fields"], **fields}
                if before["operation"] in ("insert", "enter"):
                    operation = before["operation"]
                    fields = {**fields, "version": change["version"]}
            elif operation in ("insert", "enter") and before["operation"] not in ("insert", "enter"):
                operation = "enter"
        merged[change["id"]] = {**change, "operation": operation, "fields": fields, "mutation_ids": ids}
    return sorted(merged.values(), key=lambda change: change["offset"])


Chance = Callable[[], float]
