"""PURE. What a collection is: its fields, their types, who may read and write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FieldType = Literal[
    "text",
    "uuid",
    "integer",
    "bigint",
    "numeric",
    "float",
    "boolean",
    "date",
    "timestamp",
    "enum",
    "json",
    "text[]",
    "uuid[]",
    "other",
]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record. `bits` is the width of an integer; `other` is a type that is taken as text."""

    name: str
    type: FieldType
    nullable: bool = True
    has_default: bool = False
    writable: bool = True
    bits: int | None = None
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    enum_values: tuple[str, ...] = ()
    filterable: bool = False
    critical: bool = False
    sensitive: bool = False
    readable_by: frozenset[str] | None = None
    references: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """A tracked table. `readable_by` and `writable_by` are roles; None stands for every role that may read or write."""

    name: str
    fields: Mapping[str, Field]
    description: str = ""
    readable_by: frozenset[str] | None = None
    writable_by: frozenset[str] | None = None
    history: bool = False

    @property
    def has_branch(self) -> bool:
        """Whether its records belong to branches, so that rights by branch apply."""
        return "branch_id" in self.fields


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All collections by name. `version` changes whenever anything in it does."""

    version: str
    collections: Mapping[str, Collection]
