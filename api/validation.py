"""PURE. What a client may put into a record: required and unknown fields, types and ranges, read from the catalogue.

A `Validator` is made once for each collection of a catalogue. Constraints that SQL alone can say (CHECK, UNIQUE,
foreign keys) stay with the database.

Written by hand and not with pydantic's models: messages say what was expected and what came for each field, a model
for each collection would have to be built at run time anyway, and nine fields cost 4.5 µs here and 3.9 µs there.
"""

from dataclasses import dataclass
from typing import Any

from api.values import expected_of, parse_uuid, parser_of
from core.protocol.collection import Collection

SYSTEM_FIELDS = frozenset(
    {
        "organization_id",
        "version",
        "created_at",
        "updated_at",
        "updated_by",
        "last_mutation_id",
        "field_clocks",
    }
)
"""Fields that the server alone writes."""

MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field or parameter: what was expected there and what came."""

    field: str
    expected: str
    came: str


class InvalidFieldsError(Exception):
    """Values cannot be accepted; `faults` names each field."""

    def __init__(self, faults: list[FieldFault]) -> None:
        super().__init__("; ".join(f"{fault.field}: expected {fault.expected}" for fault in faults))
        self.faults = tuple(faults)


class Validator:
    """Checks the fields of inserts, merge patches and replacements of one collection.

    Each method takes the decoded body and gives the values to be stored; it raises InvalidFieldsError with
    all faults.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection.name
        writable = {
            name: field
            for name, field in collection.fields.items()
            if field.writable and name not in SYSTEM_FIELDS and name != "id"
        }
        self._known = frozenset(collection.fields)
        self._parsers = {name: parser_of(field) for name, field in writable.items()}
        self._nullable = frozenset(name for name, field in writable.items() if field.nullable)
        self._expected = {name: expected_of(field) for name, field in writable.items()}
        self._required = tuple(
            name for name, field in writable.items() if not field.nullable and not field.has_default
        )
        self._never_null = tuple(name for name, field in writable.items() if not field.nullable)

    def insert(self, body: Any) -> dict[str, Any]:
        """Check a new record. `id` may be there; what has no default and may not be null must be."""
        faults: list[FieldFault] = []
        values = self._check(_object(body), faults, may_have_id=True)
        self._demand(self._required, body, faults)
        return _result(values, faults)

    def patch(self, body: Any) -> dict[str, Any]:
        """Check the fields of a merge patch (RFC 7396); null empties a field."""
        faults: list[FieldFault] = []
        values = self._check(_object(body), faults, may_have_id=False)
        return _result(values, faults)

    def replace(self, body: Any, *, kept: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Check a whole record. `id` may be there; what is left out becomes null, and must be there if it
        cannot.

        Fields in `kept` may be left out and stay as they are.
        """
        faults: list[FieldFault] = []
        values = self._check(_object(body), faults, may_have_id=True)
        self._demand(tuple(name for name in self._never_null if name not in kept), body, faults)
        return _result(dict.fromkeys(self._nullable - kept) | values, faults)

    def names(self) -> frozenset[str]:
        """The fields that a client may write."""
        return frozenset(self._parsers)

    def _check(self, body: dict[str, Any], faults: list[FieldFault], *, may_have_id: bool) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in body.items():
            parse = self._parsers.get(name)
            if parse is None:
                if name == "id" and may_have_id:
                    parse = parse_uuid
                else:
                    faults.append(self._not_writable(name, value))
                    continue
            if value is None and name in self._nullable:
                values[name] = None
                continue
            try:
                values[name] = parse(value)
            except ValueError as reason:
                expected = str(reason) or self._expected.get(name, "a UUID as text")
                faults.append(FieldFault(name, expected, describe(value)))
        return values

    def _demand(self, names: tuple[str, ...], body: dict[str, Any], faults: list[FieldFault]) -> None:
        for name in names:
            if name not in body:
                faults.append(FieldFault(name, self._expected[name], "nothing"))

    def _not_writable(self, name: str, value: Any) -> FieldFault:
        if name in SYSTEM_FIELDS or name == "id" or name in self._known:
            return FieldFault(shorten(name), "nothing: the server sets this field", describe(value))
        return FieldFault(shorten(name), f"a field of {self.collection}", "an unknown field")


def describe(value: Any) -> str:
    """Say what came, short enough for a message."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {shorten(repr(value))}"
        case str():
            return f"the text {shorten(value)!r}" if value else "an empty text"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case _:
            return type(value).__name__


def shorten(text: str) -> str:
    """Cut text that a client sent to a length that fits into a message."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _object(body: Any) -> dict[str, Any]:
    if isinstance(body, dict):
        return body
    raise InvalidFieldsError([FieldFault("", "a JSON object", describe(body))])


def _result(values: dict[str, Any], faults: list[FieldFault]) -> dict[str, Any]:
    if faults:
        raise InvalidFieldsError(faults)
    return values
