"""One organisation on a real PostgreSQL, its clients, and the twin that knows what every answer must be.

The server's time is simulated, far in the future, so that a stamp by the server follows the stored clocks alone: the
same moves give the same world again, whatever the real time is.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from api.commit import fingerprint
from core.log import fetch_changes, fetch_head
from core.protocol.change import LoggedChange
from core.protocol.mutation import Mutation
from tests.properties.fold import Write
from tests.properties.simulated_client import KINDS, Client
from tests.properties.twin import DEFAULTS, Expected, Twin
from tests.tenants import Connection, Tenant, create_tenant, write

START_MS = 4_102_444_800_000
LATEST = "9999999999999-ffff-ffffffff-ffff-4fff-8fff-ffffffffffff"
PEOPLE = ("ana", "ben", "carla")


class AnsweredOtherwiseError(AssertionError):
    """PostgreSQL's answer to a mutation is not what the twin expects."""


@dataclass(slots=True)
class Accepted:
    """An acknowledged write and what its writer was told."""

    write: Write
    lost: set[str]
    mutation_id: str


@dataclass(slots=True)
class World:
    """Everything that happens in one run. Its methods are the moves; `check` proves the law."""

    owner: Connection
    api: Connection
    tenant: Tenant
    now_ms: int = START_MS
    clients: list[Client] = field(default_factory=list)
    twin: Twin = field(default_factory=Twin)
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)
    overwritten: list[tuple[Any, ...]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    is_broken: bool = False
    _ids: int = 0

    @classmethod
    async def create(cls, owner: Connection, api: Connection, slug: str) -> "World":
        """A fresh organisation, in which everybody may write to all, and one client of each kind."""
        tenant = await create_tenant(owner, slug)
        await owner.execute(
            "UPDATE organization_members SET role = 'manager', reads = 'all', branch_ids = NULL"
            " WHERE organization_id = $1",
            tenant.id,
        )
        world = cls(owner, api, tenant)
        for number, kind in enumerate(KINDS):
            client_id = f"0000000{number}-0000-4000-8000-00000000000{number}"
            world.clients.append(Client(kind, PEOPLE[number % len(PEOPLE)], client_id))
        return world

    def new_id(self) -> str:
        """An id that is the same in each replay."""
        self._ids += 1
        return str(uuid.UUID(int=(0x7 << 76) | (0x8 << 60) | self._ids))

    # What people do.

    def edit(self, client: Client, operation: str, record: str, fields: dict[str, Any], **more: Any) -> None:
        """A person writes: it goes to their client's queue, stamped, with the version that they see."""
        held = client.records.get(record)
        mutation: dict[str, Any] = {
            "mutation_id": self.new_id(),
            "id": record,
            "operation": operation,
            "fields": fields,
            "base_version": None if held is None else held["version"],
            "clock": client.stamp(self.now_ms),
            "mode": "merge",
            "was_sent": False,
        }
        client.queue.append(mutation | more)

    def take(self, client: Client, limit: int) -> list[dict[str, Any]]:
        """The next mutations of a client's queue."""
        return [{**mutation, "person": client.person} for mutation in client.queue[:limit]]

    def arrive(self, client: Client, batch: list[dict[str, Any]], way_ms: int) -> list[dict[str, Any]]:
        """What the API makes of a push that was on its way for so long: elements for write_mutations."""
        sent_ms, self.now_ms = self.now_ms, self.now_ms + way_ms
        for mutation in client.queue[: len(batch)]:
            mutation["was_sent"] = True
        clocks = client.effective(batch, sent_ms, self.now_ms)
        return [self._element(each, clock) for each, clock in zip(batch, clocks, strict=True)]

    def _element(self, mutation: dict[str, Any], clock: str | None) -> dict[str, Any]:
        asked = Mutation(
            mutation["mutation_id"],
            "leads",
            mutation["id"],
            mutation["operation"],
            mutation["fields"],
            mutation["base_version"],
            None,
            mutation["mode"],
        )
        return self.tenant.mutation(
            mutation["person"],
            asked.operation,
            "leads",
            asked.id,
            mutation_id=asked.mutation_id,
            fields=asked.fields,
            base_version=asked.base_version,
            clock=clock,
            mode=asked.mode,
            fingerprint=fingerprint(asked),
        )

    # What the server does.

    async def commit(
        self, elements: list[dict[str, Any]], *, is_straggler: bool = False
    ) -> list[dict[str, Any]]:
        """Write a batch and compare each answer with the twin's. A straggler may be older than what it meets."""
        results = await write(self.api, *elements)
        self.is_broken = True
        for element, result in zip(elements, results, strict=True):
            self._judge(element, result, is_straggler)
        self.is_broken = False
        return results

    async def die_before_commit(self, elements: list[dict[str, Any]]) -> None:
        """Write a batch in a transaction that never commits."""
        transaction = self.api.transaction()
        await transaction.start()
        await write(self.api, *elements)
        await transaction.rollback()

    async def settle(self, client: Client, results: list[dict[str, Any]]) -> None:
        """The answer reaches the client: what it answers leaves the queue, and the clock moves past what it names."""
        for result in results:
            mutation = client.queue.pop(0)
            answer = result["first"] if result["status"] == "duplicate" else result
            clock = answer.get("clock")
            if result["status"] != "rejected" and clock is not None:
                client.see(clock)
                if client.kind.corrects:
                    client.restamp(mutation["id"], clock)
        client.see(f"{self.now_ms:013d}-0000-{client.client_id}")

    def _judge(self, element: dict[str, Any], result: dict[str, Any], is_straggler: bool) -> None:
        key = (element["user_id"], element["mutation_id"])
        self.seen[result["status"]] += 1
        if key in self.answers:
            first = self.answers[key]
            same = result["status"] == "duplicate" and all(
                result["first"].get(name) == (first[name] or None)
                for name in ("status", "version", "clock", "lost")
            )
            if not same:
                raise AnsweredOtherwiseError(f"{element}\nfirst {first}\nthen {result}")
            return
        clock = self._effective(element, result)
        buried = self.twin.is_buried(element["id"])
        if not is_straggler and result["status"] != "rejected":
            self._check_own_order(element, clock)
        expected = self.twin.write(element, clock)
        _compare(element, result, expected)
        if result["status"] == "rejected":
            self.seen[f"rejected {result['code']}"] += 1
            return
        self.answers[key] = result
        if buried and element["operation"] != "delete":
            self.seen["merged into a grave" if self.twin.is_buried(element["id"]) else "revived"] += 1
        self._note(element, clock, expected)

    def _effective(self, element: dict[str, Any], result: dict[str, Any]) -> str:
        """The clock that the write counts with. PostgreSQL may move an own one past an equal one, no more."""
        own, stored = element["clock"], result["clock"]
        if own is None or result["status"] == "rejected":
            return stored or own or LATEST
        if stored != own:
            self.seen["equal clocks"] += 1
            if stored[:13] != own[:13] or stored[19:] != own[19:] or stored <= own:
                raise AnsweredOtherwiseError(f"{element}\nexpected the clock {own}, not {stored}")
        return str(stored)

    def _check_own_order(self, element: dict[str, Any], clock: str) -> None:
        """Whoever follows the clients' contract never loses to what they have written before."""
        found = self.twin.records.get(element["id"])
        is_of_contract = any(c.kind.corrects and clock.endswith(c.client_id) for c in self.clients)
        if found is None or not is_of_contract:
            return
        for name in element["fields"]:
            stamp = found.clocks.get(name) or found.clocks["*"]
            if stamp[0][20:] != clock[20:] or clock > stamp[0]:
                continue
            # An insert that was refused, and whose answer was lost, is sent once more after what was written later.
            winner = next(each for each in self.accepted if each.write.clock == stamp[0])
            if winner.mutation_id < element["mutation_id"]:
                raise AnsweredOtherwiseError(f"{element}\nlost to the same client's {stamp[0]}")

    def _note(self, element: dict[str, Any], clock: str, expected: Expected) -> None:
        operation, author = element["operation"], element["user_id"]
        fields = (
            DEFAULTS | element["fields"]
            if operation == "insert"
            else (element["fields"] if operation == "update" else {})
        )
        self.accepted.append(
            Accepted(
                Write(element["id"], operation, clock, author, fields),
                {entry["field"] for entry in expected.lost},
                element["mutation_id"],
            )
        )
        for entry in expected.lost:
            self.seen["lost"] += 1
            if entry["field"] == "*":
                self.seen["lost deletes"] += 1
        for entry in expected.overwrote:
            self.seen["overwrote"] += 1
            self.overwritten.append(
                (entry["by"], element["id"], entry["field"], entry["value"], author, expected.version)
            )

    async def psql(self, statement: str, record: str) -> None:
        """Somebody writes past the API; what the log says of it is taken over."""
        before = await fetch_head(self.owner, self.tenant.id)
        sql = {
            "insert": "INSERT INTO leads (organization_id, id, name) VALUES ($1, $2, 'psql') ON CONFLICT DO NOTHING",
            "update": "UPDATE leads SET phone = coalesce(phone, '') || 'p' WHERE organization_id = $1 AND id = $2",
            "delete": "DELETE FROM leads WHERE organization_id = $1 AND id = $2",
        }
        await self.owner.execute(sql[statement], self.tenant.id, record)
        for change in await fetch_changes(self.owner, self.tenant.id, before[1], 100):
            self.twin.log(change)
            self.seen[f"psql {change.operation}"] += 1
            names = {"insert": tuple(DEFAULTS), "update": change.changed, "delete": ()}[change.operation]
            fields = {name: change.record[name] for name in names}
            author = change.record["updated_by"] if change.operation != "delete" else None
            self.accepted.append(
                Accepted(Write(change.id, change.operation, change.clock, author, fields), set(), "")
            )

    # What comes back.

    async def pull(self, client: Client) -> None:
        """The client applies what the log has after its position; its clock moves past what it reads."""
        for change in await fetch_changes(self.owner, self.tenant.id, client.position, 100_000):
            assert change.offset == client.position + 1
            client.position = change.offset
            client.see(change.clock)
            if change.collection == "leads":
                apply(client.records, change)

    def digest(self) -> str:
        """What the records have come to: the same for the same moves, whoever's ids they are."""
        ends = sorted(
            (key, each.buried is None, each.version, sorted(each.values.items()))
            for key, each in self.twin.records.items()
        )
        return sha256(repr(ends).encode()).hexdigest()

    async def log(self) -> list[LoggedChange]:
        """The whole log."""
        _, head = await fetch_head(self.owner, self.tenant.id)
        changes = await fetch_changes(self.owner, self.tenant.id, 0, 100_000)
        assert [change.offset for change in changes] == list(range(1, head + 1)), "the log is not 1..N (I1)"
        return changes


def apply(records: dict[str, dict[str, Any]], change: LoggedChange) -> None:
    """Apply a change to a replica, field by field as a delta does. Versions follow each other without a hole."""
    held = records.get(change.id)
    match change.operation:
        case "insert":
            assert held is None, f"{change.id} is inserted twice"
            records[change.id] = dict(change.record)
        case "update":
            assert held is not None
            assert change.version == held["version"] + 1, f"{change.id} went from {held['version']}"
            names = (*change.changed, "updated_at", "updated_by", "version")
            held |= {name: change.record[name] for name in names}
        case "delete":
            assert held is not None
            assert change.version == held["version"] + 1
            del records[change.id]


def _compare(element: dict[str, Any], result: dict[str, Any], expected: Expected) -> None:
    found = Expected(
        result["status"],
        result["code"],
        result["version"] if result["status"] != "rejected" else None,
        sorted(result["lost"] or [], key=lambda entry: str(entry["field"])),
        sorted(result["overwrote"] or [], key=lambda entry: str(entry["field"])),
    )
    if found != expected:
        raise AnsweredOtherwiseError(f"{element}\nexpected {expected}\nanswered {found}")


async def rows_of(connection: Connection, tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    """The organisation's leads and its graves: record, clocks, and of a grave its clock."""
    rows = await connection.fetch(
        "SELECT id::text, encode_record(l)::text AS record, field_clocks::text AS clocks FROM leads l"
        " WHERE organization_id = $1",
        tenant.id,
    )
    graves = await connection.fetch(
        "SELECT record_id::text AS id, record::text, field_clocks::text AS clocks, clock FROM tombstones"
        " WHERE organization_id = $1 AND collection = 'leads'",
        tenant.id,
    )
    return (
        {row["id"]: (orjson.loads(row["record"]), orjson.loads(row["clocks"])) for row in rows},
        {
            row["id"]: (orjson.loads(row["record"]), orjson.loads(row["clocks"]), row["clock"])
            for row in graves
        },
    )
