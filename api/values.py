"""PURE. Values of fields: how each type is read from JSON, and how a record shows it.

There is one way for each (a time in UTC with six digits, a number with the column's decimals, an id in lower case),
so that a value compares equal to the record's when it means the same. Input is what a JSON decoder gives: text
without lone surrogates.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from math import isfinite
from typing import Any

from core.protocol.collection import Field

MAX_ITEMS = 1_000
MAX_DEPTH = 32
MAX_OTHER_LENGTH = 10_000

Parse = Callable[[Any], Any]

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_LOWER_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6})0*)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}(?:\.[0-9]{1,1000})?")
# A JSON number arrives as a double, which holds fifteen decimal digits for certain.
_EXACT_DIGITS = 15
_EXACT = Context(prec=2_100)


def parser_of(field: Field) -> Parse:
    """Give the function that reads a JSON value of this field's type, or raises ValueError (with words or
    without).
    """
    if field.type.endswith("[]"):
        return _array_parser(_scalar_parser(field.type.removesuffix("[]"), field))
    return _scalar_parser(field.type, field)


def expected_of(field: Field) -> str:
    """Say in words what a client may write into this field."""
    words = _expected_scalar(field.type.removesuffix("[]"), field)
    if field.type.endswith("[]"):
        words = f"a list of at most {MAX_ITEMS} items, each {words}"
    return f"{words}, or null" if field.nullable else words


def parse_uuid(value: Any) -> str:
    """Read a UUID; gives it in lower case."""
    if type(value) is not str:
        raise ValueError
    if _LOWER_UUID.fullmatch(value):
        return value
    if _UUID.fullmatch(value):
        return value.lower()
    raise ValueError


def parse_timestamp(value: Any) -> str:
    """Read a time of RFC 3339 with its zone; gives it in UTC with six digits. Finer times are refused, not
    cut.
    """
    match = _TIMESTAMP.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValueError
    moment, fraction, zone = match.groups()
    try:
        local = datetime.fromisoformat(
            f"{moment.upper()}.{(fraction or '').ljust(6, '0')}{'+00:00' if zone in 'Zz' else zone}"
        )
        return local.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    except (ValueError, OverflowError):
        raise ValueError from None


def _scalar_parser(type_: str, field: Field) -> Parse:
    match type_:
        case "text":
            return _text_parser(field.max_length)
        case "uuid":
            return parse_uuid
        case "integer" | "bigint":
            return _integer_parser(_bits(field))
        case "numeric":
            return _numeric_parser(field.precision, field.scale)
        case "boolean":
            return _parse_boolean
        case "date":
            return _parse_date
        case "timestamp":
            return parse_timestamp
        case "enum":
            return _enum_parser(frozenset(field.enum_values))
        case "json":
            return _parse_json
        case "float":
            return _parse_float
        case _:
            # PostgreSQL reads the text; what it cannot read is refused by it.
            return _text_parser(MAX_OTHER_LENGTH)


def _expected_scalar(type_: str, field: Field) -> str:
    match type_:
        case "text":
            return f"a text of at most {field.max_length} characters" if field.max_length else "a text"
        case "uuid":
            return "a UUID as text"
        case "integer" | "bigint":
            return f"a whole number from {-(2 ** (_bits(field) - 1))} to {2 ** (_bits(field) - 1) - 1}"
        case "numeric":
            return _expected_numeric(field.precision, field.scale)
        case "boolean":
            return "true or false"
        case "date":
            return "a date such as 2026-11-21"
        case "timestamp":
            return "a time with its zone, such as 2026-11-21T07:30:00Z"
        case "enum":
            return "one of " + ", ".join(field.enum_values)
        case "json":
            return f"any JSON, at most {MAX_DEPTH} levels deep"
        case "float":
            return "a number"
        case _:
            return (
                f"a text of at most {MAX_OTHER_LENGTH} characters that PostgreSQL reads as the column's type"
            )


def _expected_numeric(precision: int | None, scale: int | None) -> str:
    if precision is None:
        return "a decimal number, as text to keep more than 15 digits"
    before = precision - (scale or 0)
    return f"a decimal number with at most {before} digits before the point and {scale or 0} after it"


def _bits(field: Field) -> int:
    return field.bits or (64 if field.type == "bigint" else 32)


def _text_parser(max_length: int | None) -> Parse:
    limit = float("inf") if max_length is None else max_length

    def parse(value: Any) -> str:
        if type(value) is not str or len(value) > limit:
            raise ValueError
        if "\x00" in value:
            raise ValueError("a text without NUL characters")
        return value

    return parse


def _integer_parser(bits: int) -> Parse:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def parse(value: Any) -> int:
        # type() and not isinstance(): true and false are no numbers here.
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError
        return value

    return parse


def _numeric_parser(precision: int | None, scale: int | None) -> Parse:
    limit = None if precision is None else Decimal(10) ** (precision - (scale or 0))
    unit = None if precision is None else Decimal(1).scaleb(-(scale or 0))

    def parse(value: Any) -> str:
        number = _decimal(value)
        if limit is not None and unit is not None:
            if abs(number) >= limit:
                raise ValueError
            rounded = number.quantize(unit, context=_EXACT)
            if rounded != number:
                raise ValueError
            number = rounded
        # PostgreSQL knows no negative zero.
        return format(number if number else number.copy_abs(), "f")

    return parse


def _decimal(value: Any) -> Decimal:
    if type(value) is str:
        if not _NUMBER.fullmatch(value):
            raise ValueError
        return Decimal(value)
    if type(value) is int:
        return Decimal(value)
    if type(value) is not float:
        raise ValueError
    try:
        number = Decimal(repr(value))
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite():
        raise ValueError
    if len(number.as_tuple().digits) > _EXACT_DIGITS:
        raise ValueError("a number of this many digits as text, because a JSON number would be rounded")
    return number


def _parse_float(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError
    return float(value)


def _parse_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _parse_date(value: Any) -> str:
    if type(value) is not str or not _DATE.fullmatch(value):
        raise ValueError
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError from None


def _enum_parser(values: frozenset[str]) -> Parse:
    def parse(value: Any) -> str:
        if type(value) is not str or value not in values:
            raise ValueError
        return value

    return parse


def _parse_json(value: Any) -> Any:
    _check_json(value, MAX_DEPTH)
    return value


def _check_json(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError
    match value:
        case str():
            if "\x00" in value:
                raise ValueError("JSON whose texts have no NUL characters")
        case list():
            for item in value:
                _check_json(item, depth - 1)
        case dict():
            for name, item in value.items():
                _check_json(name, depth)
                _check_json(item, depth - 1)


def _array_parser(parse_item: Parse) -> Parse:
    def parse(value: Any) -> list[Any]:
        if type(value) is not list or len(value) > MAX_ITEMS:
            raise ValueError
        return [parse_item(item) for item in value]

    return parse
