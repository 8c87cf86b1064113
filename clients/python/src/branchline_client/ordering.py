"""PURE. The order of records: by fields, null last, text with accents and case aside, equals by id.

The same as the API's `?sort=`: `sort_key` is held to `tests/vectors/sort_key.json`, as SQL and the server are.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import total_ordering
from typing import Any

_MARKS = re.compile("[\u0300-\u036f]")


def sort_key(text: str) -> str:
    """The key by which `text` is compared, code point by code point."""
    return "".join(
        c.lower() if len(c.lower()) == 1 else c for c in _MARKS.sub("", unicodedata.normalize("NFKD", text))
    )


@dataclass(frozen=True, slots=True)
class SortField:
    """One field to sort by. Decimal numbers come as text: `is_numeric` says that this field holds them."""

    name: str
    descending: bool = False
    is_numeric: bool = False


Sort = tuple[SortField, ...]


def parse_sort(sort: str | Sequence[str] | None) -> Sort:
    """Read fields such as `name`, `-created_at` and `-amount:numeric`; none stands for `id`."""
    texts = [sort] if isinstance(sort, str) else list(sort or ())
    fields = []
    for text in texts:
        name, _, kind = text.removeprefix("-").partition(":")
        if not name or kind not in ("", "numeric"):
            raise ValueError(f"expected a field, `-field` or `field:numeric` to sort by, got {text!r}")
        fields.append(SortField(name, text.startswith("-"), kind == "numeric"))
    return tuple(fields)


@total_ordering
class _Reversed:
    """A value that compares the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.value == other.value)

    def __lt__(self, other: "_Reversed") -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]  # a key to compare by, nothing to look up by


def key_of(sort: Sort, record: Mapping[str, Any]) -> tuple[Any, ...]:
    """The key by which a record is compared with others of its collection."""
    parts: list[Any] = []
    for field in sort:
        value = _comparable(field, record.get(field.name))
        is_null = value is None
        parts.append((is_null, 0 if is_null else (_Reversed(value) if field.descending else value)))
    record_id = record["id"]
    parts.append(_Reversed(record_id) if sort and sort[0].descending else record_id)
    return tuple(parts)


def _comparable(field: SortField, value: Any) -> Any:
    if value is None:
        return None
    if field.is_numeric:
        try:
            return Decimal(str(value))
        except InvalidOperation:
            return None
    if isinstance(value, bool | int | float):
        return value
    return sort_key(value if isinstance(value, str) else str(value))
