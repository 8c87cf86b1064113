"""PURE. A committed change as the log holds it, and as clients see it.

`LoggedChange` is what travels inside: from the log through the relay and Redis to the gateways. What leaves
for a client is a plain dictionary made of it for one view (`core.protocol.view.change_for_view`), so that a
field nobody may read has no way out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Operation = Literal["insert", "update", "delete"]
"""What was done to a record in the log."""

WireOperation = Literal["insert", "update", "delete", "enter", "leave"]
"""What a view's subscriber is told: the log's operations, and a record that moved into or out of the view."""

Record = dict[str, Any]
"""A record as the database encodes it: field name → JSON value, with the system's own fields among them."""

SYSTEM_FIELDS_OF_UPDATE = ("updated_at", "updated_by")
"""Fields that go with every update beside those that changed."""


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """One record changed once.

    `record` is the whole record after the change (before it, for a delete). `changed` names the business
    fields that an update changed and `previous` holds their values before it. `last_of_commit` is the
    offset at which the database transaction that holds this change ends: a position between two
    transactions, never inside one. `transaction` names one writer's unit. `actor` is `{user_id, name,
    branch_id}`, or None if nobody is known. `overwrote` lists `{field, value, by, at_ms}`: values that a
    concurrent write lost.
    """

    offset: int
    collection: str
    id: str
    operation: Operation
    version: int
    record: Record
    changed: tuple[str, ...]
    previous: Record
    clock: str
    actor: Mapping[str, Any] | None
    mutation_id: str | None
    transaction: str
    committed_at_ms: int
    overwrote: list[dict[str, Any]] | None
    last_of_commit: int


def change_to_json(change: LoggedChange) -> dict[str, Any]:
    """Give `change` as a dictionary of JSON values with the names of its fields."""
    return {
        "offset": change.offset,
        "collection": change.collection,
        "id": change.id,
        "operation": change.operation,
        "version": change.version,
        "record": change.record,
        "changed": change.changed,
        "previous": change.previous,
        "clock": change.clock,
        "actor": change.actor,
        "mutation_id": change.mutation_id,
        "transaction": change.transaction,
        "committed_at_ms": change.committed_at_ms,
        "overwrote": change.overwrote,
        "last_of_commit": change.last_of_commit,
    }


def change_from_json(data: Mapping[str, Any]) -> LoggedChange:
    """Give the change that `change_to_json` was given; raise KeyError or TypeError where a field is
    missing.
    """
    return LoggedChange(
        offset=data["offset"],
        collection=data["collection"],
        id=data["id"],
        operation=data["operation"],
        version=data["version"],
        record=data["record"],
        changed=tuple(data["changed"]),
        previous=data["previous"],
        clock=data["clock"],
        actor=data["actor"],
        mutation_id=data["mutation_id"],
        transaction=data["transaction"],
        committed_at_ms=data["committed_at_ms"],
        overwrote=data["overwrote"],
        last_of_commit=data["last_of_commit"],
    )
