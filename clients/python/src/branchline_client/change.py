"""PURE. One record changed once, as a view's subscriber is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from branchline_client.errors import MalformedMessageError

Record: TypeAlias = dict[str, Any]
"""A record as the server encodes it: field name → JSON value."""

Operation = Literal["insert", "update", "delete", "enter", "leave", "reset"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change. `fields` is the whole record for `insert` and `enter`, the changed fields for `update`, else empty.

    `operation` is `enter` or `leave` for a record that moved into or out of the topic's view. `reset`, which only
    streams yield, says that what was known of the topic is void; each record that it has now follows as an `enter`.
    `actor` is `{user_id, name, branch_id}`. `overwrote` lists `{field, value, by, at_ms}`: values of others that this
    change replaced unseen. `mutation_ids` are all mutations in it: a conflated change stands for several.
    """

    offset: int
    collection: str
    id: str
    operation: Operation
    version: int
    fields: Record
    clock: str = ""
    actor: Mapping[str, Any] | None = None
    mutation_id: str | None = None
    transaction: str = ""
    committed_at_ms: int = 0
    overwrote: tuple[Mapping[str, Any], ...] = ()
    mutation_ids: tuple[str, ...] = ()


def change_from_json(data: Mapping[str, Any]) -> Change:
    """Read a change. Raises MalformedMessageError where a field is missing."""
    try:
        mutation_id = data["mutation_id"]
        mutation_ids = data.get("mutation_ids")
        return Change(
            offset=data["offset"],
            collection=data["collection"],
            id=data["id"],
            operation=data["operation"],
            version=data["version"],
            fields=data["fields"],
            clock=data["clock"],
            actor=data["actor"],
            mutation_id=mutation_id,
            transaction=data["transaction"],
            committed_at_ms=data["committed_at_ms"],
            overwrote=tuple(data.get("overwrote") or ()),
            mutation_ids=tuple(mutation_ids)
            if mutation_ids
            else (() if mutation_id is None else (mutation_id,)),
        )
    except (KeyError, TypeError) as error:
        raise MalformedMessageError(f"expected a change, got one without {error}") from error


def reset_of(collection: str, offset: int) -> Change:
    """Give the change that voids what a stream has told of its topic."""
    return Change(offset, collection, "", "reset", 0, {})


def enter_of(collection: str, record: Record, offset: int) -> Change:
    """Give the change that tells a stream of a record of a snapshot."""
    return Change(offset, collection, record["id"], "enter", record["version"], record)
