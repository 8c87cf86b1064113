"""The AsyncAPI document says what the code does: the golden frames and the tables of codes, and nothing else."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from jsonschema import (  # type: ignore[import-untyped] # comes with check-jsonschema, without types
    ValidationError,
    validate,
)
from pydantic_asyncapi.v3 import AsyncAPI

from core.protocol.asyncapi import asyncapi_document
from core.protocol.codes import CLOSES, REJECTIONS
from tests.protocol.frames import Direction, Frame, frame, frames
from tests.unit.protocol.test_documented import SENT, fields

DOCUMENT = orjson.loads(orjson.dumps(asyncapi_document("1.2.3", "ws://127.0.0.1:8001/ws")))
SUFFIXES: Mapping[Direction, str] = {"up": "FromClient", "down": "FromServer"}


def schema_of(direction: Direction, type_: str) -> dict[str, Any]:
    """The schema of a message's payload, with what it refers to, and closed: no member that it does not name."""
    message = DOCUMENT["components"]["messages"][f"{type_}{SUFFIXES[direction]}"]
    schemas = {name: _closed(each) for name, each in DOCUMENT["components"]["schemas"].items()}
    return {"$ref": message["payload"]["$ref"], "components": {"schemas": schemas}}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"additionalProperties": False} if "properties" in schema else schema


def properties(direction: Direction, type_: str) -> set[str]:
    schema = schema_of(direction, type_)
    name = schema["$ref"].rpartition("/")[2]
    return set(schema["components"]["schemas"][name]["properties"])


def test_it_is_an_asyncapi_document() -> None:
    document = orjson.loads(orjson.dumps(DOCUMENT))
    for operation in document["operations"].values():
        # The library asks for it; the specification does not, and here the answer comes on the same socket.
        operation.get("reply", {})["address"] = {"location": "$message.payload#/id", "description": ""}
    read = AsyncAPI.model_validate(document)
    assert read.asyncapi == "3.0.0"
    assert read.info.version == "1.2.3"
    text = orjson.dumps(DOCUMENT).decode()
    for reference in {part.split('"')[0] for part in text.split('"$ref":"')[1:]}:
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


@pytest.mark.parametrize("each", [*frames("up"), *frames("down")], ids=str)
def test_every_golden_frame_is_described(each: Frame) -> None:
    direction: Direction = "up" if each in frames("up") else "down"
    validate(each.message, schema_of(direction, each.message["type"]))


@pytest.mark.parametrize("name", SENT)
def test_what_a_server_sends_is_described_to_the_last_field(name: str) -> None:
    assert properties("down", name) == orjson.loads(SENT[name]).keys()


def test_no_message_is_described_that_the_protocols_page_does_not_have() -> None:
    documented = {f"{name}FromClient" for name in fields("From the client")}
    documented |= {f"{name}FromServer" for name in fields("From the server")}
    assert DOCUMENT["components"]["messages"].keys() == documented
    assert DOCUMENT["channels"]["socket"]["messages"].keys() == documented
    used = {
        each["$ref"].rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        for each in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
    }
    assert used == documented


def test_the_codes_are_those_of_the_code() -> None:
    assert DOCUMENT["x-close-codes"].keys() == {str(code.value) for code in CLOSES}
    assert DOCUMENT["x-rejection-codes"].keys() == REJECTIONS.keys()
    assert (
        set(DOCUMENT["components"]["schemas"]["Rejected"]["properties"]["code"]["enum"]) == REJECTIONS.keys()
    )


@pytest.mark.parametrize("change", [{"offset": -1}, {"offset": None}, {"mode": "tomorrow"}, {"surprise": 1}])
def test_a_frame_that_is_bent_does_not_pass(change: dict[str, Any]) -> None:
    bent = frame("down", "subscribed-live").message | change
    with pytest.raises(ValidationError):
        validate(bent, schema_of("down", "subscribed"))
