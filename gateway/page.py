"""PURE. The SQL of a page of a snapshot: the one statement that cannot be written down before the catalogue is read.

Names come from the catalogue and are quoted; values are parameters. The statement names the organisation, though
row-level security would do without, and the branches that may be read.
"""

from dataclasses import dataclass
from typing import Any

from core.protocol.topic import Filter
from core.protocol.view import BRANCH, View

# The SQL type as which a filter's text is read. An enumeration's own type is found by PostgreSQL.
_CASTS = {
    "text": "text",
    "uuid": "uuid",
    "integer": "integer",
    "bigint": "bigint",
    "numeric": "numeric",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamptz",
}

_IN_ORDER = "SET LOCAL enable_sort = off"
"""Where there is more than one page, the key is followed from page to page. Statistics that know nothing yet of what an
import has just brought would have each page find, and sort, all that is left.
"""

_PAGE = """
SELECT id::text, record, candidates FROM (
  SELECT id, record, count(*) OVER () AS candidates,
    sum(octet_length(record)) OVER (ORDER BY id) - octet_length(record) AS before
  FROM (
    SELECT t.id, encode_record(t.*)::text AS record FROM public.{collection} t
    WHERE {conditions} ORDER BY t.id LIMIT {limit}) page) sized
WHERE before < {limit_bytes} ORDER BY sized.id
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters. Rows are (id, record): text, JSON text; `candidates` is how many the page could hold.

    `preparation` comes before it, in the same transaction, where it is not empty.
    """

    sql: str
    parameters: tuple[Any, ...]
    preparation: str = ""


def page_statement(
    view: View, collection: str, organization_id: str, *, after: str | None, limit: int, limit_bytes: int
) -> Statement:
    """Read the records of a collection that a view shows, by id, after one of them.

    At most `limit` records, and no more than begin before `limit_bytes` of them; at least one if there is one.
    """
    parameters: list[Any] = [organization_id]
    conditions = ["t.organization_id = $1"]
    if view.topic.record_id is not None:
        parameters.append(view.topic.record_id)
        conditions.append(f"t.id = ${len(parameters)}")
    if after is not None:
        parameters.append(after)
        conditions.append(f"t.id > ${len(parameters)}")
    if view.branches is not None and collection in view.branched:
        parameters.append(sorted(view.branches))
        conditions.append(f"(t.{BRANCH} IS NULL OR t.{BRANCH} = ANY(${len(parameters)}::uuid[]))")
    conditions.extend(_condition(each, parameters) for each in view.topic.filters)
    parameters.extend((limit, limit_bytes))
    return Statement(
        _PAGE.replace("{collection}", quote_identifier(collection))
        .replace("{conditions}", " AND ".join(conditions))
        .replace("{limit}", f"${len(parameters) - 1}")
        .replace("{limit_bytes}", f"${len(parameters)}"),
        tuple(parameters),
        "" if after is None else _IN_ORDER,
    )


def quote_identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _condition(each: Filter, parameters: list[Any]) -> str:
    column = f"t.{quote_identifier(each.field)}"
    values = [value for value in each.values if value is not None]
    alternatives = []
    if values:
        parameters.append(values)
        cast = _CASTS.get(each.type)
        typed = f"::text[]::{cast}[]" if cast else ""
        alternatives.append(f"{column} = ANY(${len(parameters)}{typed})")
    if len(values) < len(each.values):
        alternatives.append(f"{column} IS NULL")
    return f"({' OR '.join(alternatives)})"
