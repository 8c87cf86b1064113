"""PURE. The messages that a client sends.

A message is a JSON object with a `type`. Types are strict: `"1"` is no integer. Fields that are not known
are ignored, so that a newer client may send more; a `type` that is not known is malformed, since nobody
would act on it.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.protocol import position
from core.protocol.topic import MAX_CANONICAL_LENGTH

MAX_OFFSET = 2**63 - 1
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

RequestId = Annotated[int, Field(ge=0, le=2**53 - 1)]
TopicText = Annotated[str, Field(min_length=1, max_length=MAX_CANONICAL_LENGTH)]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
UnixMs = Annotated[int, Field(ge=0, le=MAX_OFFSET)]


class MalformedMessageError(ValueError):
    """What came is not a message of this protocol. The text says what was expected, and quotes nothing of
    it.
    """


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Authenticate(_Message):
    """Say who is there; the first message, and later again with a fresh token of the same principal."""

    type: Literal["authenticate"]
    client_id: Annotated[str, Field(pattern=_UUID)]
    token: Annotated[str, Field(max_length=8_192)] | None = None
    receipts: bool = False


class SincePosition(_Message):
    """The position up to which the client has seen a view."""

    epoch: Annotated[str, Field(max_length=200)]
    offset: Offset
    view: Annotated[str, Field(max_length=MAX_CANONICAL_LENGTH + 100)]

    def position(self) -> position.Since:
        """Give the position as the rest of the program knows it."""
        return position.Since(epoch=self.epoch, offset=self.offset, view=self.view)


class Subscribe(_Message):
    """Follow a topic: from a snapshot (without `since`), from a position, or from `now`."""

    type: Literal["subscribe"]
    id: RequestId
    topic: TopicText
    since: SincePosition | Literal["now"] | None = None
    presence: bool = False


class Unsubscribe(_Message):
    """Follow a topic no longer."""

    type: Literal["unsubscribe"]
    id: RequestId
    topic: TopicText


class Announce(_Message):
    """Tell the others on a topic that one is here and what one does; null leaves."""

    type: Literal["announce"]
    topic: TopicText
    state: dict[str, Any] | None


class Signal(_Message):
    """Tell the others on a topic something that is not stored."""

    type: Literal["signal"]
    topic: TopicText
    event: Annotated[str, Field(min_length=1, max_length=200)]
    payload: Any = None


class Purged(_Message):
    """The answer to `purge`: what was cached of these topics is gone."""

    type: Literal["purged"]
    topics: Annotated[list[TopicText], Field(max_length=1_000)]


class Receipt(_Message):
    """A change is on the screen."""

    type: Literal["receipt"]
    offset: Offset
    shown_at_ms: UnixMs


class Ping(_Message):
    """Ask for a `pong`."""

    type: Literal["ping"]
    sent_at_ms: UnixMs


Upstream = Authenticate | Subscribe | Unsubscribe | Announce | Signal | Purged | Receipt | Ping

_ADAPTER: TypeAdapter[Upstream] = TypeAdapter(Annotated[Upstream, Field(discriminator="type")])


def decode_upstream(text: bytes | bytearray | str) -> Upstream:
    """Read one message. Raises MalformedMessageError."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedMessageError("expected a JSON object, got no JSON") from error
    if not isinstance(data, dict):
        raise MalformedMessageError(f"expected a JSON object, got {type(data).__name__}")
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"].startswith("union_tag"):
            raise MalformedMessageError("expected a known `type`") from error
        where = ".".join(str(part) for part in first["loc"][1:]) or "message"
        raise MalformedMessageError(f"{where}: {first['msg']}") from error
