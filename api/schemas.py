"""PURE. JSON schemas of records, of what may be written into them, and of problems, for the OpenAPI document."""

from typing import Any

from api.validation import SYSTEM_FIELDS
from core.protocol.collection import Collection, Field

Schema = dict[str, Any]

UUID = {"type": "string", "format": "uuid"}
PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; the table of codes is in docs/errors.md.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "expected", "came"],
                "properties": {name: {"type": "string"} for name in ("field", "expected", "came")},
            },
        },
        "record": {"type": "object", "description": "With `version_mismatch`: the record as it is now."},
        "error_id": {"type": "string", "description": "With `internal`: what the server's log has it under."},
    },
}
LOST: Schema = {
    "type": "object",
    "required": ["field", "mine", "theirs", "by", "at_ms"],
    "properties": {
        "field": {"type": "string"},
        "mine": {},
        "theirs": {},
        "by": {"type": ["string", "null"]},
        "at_ms": {"type": "integer"},
    },
}
RESTORE: Schema = {
    "type": "object",
    "required": ["version"],
    "additionalProperties": False,
    "properties": {
        "version": {"type": "integer", "minimum": 1},
        "fields": {"type": ["array", "null"], "minItems": 1, "items": {"type": "string"}},
    },
}


def schema_name(collection: Collection) -> str:
    """The name of a collection's schemas: `activity_events` is `ActivityEvents`."""
    return "".join(part.capitalize() for part in collection.name.split("_"))


def record_schema(collection: Collection) -> Schema:
    """What a record looks like when it is read. A field that the reader's role may not see is left out."""
    shown = {name: field for name, field in collection.fields.items() if not field.sensitive}
    return {
        "type": "object",
        "description": collection.description,
        "required": sorted(name for name, field in shown.items() if field.readable_by is None),
        "properties": {name: _read_schema(field) for name, field in shown.items()},
    }


def write_schema(collection: Collection, *, whole: bool, may_have_id: bool) -> Schema:
    """What may be written: as a whole (`whole`, what has to be there is required), or some fields."""
    writable = {
        name: field
        for name, field in collection.fields.items()
        if field.writable and name not in SYSTEM_FIELDS and name != "id"
    }
    properties = {name: _write_schema(field) for name, field in writable.items()}
    if may_have_id:
        properties = {"id": {**UUID, "description": "Chosen by the client, if it likes."}} | properties
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    required = sorted(n for n, field in writable.items() if not field.nullable and not field.has_default)
    if whole and required:
        schema["required"] = required
    return schema


def collection_schemas(collection: Collection) -> Schema:
    """All schemas of a collection: the record, what creates, patches and replaces it, pages and history."""
    name = schema_name(collection)
    record = {"$ref": f"#/components/schemas/{name}"}
    replacing = write_schema(collection, whole=True, may_have_id=True)
    replacing["required"] = sorted(
        field.name for field in collection.fields.values() if field.writable and not field.nullable
    )
    return {
        name: record_schema(collection),
        f"{name}Create": write_schema(collection, whole=True, may_have_id=True),
        f"{name}Patch": write_schema(collection, whole=False, may_have_id=False),
        f"{name}Replace": replacing,
        f"{name}Page": {
            "type": "object",
            "required": ["items", "next_cursor", "epoch", "offset"],
            "properties": {
                "items": {"type": "array", "items": record},
                "next_cursor": {"type": ["string", "null"]},
                "epoch": {"type": "string"},
                "offset": {"type": "integer", "description": "Items may be newer; what follows is after it."},
            },
        },
        f"{name}History": {
            "type": "object",
            "required": ["items", "next_cursor"],
            "properties": {
                "items": {"type": "array", "items": _version_schema(record)},
                "next_cursor": {"type": ["string", "null"]},
            },
        },
    }


def _version_schema(record: Schema) -> Schema:
    return {
        "type": "object",
        "required": [
            "version", "operation", "at", "clock", "actor", "mutation_id", "changed", "record",
        ],
        "properties": {
            "version": {"type": "integer"},
            "operation": {"enum": ["insert", "update", "delete"]},
            "at": {"type": "string", "format": "date-time"},
            "clock": {"type": "string"},
            "actor": {
                "type": ["object", "null"],
                "properties": {
                    "user_id": UUID,
                    "name": {"type": ["string", "null"]},
                    "branch_id": {**UUID, "type": ["string", "null"]},
                },
            },
            "mutation_id": {"type": ["string", "null"], "format": "uuid"},
            "changed": {"type": "array", "items": {"type": "string"}},
            "record": {"anyOf": [record, {"type": "null"}]},
        },
    }  # fmt: skip


def _read_schema(field: Field) -> Schema:
    return _described(field, _type_schema(field, reading=True))


def _write_schema(field: Field) -> Schema:
    return _described(field, _type_schema(field, reading=False))


def _described(field: Field, schema: Schema) -> Schema:
    if field.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    elif field.nullable and "anyOf" in schema:
        schema["anyOf"].append({"type": "null"})
    if field.description:
        schema["description"] = field.description
    return schema


def _type_schema(field: Field, *, reading: bool) -> Schema:
    match field.type:
        case "uuid":
            return dict(UUID)
        case "integer" | "bigint":
            bits = field.bits or 32
            return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
        case "numeric":
            return _numeric_schema(reading=reading)
        case "float":
            return {"type": "number"}
        case "boolean":
            return {"type": "boolean"}
        case "date":
            return {"type": "string", "format": "date"}
        case "timestamp":
            return {"type": "string", "format": "date-time"}
        case "enum":
            return {"type": "string", "enum": list(field.enum_values)}
        case "json":
            return {}
        case "uuid[]":
            return {"type": "array", "items": dict(UUID)}
        case "text[]":
            return {"type": "array", "items": {"type": "string"}}
        case "text":
            return {"type": "string"} | ({"maxLength": field.max_length} if field.max_length else {})
        case "other":
            return {} if reading else {"type": "string"}


def _numeric_schema(*, reading: bool) -> Schema:
    text: Schema = {"type": "string", "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?$"}
    return text if reading else {"anyOf": [text, {"type": "number"}]}
