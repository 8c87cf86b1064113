"""PURE. The SQL of reads that name a collection: the only statements that are not in a `.sql` file, because
tables and columns are known from the catalogue alone. Identifiers come from the catalogue and are quoted,
values are parameters.

Every statement names the organisation, though row-level security would do without, and the branches that
its reader may read: a record of another branch is not found, whatever else is asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api.cursor import Cursor
from api.listing import Sort
from core.protocol.collection import Collection, Field
from core.protocol.topic import Filter

LONG_TEXT = 500
"""Texts that may be longer are ordered by this many characters: a cursor carries what is ordered by."""

# The SQL type as which a filter's or cursor's text is read. An enumeration's own type is found by PostgreSQL.
_CASTS = {
    "text": "text",
    "uuid": "uuid",
    "integer": "integer",
    "bigint": "bigint",
    "numeric": "numeric",
    "float": "double precision",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters. Rows are (record, id, value): JSON text, text, what a cursor carries."""

    sql: str
    parameters: tuple[Any, ...]


class _Parameters:
    def __init__(self, *values: Any) -> None:
        self.values = list(values)

    def add(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def quote_identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def record_statement(
    collection: Collection, organization_id: str, record_id: str, branches: frozenset[str] | None
) -> Statement:
    """Read one record; no row if there is none, or none that may be read."""
    parameters = _Parameters(organization_id, record_id)
    conditions = ["t.organization_id = $1", "t.id = $2", *_branch_condition(collection, branches, parameters)]
    return Statement(
        _select("t.version::text", collection, conditions),
        tuple(parameters.values),
    )


def records_statement(
    collection: Collection, organization_id: str, record_ids: Sequence[str], branches: frozenset[str] | None
) -> Statement:
    """Read several records; those that are not there, or may not be read, have no row."""
    parameters = _Parameters(organization_id, list(record_ids))
    conditions = [
        "t.organization_id = $1",
        "t.id = ANY($2::uuid[])",
        *_branch_condition(collection, branches, parameters),
    ]
    return Statement(_select("t.version::text", collection, conditions), tuple(parameters.values))


def page_statements(
    collection: Collection,
    organization_id: str,
    *,
    filters: Iterable[Filter],
    branches: frozenset[str] | None,
    sort: Sort,
    after: Cursor | None,
    limit: int,
) -> list[Statement]:
    """Read a page of `limit` records after a cursor: run the statements in order until there are enough rows.

    Where the field may be null there are two, first the records that have it, then those that do not,
    because an index serves each of the two and not their union.
    """
    page = _Page(collection, organization_id, tuple(filters), branches, sort, after, limit)
    if sort.field == "id":
        return [page.by_id()]
    statements = []
    if after is None or after.value is not None:
        statements.append(page.with_value())
    if collection.fields[sort.field].nullable:
        statements.append(page.without_value())
    return statements


@dataclass(frozen=True, slots=True)
class _Page:
    collection: Collection
    organization_id: str
    filters: tuple[Filter, ...]
    branches: frozenset[str] | None
    sort: Sort
    after: Cursor | None
    limit: int

    def by_id(self) -> Statement:
        parameters, conditions = self._begin()
        if self.after is not None:
            conditions.append(f"t.id {self._beyond} {parameters.add(self.after.id)}::text::uuid")
        return self._end(parameters, conditions, value="NULL", order=f"t.id {self._direction}")

    def with_value(self) -> Statement:
        parameters, conditions = self._begin()
        field = self.collection.fields[self.sort.field]
        key = _sort_expression(self.sort.field, field)
        if field.nullable:
            conditions.append(f"t.{quote_identifier(self.sort.field)} IS NOT NULL")
        if self.after is not None:
            value = _read_parameter(field.type, parameters.add(self.after.value))
            row = f"({value}, {parameters.add(self.after.id)}::text::uuid)"
            conditions.append(f"({key}, t.id) {self._beyond} {row}")
        order = f"{key} {self._direction}, t.id {self._direction}"
        return self._end(parameters, conditions, value=f"({key})::text", order=order)

    def without_value(self) -> Statement:
        parameters, conditions = self._begin()
        conditions.append(f"t.{quote_identifier(self.sort.field)} IS NULL")
        if self.after is not None and self.after.value is None:
            conditions.append(f"t.id {self._beyond} {parameters.add(self.after.id)}::text::uuid")
        return self._end(parameters, conditions, value="NULL", order=f"t.id {self._direction}")

    @property
    def _beyond(self) -> str:
        return "<" if self.sort.descending else ">"

    @property
    def _direction(self) -> str:
        return "DESC" if self.sort.descending else "ASC"

    def _begin(self) -> tuple[_Parameters, list[str]]:
        parameters = _Parameters(self.organization_id)
        conditions = [
            "t.organization_id = $1",
            *_branch_condition(self.collection, self.branches, parameters),
        ]
        conditions.extend(_filter_condition(each, parameters) for each in self.filters)
        return parameters, conditions

    def _end(self, parameters: _Parameters, conditions: list[str], *, value: str, order: str) -> Statement:
        return Statement(
            f"{_select(value, self.collection, conditions)} ORDER BY {order} LIMIT {parameters.add(self.limit)}",
            tuple(parameters.values),
        )


def _select(value: str, collection: Collection, conditions: list[str]) -> str:
    table = quote_identifier(collection.name)
    return (
        f"SELECT encode_record(t.*)::text, t.id::text, {value} FROM public.{table} t"  # noqa: S608 - see above
        f" WHERE {' AND '.join(conditions)}"
    )


def _branch_condition(
    collection: Collection, branches: frozenset[str] | None, parameters: _Parameters
) -> list[str]:
    if branches is None or not collection.has_branch:
        return []
    return [f"(t.branch_id IS NULL OR t.branch_id = ANY({parameters.add(sorted(branches))}::uuid[]))"]


def _filter_condition(each: Filter, parameters: _Parameters) -> str:
    column = f"t.{quote_identifier(each.field)}"
    values = [value for value in each.values if value is not None]
    alternatives = []
    if values:
        parameter = parameters.add(values)
        cast = _CASTS.get(each.type)
        alternatives.append(f"{column} = ANY({parameter}{f'::text[]::{cast}[]' if cast else ''})")
    if len(values) < len(each.values):
        alternatives.append(f"{column} IS NULL")
    return f"({' OR '.join(alternatives)})"


def _sort_expression(name: str, field: Field) -> str:
    column = f"t.{quote_identifier(name)}"
    if field.type != "text":
        return column
    is_long = field.max_length is None or field.max_length > LONG_TEXT
    return f"left(sort_key({column}), {LONG_TEXT})" if is_long else f"sort_key({column})"


def _read_parameter(type_: str, parameter: str) -> str:
    cast = _CASTS.get(type_)
    return f"{parameter}::text::{cast}" if cast else parameter
