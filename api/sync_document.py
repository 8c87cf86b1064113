"""How push, pull and overwritten values look in the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

from api.documented import problems
from api.push import MAX_MUTATIONS
from api.schemas import UUID, Schema

TAG: Schema = {
    "name": "sync",
    "description": "For clients that were away or have no socket: push what was written, pull what has changed.",
}

_INTEGER: Schema = {"type": "integer"}
_MS: Schema = {"type": "integer", "description": "Unix milliseconds."}
_CLOCK: Schema = {
    "type": "string",
    "pattern": "^[0-9]{13}-[0-9a-f]{4}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "description": "Hybrid logical clock: milliseconds, counter, client id.",
}
_MAYBE_UUID: Schema = {"type": ["string", "null"], "format": "uuid"}
_LOSSES: Schema = {"type": "array", "items": {"$ref": "#/components/schemas/Lost"}}
_OPERATION: Schema = {"enum": ["insert", "update", "delete"]}


def _object(
    required: Iterable[str], properties: Schema, description: str = "", *, closed: bool = False
) -> Schema:
    schema: Schema = {"type": "object", "required": list(required), "properties": properties}
    if description:
        schema["description"] = description
    if closed:
        schema["additionalProperties"] = False
    return schema


def sync_schemas(collections: Iterable[str]) -> Schema:
    """The schemas, by name. `collections` are the names that a mutation or change may give."""
    name: Schema = {"type": "string", "examples": sorted(collections)}
    return {
        "Mutation": _mutation(name),
        "MutationResult": _result(),
        "Change": _change(name),
        "OverwrittenValue": _overwritten(name),
        "PushRequest": _object(
            ["client_id", "now_ms", "mutations"],
            {
                "client_id": {**UUID, "description": "The installation; its clocks end in it. Lower case."},
                "now_ms": {**_MS, "description": "The client's time when it sends, in Unix milliseconds."},
                "mutations": {
                    "type": "array",
                    "maxItems": MAX_MUTATIONS,
                    "items": {"$ref": "#/components/schemas/Mutation"},
                },
            },
            closed=True,
        ),
        "PushAnswer": _object(
            ["results", "epoch", "offset"],
            {
                "results": {"type": "array", "items": {"$ref": "#/components/schemas/MutationResult"}},
                "epoch": {"type": "string"},
                "offset": {**_INTEGER, "description": "The head: what was written is at it or before it."},
            },
        ),
        "PullAnswer": _pull(),
    }


def sync_paths() -> Schema:
    """The paths of `/api/sync`, `/api/changes`, `/api/overwritten` and `/api/overwritten/seen`."""
    return {
        "/api/sync": {
            "post": _operation(
                "push",
                "Push mutations",
                "Each mutation stands for itself, and once: a repeat is answered with its first result.",
                _json("PushAnswer", "A result for each mutation, in order."),
                (400, 401, 413, 415, 422, 503),
                body={"$ref": "#/components/schemas/PushRequest"},
            )
        },
        "/api/changes": {
            "get": _operation(
                "pull",
                "Pull changes",
                "What a delta would hold. Without `epoch` and `offset`: where the head is, and the view's name.",
                _json("PullAnswer", "Complete for the topic from `from` (exclusive) to `to`."),
                (400, 401, 403, 404, 410, 422, 503),
                parameters=_pull_parameters(),
            )
        },
        "/api/overwritten": {
            "get": _operation(
                "list_overwritten",
                "Values of mine that somebody overwrote",
                "Those that I have not seen yet, oldest first, at most 200. They are kept for 90 days.",
                _answer(
                    _object(
                        ["items", "more"],
                        {
                            "items": {
                                "type": "array",
                                "items": {"$ref": "#/components/schemas/OverwrittenValue"},
                            },
                            "more": {"type": "boolean", "description": "More come when these are seen."},
                        },
                    ),
                    "The values.",
                ),
                (400, 401, 422, 503),
            )
        },
        "/api/overwritten/seen": {
            "post": _operation(
                "mark_overwritten_seen",
                "Mark overwritten values as seen",
                "They are not listed again.",
                _answer(_object(["seen"], {"seen": _INTEGER}), "How many of them there were."),
                (400, 401, 413, 415, 422, 429, 503),
                body=_object(
                    ["ids"], {"ids": {"type": "array", "maxItems": 200, "items": UUID}}, closed=True
                ),
            )
        },
    }


def _mutation(collection: Schema) -> Schema:
    return _object(
        ["mutation_id", "collection", "id", "operation"],
        {
            "mutation_id": {**UUID, "description": "Of version 7 and lower case; the same in every repeat."},
            "collection": collection,
            "id": {**UUID, "description": "The record's, lower case."},
            "operation": _OPERATION,
            "fields": {
                "type": ["object", "null"],
                "description": "As for a POST or a PATCH of the collection; none for a delete.",
            },
            "base_version": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "The version that its writer had seen.",
            },
            "clock": {
                **_CLOCK,
                "type": ["string", "null"],
                "description": "When it was typed; without one, the server's time of arrival.",
            },
            "mode": {
                "enum": ["merge", "strict", None],
                "description": "strict: only if the record is at `base_version`. Left out: strict for fields that "
                "the schema calls critical if there is a `base_version`, else merge.",
            },
        },
        closed=True,
    )


def _result() -> Schema:
    first = _object(
        ["mutation_id", "status"],
        {
            "mutation_id": UUID,
            "status": {"enum": ["applied", "merged"]},
            "version": _INTEGER,
            "clock": _CLOCK,
            "lost": _LOSSES,
        },
        "Of a duplicate: the first result.",
    )
    return _object(
        ["mutation_id", "status"],
        {
            "mutation_id": {**UUID, "description": "The mutation's; all zeros if what came had none."},
            "status": {"enum": ["applied", "merged", "duplicate", "rejected"]},
            "version": _INTEGER,
            "clock": {**_CLOCK, "description": "The clock that counts, after skew and clamping."},
            "record": {
                "type": "object",
                "description": "The record after the write; of a duplicate, as it is now; with "
                "`version_mismatch`, the one that is there.",
            },
            "lost": {**_LOSSES, "description": "With `merged`: fields that a later write had beaten."},
            "first": first,
            "code": {"type": "string", "description": "Of a rejection: a code of the table of errors."},
            "message": {"type": "string", "description": "For people."},
        },
    )


def _change(collection: Schema) -> Schema:
    actor = _object(
        ["user_id", "name", "branch_id"],
        {"user_id": UUID, "name": {"type": ["string", "null"]}, "branch_id": _MAYBE_UUID},
    )
    overwrote = _object(
        ["field", "value", "by", "at_ms"],
        {"field": {"type": "string"}, "value": {}, "by": _MAYBE_UUID, "at_ms": _MS},
    )
    return _object(
        [
            "offset", "collection", "id", "operation", "version", "fields", "clock", "actor", "mutation_id",
            "transaction", "committed_at_ms",
        ],
        {
            "offset": _INTEGER,
            "collection": collection,
            "id": UUID,
            "operation": {
                "enum": ["insert", "update", "delete", "enter", "leave"],
                "description": "enter and leave: the record moved into or out of what the topic shows.",
            },
            "version": _INTEGER,
            "fields": {
                "type": "object",
                "description": "The record for insert and enter, what changed for update, else empty.",
            },
            "clock": _CLOCK,
            "actor": {"anyOf": [actor, {"type": "null"}]},
            "mutation_id": _MAYBE_UUID,
            "transaction": {"type": "string", "description": "One writer's unit."},
            "committed_at_ms": _MS,
            "overwrote": {"type": "array", "items": overwrote, "description": "Values replaced unseen."},
        },
    )  # fmt: skip


def _overwritten(collection: Schema) -> Schema:
    by = _object(["user_id", "name"], {"user_id": UUID, "name": {"type": ["string", "null"]}})
    return _object(
        [
            "id", "collection", "record_id", "field", "mine", "theirs", "deleted", "by", "at_ms",
            "written_at_ms", "version",
        ],
        {
            "id": {**UUID, "description": "What to mark as seen."},
            "collection": collection,
            "record_id": UUID,
            "field": {"type": "string"},
            "mine": {"description": "The value that was overwritten."},
            "theirs": {"description": "The field as it is now; null if the record is deleted."},
            "deleted": {"type": "boolean", "description": "The record is not there any more."},
            "by": {"anyOf": [by, {"type": "null"}]},
            "at_ms": {**_MS, "description": "When it was overwritten."},
            "written_at_ms": {**_MS, "description": "When its author wrote it."},
            "version": {**_INTEGER, "description": "The record's version that replaced it."},
        },
    )  # fmt: skip


def _pull() -> Schema:
    return _object(
        ["topic", "view", "epoch", "from", "to", "head", "changes", "more"],
        {
            "topic": {"type": "string", "description": "In its canonical form."},
            "view": {
                "type": "string",
                "description": "What of the topic this reader may read; for the next pull.",
            },
            "epoch": {"type": "string"},
            "from": {**_INTEGER, "description": "Exclusive."},
            "to": {**_INTEGER, "description": "Inclusive: the offset of the next pull."},
            "head": _INTEGER,
            "changes": {"type": "array", "items": {"$ref": "#/components/schemas/Change"}},
            "more": {"type": "boolean", "description": "There is more at once."},
            "partial": {
                "type": "boolean",
                "description": "true: `to` is inside a transaction that is longer than an answer.",
            },
        },
    )


def _pull_parameters() -> list[Schema]:
    def parameter(name: str, schema: Schema, description: str, *, required: bool = False) -> Schema:
        found: Schema = {"name": name, "in": "query", "schema": schema, "description": description}
        return found | ({"required": True} if required else {})

    text: Schema = {"type": "string"}
    offset: Schema = {"type": "integer", "minimum": 0}
    limit: Schema = {"type": "integer", "minimum": 1, "maximum": 5_000, "default": 1_000}
    return [
        parameter("topic", text, "`leads`, `leads/<id>`, `leads?status=new,won` or `*`.", required=True),
        parameter("epoch", text, "The position's epoch."),
        parameter("offset", offset, "The position's offset: what comes after it is answered."),
        parameter("view", text, "`view` of the last answer: 410 if it is another one by now."),
        parameter("limit", limit, "How much of the log is looked through; a transaction stays whole if it can."),
    ]  # fmt: skip


def _operation(
    name: str,
    summary: str,
    description: str,
    answer: Schema,
    refusals: tuple[int, ...],
    *,
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
) -> Schema:
    operation: dict[str, Any] = {
        "tags": [TAG["name"]],
        "operationId": name,
        "summary": summary,
        "description": description,
        "security": [{"bearer": []}],
        "responses": {str(status): each for status, each in ({200: answer} | problems(*refusals)).items()},
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _json(schema: str, description: str) -> Schema:
    return _answer({"$ref": f"#/components/schemas/{schema}"}, description)


def _answer(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
