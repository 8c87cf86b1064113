"""PURE. Topics: writing one from a collection and a filter, and telling whether a record passes it.

The form written here has fields and values sorted and encoded as the server's canonical form does. Where it differs
(values have types that only the server knows), the server's answer names the canonical one.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias
from urllib.parse import quote

EVERYTHING = "*"
NULL = "~"

Value: TypeAlias = str | int | bool | Decimal | None
Where: TypeAlias = Mapping[str, Value | Iterable[Value]]
"""A filter: each field has one value, or any of several. None is null."""

Conditions: TypeAlias = dict[str, tuple[Value, ...]]
"""A filter made regular: each field with its alternatives."""


def conditions_of(where: Where | None) -> Conditions:
    """Give a filter with a tuple of alternatives for each field. Raises ValueError for a field without any."""
    conditions: Conditions = {}
    for field, value in (where or {}).items():
        is_one = value is None or isinstance(value, str | int | Decimal)
        values = (value,) if is_one else tuple(value)  # type: ignore[arg-type]  # mypy does not narrow by `is_one`
        if not values:
            raise ValueError(f"expected a value for the filter on {field!r}, got an empty list")
        conditions[field] = values  # type: ignore[assignment]  # as above
    return conditions


def write_topic(collection: str, conditions: Conditions | None = None, record_id: str | None = None) -> str:
    """Write a topic: a collection, one record of it, or its records that pass a filter."""
    if collection == EVERYTHING:
        return EVERYTHING
    name = encode_part(collection)
    if record_id is not None:
        return f"{name}/{encode_part(record_id)}"
    query = write_filters(conditions or {})
    return f"{name}?{query}" if query else name


def write_filters(conditions: Conditions) -> str:
    """Write a filter as the query of a topic or of a list."""
    parts = []
    for field in sorted(conditions):
        texts = sorted({_text(value) for value in conditions[field] if value is not None})
        null = [NULL] if None in conditions[field] else []
        parts.append(f"{encode_part(field)}={','.join([*null, *map(encode_part, texts)])}")
    return "&".join(parts)


def encode_part(text: str) -> str:
    """Percent-encode a name or value ("~" too: alone it means null)."""
    return quote(text, safe="").replace("~", "%7E")


def admits(conditions: Conditions, record: Mapping[str, Any]) -> bool:
    """Whether a record passes a filter, as far as this can be told without knowing the fields' types."""
    return all(
        any(_same(record.get(field), value) for value in values) for field, values in conditions.items()
    )


def covers(topic: str, collection: str, record_id: str) -> bool:
    """Whether a topic without a filter, as the server writes it, is about a record."""
    path = topic.partition("?")[0]
    return path in (EVERYTHING, encode_part(collection), f"{encode_part(collection)}/{record_id}")


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def _same(stored: Any, wanted: Value) -> bool:
    if stored is None or wanted is None:
        return stored is None and wanted is None
    if isinstance(wanted, bool) or isinstance(stored, bool):
        return bool(stored == wanted)
    if isinstance(wanted, int | Decimal):
        try:
            return Decimal(str(stored)) == wanted
        except InvalidOperation:
            return False
    return str(stored) == wanted
