"""PURE. Topics: what a client asks to follow, written as text.

    topic  = "*" | name [ "/" id | "?" filter *( "&" filter ) ]
    filter = name "=" value *( "," value )
    value  = "~" (null) | text

Names and values are percent-encoded UTF-8 where they hold anything but letters, digits, "-", "." and "_".
Filters are equalities, the values of one are alternatives. The canonical form has fields and values sorted,
each value written in one way (`01` of an integer is `1`, an upper-case uuid is lower-case), so that two
topics that mean the same are equal.

A topic is read against the catalogue: its collection must exist and its fields must be filterable there.
Who may read what is not decided here but in `core.protocol.view`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID

from core.protocol.collection import Catalogue, Collection, Field, FieldType

EVERYTHING = "*"
NULL = "~"
MAX_TOPIC_LENGTH = 2_048
MAX_CANONICAL_LENGTH = 8_192
MAX_FILTERS = 10
MAX_VALUES = 100

TopicErrorCode = Literal[
    "invalid_topic", "unknown_collection", "unknown_field", "not_filterable", "invalid_value", "forbidden"
]

_PART = re.compile(r"(?:[^%\x00-\x20]|%[0-9A-Fa-f]{2})*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INTEGER_BITS = {"integer": 32, "bigint": 64}
_FILTER_TYPES = frozenset(
    {"text", "enum", "uuid", "boolean", "integer", "bigint", "numeric", "date", "timestamp"}
)


class TopicError(ValueError):
    """A topic cannot be followed; `code` says why to programs, the message to people."""

    def __init__(self, code: TopicErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Filter:
    """A record passes if its `field` has one of `values`: canonical texts, None for null, sorted with null
    first.
    """

    field: str
    type: FieldType
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """What is followed: everything (`collection` None), a collection, its records that pass `filters`, or
    one record.
    """

    canonical: str
    collection: str | None
    record_id: str | None = None
    filters: tuple[Filter, ...] = ()


def parse_topic(text: str, catalogue: Catalogue) -> Topic:
    """Read a topic in any of its spellings. Raises TopicError."""
    if len(text) > MAX_TOPIC_LENGTH:
        raise TopicError(
            "invalid_topic", f"a topic has at most {MAX_TOPIC_LENGTH} characters, this one {len(text)}"
        )
    if text == EVERYTHING:
        return Topic(canonical=EVERYTHING, collection=None)
    path, question, query = text.partition("?")
    raw_name, slash, raw_id = path.partition("/")
    name = _decode(raw_name)
    collection = catalogue.collections.get(name)
    if collection is None:
        raise TopicError("unknown_collection", f"there is no collection {name!r}")
    if slash:
        if question:
            raise TopicError("invalid_topic", "a topic names one record or filters, not both")
        record_id = canonical_value("uuid", _decode(raw_id), f"the id in {name!r}")
        return Topic(canonical=f"{encode_part(name)}/{record_id}", collection=name, record_id=record_id)
    if not question:
        return Topic(canonical=encode_part(name), collection=name)
    filters = _parse_filters(query, collection)
    canonical = f"{encode_part(name)}?{_write_filters(filters)}"
    if len(canonical) > MAX_CANONICAL_LENGTH:
        raise TopicError(
            "invalid_topic", f"a topic's canonical form has at most {MAX_CANONICAL_LENGTH} characters"
        )
    return Topic(canonical=canonical, collection=name, filters=filters)


def canonical_value(
    type_: FieldType, text: str, what: str, enum_values: tuple[str, ...] = (), bits: int | None = None
) -> str:
    """Give the one way to write `text` as a value of a type; raise TopicError `invalid_value` naming
    `what`. `bits` is the width of an integer, where it is not its type's usual one.
    """
    value = _canonical(type_, text, enum_values, bits)
    if value is None:
        expected = f"one of {', '.join(enum_values)}" if type_ == "enum" else f"a value of type {type_}"
        raise TopicError("invalid_value", f"expected {expected} for {what}, got {text!r}")
    return value


def encode_part(text: str) -> str:
    """Percent-encode a name or value as the canonical form has it ("~" too: alone it means null)."""
    return quote(text, safe="").replace("~", "%7E")


def _parse_filters(query: str, collection: Collection) -> tuple[Filter, ...]:
    filters: dict[str, Filter] = {}
    for part in query.split("&"):
        raw_name, equals, raw_values = part.partition("=")
        name = _decode(raw_name)
        if not equals or not name:
            raise TopicError("invalid_topic", f"expected field=value, got {part!r}")
        field = collection.fields.get(name)
        if field is None:
            raise TopicError("unknown_field", f"there is no field {name!r}")
        if not field.filterable or field.type not in _FILTER_TYPES:
            raise TopicError("not_filterable", f"field {name!r} is not one to filter by")
        if name in filters:
            raise TopicError("invalid_topic", f"field {name!r} is given twice; join its values by commas")
        filters[name] = Filter(name, field.type, _parse_values(name, raw_values, field))
    if len(filters) > MAX_FILTERS:
        raise TopicError(
            "invalid_topic", f"a topic has at most {MAX_FILTERS} filters, this one {len(filters)}"
        )
    return tuple(filters[name] for name in sorted(filters))


def _parse_values(name: str, raw_values: str, field: Field) -> tuple[str | None, ...]:
    raw = raw_values.split(",")
    if len(raw) > MAX_VALUES:
        raise TopicError(
            "invalid_topic", f"a filter has at most {MAX_VALUES} values, {name!r} has {len(raw)}"
        )
    values = {
        None
        if part == NULL
        else canonical_value(field.type, _decode(part), f"field {name!r}", field.enum_values, field.bits)
        for part in raw
    }
    return tuple(sorted(values, key=lambda value: (value is not None, value or "")))


def _write_filters(filters: tuple[Filter, ...]) -> str:
    return "&".join(
        f"{encode_part(each.field)}="
        + ",".join(NULL if value is None else encode_part(value) for value in each.values)
        for each in filters
    )


def _decode(part: str) -> str:
    if _PART.fullmatch(part) is None:
        raise TopicError("invalid_topic", f"expected percent-encoded text, got {part!r}")
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise TopicError("invalid_topic", f"expected percent-encoded UTF-8, got {part!r}") from error
    if "\x00" in text:
        raise TopicError("invalid_topic", "a topic holds no NUL character")
    return text


def _canonical(type_: FieldType, text: str, enum_values: tuple[str, ...], bits: int | None) -> str | None:
    match type_:
        case "text":
            return text
        case "enum":
            return text if text in enum_values else None
        case "uuid":
            return str(UUID(text)) if _UUID.fullmatch(text) else None
        case "boolean":
            return text if text in ("true", "false") else None
        case "integer" | "bigint":
            return _canonical_integer(text, bits or _INTEGER_BITS[type_])
        case "numeric":
            return canonical_numeric(text)
        case "date":
            return _canonical_date(text)
        case "timestamp":
            return _canonical_timestamp(text)
        case _:
            return None


def canonical_numeric(text: str) -> str | None:
    """Write a decimal number without exponent and trailing zeros, so that 1.50 and 1.5 are one; None if it
    is none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 1_000 or "_" in text:
        return None
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def _canonical_integer(text: str, bits: int) -> str | None:
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return str(number) if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None


def _canonical_date(text: str) -> str | None:
    if _DATE.fullmatch(text) is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _canonical_timestamp(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        utc = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{utc.year:04d}-" + utc.strftime("%m-%dT%H:%M:%S.%fZ")
