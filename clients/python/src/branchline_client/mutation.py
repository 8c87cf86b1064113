"""PURE. What a client asks to be written, what became of it, and what is kept for its author."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from branchline_client.change import Record
from branchline_client.errors import MalformedMessageError

MutationOperation = Literal["insert", "update", "delete"]
Mode = Literal["merge", "strict"]
Status = Literal["applied", "merged", "duplicate", "rejected"]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One record to be inserted, updated or deleted.

    `base_version` is the version that its author saw, None if there was none to see. `mode` None leaves it to the
    server: strict for critical fields, else merge. `made_at_ms` is when it was typed, by the server's time; `offset_ms`
    is what the device's clock lacked of that time when `clock` was stamped, `floor` the greatest clock that had been
    received by then.
    """

    mutation_id: str
    collection: str
    id: str
    operation: MutationOperation
    fields: Record = field(default_factory=dict)
    base_version: int | None = None
    mode: Mode | None = None
    clock: str = ""
    made_at_ms: int = 0
    offset_ms: int = 0
    floor: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The record that it is about."""
        return self.collection, self.id


def mutation_to_json(mutation: Mutation) -> dict[str, Any]:
    """Give a mutation as `POST /api/sync` takes it."""
    body: dict[str, Any] = {
        "mutation_id": mutation.mutation_id,
        "collection": mutation.collection,
        "id": mutation.id,
        "operation": mutation.operation,
        "fields": mutation.fields,
    }
    if mutation.base_version is not None:
        body["base_version"] = mutation.base_version
    if mutation.clock:
        body["clock"] = mutation.clock
    if mutation.mode is not None:
        body["mode"] = mutation.mode
    return body


@dataclass(frozen=True, slots=True)
class LostField:
    """A value that a later write has beaten, or nearly: theirs counts. `by` is a user id or None."""

    field: str
    mine: Any
    theirs: Any
    by: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutation. A `duplicate` is read as its first result, with `is_repeat` set.

    `clock` is the effective one. `record` is the record after the write, or the current one for a refusal by version.
    """

    mutation_id: str
    status: Status
    version: int | None = None
    clock: str | None = None
    record: Record | None = None
    lost: tuple[LostField, ...] = ()
    code: str | None = None
    message: str | None = None
    is_repeat: bool = False


def result_from_json(data: Mapping[str, Any]) -> Result:
    """Read a result. Raises MalformedMessageError."""
    try:
        answer: Mapping[str, Any] = data
        is_repeat = data["status"] == "duplicate"
        if is_repeat:
            answer = {"status": "applied", **(data.get("first") or {})}
        status = answer["status"]
        if status not in ("applied", "merged", "rejected"):
            raise MalformedMessageError(f"expected a result, got the status {status!r}")
        return Result(
            mutation_id=data["mutation_id"],
            status=status,
            version=_either(answer, data, "version"),
            clock=_either(answer, data, "clock"),
            record=data.get("record"),
            lost=tuple(map(_lost_from_json, answer.get("lost") or ())),
            code=answer.get("code"),
            message=answer.get("message"),
            is_repeat=is_repeat,
        )
    except (KeyError, TypeError) as error:
        raise MalformedMessageError(f"expected a result, got one without {error}") from error


def _either(answer: Mapping[str, Any], data: Mapping[str, Any], name: str) -> Any:
    value = answer.get(name)
    return data.get(name) if value is None else value


def _lost_from_json(data: Mapping[str, Any]) -> LostField:
    return LostField(
        field=data["field"],
        mine=data.get("mine"),
        theirs=data.get("theirs"),
        by=data.get("by"),
        at_ms=data.get("at_ms", 0),
    )


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A write that was not done, with all of its value: it stays until its author tries it again or discards it.

    `code` says why: a code of the server; `refused_by_dependency` for what was to follow a refused write (then
    `depends_on` names that one); `access_lost` for what was waiting when access was lost. `record` is the server's
    record at that time, where it was told.
    """

    mutation: Mutation
    code: str
    message: str
    at_ms: int
    depends_on: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def id(self) -> str:
        """The id of the entry: its mutation's."""
        return self.mutation.mutation_id


@dataclass(frozen=True, slots=True)
class Loss:
    """A value of this person's that another's write replaced: kept until it is dismissed or restored.

    `kind` is `lost` if it was beaten on its way, `overwritten` if it stood and was replaced unseen. The field `*` is
    a delete that was not done, because the record had changed since.
    """

    id: str
    kind: Literal["lost", "overwritten"]
    collection: str
    record_id: str
    field: str
    mine: Any
    theirs: Any
    by: str | None
    at_ms: int


def losses_of(mutation: Mutation, result: Result) -> list[Loss]:
    """Give what a mutation lost, for its author to see."""
    return [
        Loss(
            id=f"{mutation.mutation_id}:{lost.field}",
            kind="lost",
            collection=mutation.collection,
            record_id=mutation.id,
            field=lost.field,
            mine=lost.mine,
            theirs=lost.theirs,
            by=lost.by,
            at_ms=lost.at_ms,
        )
        for lost in result.lost
    ]


def without_lost(mutation: Mutation, result: Result) -> Mutation:
    """Give what a merged mutation has in fact written. One that lost altogether is an update of nothing."""
    if not result.lost:
        return mutation
    lost = {each.field for each in result.lost}
    fields = {name: value for name, value in mutation.fields.items() if name not in lost}
    is_beaten = "*" in lost or (mutation.operation == "insert" and not fields)
    return replace(mutation, operation="update" if is_beaten else mutation.operation, fields=fields)
