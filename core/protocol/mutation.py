"""PURE. What a client asks to be written, and what became of it."""

from dataclasses import dataclass, field
from typing import Any, Literal

MutationOperation = Literal["insert", "update", "delete"]
Mode = Literal["merge", "strict"]
Status = Literal["applied", "merged", "duplicate", "rejected"]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One record to be inserted, updated or deleted. `mode` None leaves it to the fields: strict for critical ones."""

    mutation_id: str
    collection: str
    id: str
    operation: MutationOperation
    fields: dict[str, Any] = field(default_factory=dict)
    base_version: int | None = None
    clock: str | None = None
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutation.

    `record` is the JSON of the record as bytes: after the write, or the current one for `version_mismatch`;
    None for deletes, duplicates and other rejections. `first` is the stored answer of a duplicate. `detail`
    names the field or constraint that a rejection is about.
    """

    mutation_id: str
    status: Status
    version: int | None = None
    clock: str | None = None
    record: bytes | None = None
    lost: list[dict[str, Any]] | None = None
    first: dict[str, Any] | None = None
    code: str | None = None
    detail: str | None = None
