"""A small catalogue, people who read it differently, and changes of its records."""

from typing import Any, Literal

from core.principal import Principal, Role
from core.protocol.change import LoggedChange, Operation
from core.protocol.collection import Catalogue, Collection, Field

NORTH = "00000000-0000-0000-0000-00000000000a"
SOUTH = "00000000-0000-0000-0000-00000000000b"
LEAD = "00000000-0000-0000-0000-000000000001"

LEADS = Collection(
    "leads",
    {
        field.name: field
        for field in (
            Field("id", "uuid", filterable=True),
            Field("organization_id", "uuid"),
            Field("branch_id", "uuid", filterable=True),
            Field("name", "text", filterable=True),
            Field("status", "enum", enum_values=("new", "won", "lost"), filterable=True),
            Field("rank", "integer", bits=16, filterable=True),
            Field("worth", "numeric", filterable=True),
            Field("is_hot", "boolean", filterable=True),
            Field("due_on", "date", filterable=True),
            Field("seen_at", "timestamp", filterable=True),
            Field("notes", "text"),
            Field("tags", "text[]", filterable=True),
            Field("margin", "numeric", filterable=True, readable_by=frozenset({"owner", "manager"})),
            Field("version", "bigint"),
            Field("created_at", "timestamp"),
            Field("updated_at", "timestamp"),
            Field("updated_by", "uuid"),
        )
    },
)
BRANCHES = Collection("branches", {"id": Field("id", "uuid"), "name": Field("name", "text")})
SALARIES = Collection(
    "salaries",
    {"id": Field("id", "uuid"), "amount": Field("amount", "numeric")},
    readable_by=frozenset({"owner"}),
)
CATALOGUE = Catalogue("1", {each.name: each for each in (LEADS, BRANCHES, SALARIES)})


def person(
    role: Role = "manager", reads: Literal["all", "own"] = "all", branches: frozenset[str] | None = None
) -> Principal:
    return Principal("u", "Ana", "o", role, branches, reads, "s")


def record(**fields: Any) -> dict[str, Any]:
    return {
        "id": LEAD,
        "organization_id": "o",
        "branch_id": None,
        "name": "Ines",
        "status": "new",
        "margin": "7.00",
        "version": 1,
        "created_at": "t0",
        "updated_at": "t1",
        "updated_by": "u",
        **fields,
    }


def change(
    offset: int = 1,
    operation: Operation = "insert",
    after: dict[str, Any] | None = None,
    previous: dict[str, Any] | None = None,
    *,
    collection: str = "leads",
    overwrote: list[dict[str, Any]] | None = None,
    last_of_commit: int | None = None,
) -> LoggedChange:
    after = record() if after is None else after
    return LoggedChange(
        offset=offset,
        collection=collection,
        id=after["id"],
        operation=operation,
        version=after.get("version", offset),
        record=after,
        changed=tuple(previous or ()),
        previous=previous or {},
        clock="c",
        actor={"user_id": "u", "name": "Ana", "branch_id": None},
        mutation_id=None,
        transaction="t",
        committed_at_ms=1,
        overwrote=overwrote,
        last_of_commit=offset if last_of_commit is None else last_of_commit,
    )
