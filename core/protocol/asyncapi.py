"""PURE. The protocol on a socket as an AsyncAPI 3 document, made of what reads and describes its messages."""

from collections.abc import Mapping, Sequence
from inspect import getdoc
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from core.protocol import shape, upstream
from core.protocol.codes import CLOSES, REJECTIONS

SUBPROTOCOL = "branchline.v1"
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "authenticate": ("ready",),
    "subscribe": ("subscribed", "rejected"),
    "unsubscribe": ("unsubscribed", "rejected"),
    "ping": ("pong",),
}
"""What a message of a client is answered with. All else is not answered, or only refused."""

_CHANNEL = {"$ref": "#/channels/socket"}
_Document = dict[str, Any]


def asyncapi_document(version: str, gateway_url: str | None = None) -> _Document:
    """Give the document. `version` is the program's; `gateway_url` names a server, such as `ws://127.0.0.1:8001/ws`."""
    ups, downs = _models(upstream.Upstream), _models(shape.Downstream)
    _, definitions = models_json_schema(
        [(model, "validation") for model in (*ups.values(), *downs.values())],
        ref_template="#/components/schemas/{model}",
    )
    document: _Document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Branchline, on a socket",
            "version": version,
            "description": "Topics, positions and what a client does with each message: docs/protocol.md.",
        },
        "defaultContentType": "application/json",
        "channels": {"socket": _channel([*map(_up, ups), *map(_down, downs)])},
        "operations": _operations(ups, downs),
        "components": {
            "messages": {
                **{_up(name): _message(name, model) for name, model in ups.items()},
                **{_down(name): _message(name, model) for name, model in downs.items()},
            },
            "schemas": definitions["$defs"],
        },
        "x-close-codes": {
            str(code.value): {"meaning": row.meaning, "reaction": row.reaction}
            for code, row in CLOSES.items()
        },
        "x-rejection-codes": {
            code: {"meaning": row.meaning, "reaction": row.reaction} for code, row in REJECTIONS.items()
        },
    }
    if gateway_url is not None:
        document["servers"] = {"gateway": _server(gateway_url)}
    return document


def _models(union: Any) -> dict[str, type[BaseModel]]:
    """The models of a union by their `type`."""
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}


def _up(name: str) -> str:
    return f"{name}FromClient"


def _down(name: str) -> str:
    return f"{name}FromServer"


def _channel(messages: Sequence[str]) -> _Document:
    return {
        "address": "/ws",
        "description": f"WebSocket with the subprotocol `{SUBPROTOCOL}`; JSON in text frames, one message a frame.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "headers": {
                    "type": "object",
                    "properties": {
                        "Sec-WebSocket-Protocol": {"type": "string", "const": SUBPROTOCOL},
                        "Authorization": {
                            "type": "string",
                            "description": "`Bearer` and a token; not of pages.",
                        },
                    },
                    "required": ["Sec-WebSocket-Protocol"],
                },
                "query": {
                    "type": "object",
                    "properties": {"ticket": {"type": "string", "description": "Good for 30 s and one use."}},
                },
                "bindingVersion": "0.1.0",
            }
        },
    }


def _operations(ups: Mapping[str, type[BaseModel]], downs: Mapping[str, type[BaseModel]]) -> _Document:
    operations: _Document = {}
    for name in ups:
        operation: _Document = {
            "action": "receive",
            "channel": _CHANNEL,
            "messages": _in_channel([_up(name)]),
        }
        if name in ANSWERS:
            answers = _in_channel([_down(each) for each in ANSWERS[name]])
            operation["reply"] = {"channel": _CHANNEL, "messages": answers}
        operations[name] = operation
    answered = {each for answers in ANSWERS.values() for each in answers}
    operations["tell"] = {
        "action": "send",
        "channel": _CHANNEL,
        "summary": "What a client is told without having asked just now; `rejected` also refuses what is not answered.",
        "messages": _in_channel(
            [_down(name) for name in downs if name == "rejected" or name not in answered]
        ),
    }
    return operations


def _in_channel(names: Sequence[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/socket/messages/{name}"} for name in names]


def _message(name: str, model: type[BaseModel]) -> _Document:
    return {
        "name": name,
        "summary": " ".join((getdoc(model) or "").split()),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _server(url: str) -> _Document:
    scheme, _, rest = url.partition("://")
    host, _, _ = rest.partition("/")
    return {"host": host, "protocol": scheme, "description": "A gateway."}
