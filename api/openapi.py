"""The OpenAPI 3.1 document: what FastAPI knows of the fixed routes, and paths and schemas for each
collection.

Everything of a collection comes from the catalogue, so a table that is tracked while the system runs is
documented as soon as it can be used.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from api.documented import problems
from api.listing import DEFAULT_LIMIT, MAX_LIMIT, SORTABLE_TYPES
from api.schemas import LOST, PROBLEM, RESTORE, UUID, Schema, collection_schemas, schema_name
from api.sync_document import TAG, sync_paths, sync_schemas
from core.protocol.collection import Catalogue, Collection, Field

_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}]


def build_document(catalogue: Catalogue, fixed: Mapping[str, Any]) -> bytes:
    """Give the document as JSON. `fixed` is the document of the routes that no collection has a part in."""
    document: dict[str, Any] = dict(fixed)
    schemas = {**document.get("components", {}).get("schemas", {}), "Problem": PROBLEM, "Lost": LOST}
    schemas |= sync_schemas(catalogue.collections)
    paths = dict(document.get("paths", {})) | sync_paths()
    tags = [*document.get("tags", []), TAG]
    for collection in catalogue.collections.values():
        name = schema_name(collection)
        schemas |= collection_schemas(collection)
        paths |= _paths(collection, name)
        tags.append({"name": collection.name, "description": collection.description})
    document |= {
        "paths": paths,
        "tags": tags,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    return orjson.dumps(document)


def _paths(collection: Collection, name: str) -> Schema:
    base = f"/api/{collection.name}"
    return {
        base: {"get": _list(collection, name), "post": _create(collection, name)},
        f"{base}/{{id}}": {
            "parameters": [_parameter("id", "path", UUID, "The record's id.")],
            "get": _operation(
                collection, "get", "Read a record",
                {200: _content(name, etag=True), 304: {"description": "The client has this version."}},
                (401, 403, 404, 422, 503), parameters=[_header("If-None-Match", 'The version it has: `"3"`.')],
            ),
            "patch": _write(collection, "patch", "Change some fields", f"{name}Patch", name, merge_patch=True),
            "put": _write(collection, "put", "Replace a record", f"{name}Replace", name),
            "delete": _operation(
                collection, "delete", "Delete a record", {204: {"description": "Deleted."}},
                (400, 401, 403, 404, 409, 410, 412, 422, 503), parameters=[_if_match(), _idempotency_key()],
            ),
        },
        f"{base}/{{id}}/history": {
            "parameters": [_parameter("id", "path", UUID, "The record's id.")],
            "get": _operation(
                collection, "history", "Versions, newest first", {200: _content(f"{name}History")},
                (400, 401, 403, 404, 422, 503), parameters=paging(),
            ),
        },
        f"{base}/{{id}}/restore": {
            "parameters": [_parameter("id", "path", UUID, "The record's id.")],
            "post": _write(collection, "restore", "Make a version, or some of its fields, current", RESTORE, name),
        },
    }  # fmt: skip


def _list(collection: Collection, name: str) -> Schema:
    sortable = [field.name for field in collection.fields.values() if field.type in SORTABLE_TYPES]
    filters = [
        _parameter(field.name, "query", {"type": "string"}, _filter_words(field))
        for field in collection.fields.values()
        if field.filterable
    ]
    sort = {"enum": [each for field in sortable for each in (field, f"-{field}")], "default": "id"}
    return _operation(
        collection, "list", f"List {collection.name}",
        {200: _content(f"{name}Page", etag=True), 304: {"description": "Nothing has changed."}},
        (400, 401, 403, 404, 422, 503),
        parameters=[
            *paging(), _parameter("sort", "query", sort, "With a minus: descending. Null comes last."), *filters,
            _header("If-None-Match", "The ETag of an earlier answer."),
        ],
    )  # fmt: skip


def _create(collection: Collection, name: str) -> Schema:
    created = _content(name, etag=True)
    created["description"] = "Created."
    created["headers"]["Location"] = {"schema": {"type": "string"}}
    return _operation(
        collection, "create", "Create a record", {201: created},
        (400, 401, 403, 404, 409, 410, 413, 415, 422, 503),
        parameters=[_idempotency_key()], body=_body({"$ref": f"#/components/schemas/{name}Create"}),
    )  # fmt: skip


def _write(
    collection: Collection,
    verb: str,
    summary: str,
    body: str | Schema,
    name: str,
    *,
    merge_patch: bool = False,
) -> Schema:
    schema = {"$ref": f"#/components/schemas/{body}"} if isinstance(body, str) else body
    return _operation(
        collection, verb, summary, {200: _content(name, etag=True, lost=True)},
        (400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 503),
        parameters=[_if_match(), _idempotency_key()], body=_body(schema, merge_patch=merge_patch),
    )  # fmt: skip


def _operation(
    collection: Collection,
    verb: str,
    summary: str,
    answers: dict[int, Schema],
    refusals: tuple[int, ...],
    *,
    parameters: list[Schema],
    body: Schema | None = None,
) -> Schema:
    operation: Schema = {
        "tags": [collection.name],
        "operationId": f"{verb}_{collection.name}",
        "summary": summary,
        "security": _SECURITY,
        "parameters": parameters,
        "responses": {str(status): answer for status, answer in (answers | problems(*refusals)).items()},
    }
    if body is not None:
        operation["requestBody"] = body
    return operation


def _body(schema: Schema, *, merge_patch: bool = False) -> Schema:
    content = {"application/json": {"schema": schema}}
    if merge_patch:
        content["application/merge-patch+json"] = {"schema": schema}
    return {"required": True, "content": content}


def _content(name: str, *, etag: bool = False, lost: bool = False) -> Schema:
    schema: Schema = {"$ref": f"#/components/schemas/{name}"}
    if lost:
        more = {"lost": {"type": "array", "items": {"$ref": "#/components/schemas/Lost"}}}
        schema = {"allOf": [schema, {"type": "object", "properties": more}]}
    answer: Schema = {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    if etag:
        answer["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return answer


def _parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    parameter: Schema = {"name": name, "in": place, "schema": schema, "description": description}
    if place == "path":
        parameter["required"] = True
    return parameter


def _header(name: str, description: str) -> Schema:
    return _parameter(name, "header", {"type": "string"}, description)


def _if_match() -> Schema:
    return _header("If-Match", 'The version that it has to be at, such as `"3"`; 412 if it is not.')


def _idempotency_key() -> Schema:
    schema = {"type": "string", "minLength": 1, "maxLength": 255}
    return _parameter(
        "Idempotency-Key", "header", schema, "A repeat with the same key is not carried out again."
    )


def paging() -> list[Schema]:
    """The parameters `limit` and `cursor` of a list."""
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return [
        _parameter("limit", "query", limit, "How many at most."),
        _parameter("cursor", "query", {"type": "string"}, "`next_cursor` of the page before."),
    ]


def _filter_words(field: Field) -> str:
    words = f"{field.description} " if field.description else ""
    values = f" One of {', '.join(field.enum_values)}." if field.enum_values else ""
    return f"{words}Values with commas between are alternatives; `~` is null.{values}"
