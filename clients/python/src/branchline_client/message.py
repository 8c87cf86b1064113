"""PURE. The messages of the socket: those that the server sends, read; those that the client sends, written.

Fields and types that are not known are ignored, so that a newer server may say more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from branchline_client.change import Change, Record, change_from_json
from branchline_client.errors import MalformedMessageError
from branchline_client.position import Position


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom the server takes the client for. `branch_ids`: branches that they may write to, None for all."""

    user_id: str
    name: str
    organization_id: str
    role: str
    branch_ids: tuple[str, ...] | None
    reads: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The client is signed in."""

    connection_id: str
    epoch: str
    offset: int
    principal: Principal
    server_time_ms: int
    heartbeat_ms: int
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A topic is followed; `offset` is the head that is being caught up to."""

    id: int
    topic: str
    view: str
    mode: Literal["snapshot", "replay", "live"]
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Some of a topic's records. `collection` is None where the topic names it."""

    topic: str
    collection: str | None
    records: Sequence[Record]
    last: bool
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Delta:
    """All that concerns a topic after `from_offset` up to `to_offset`; with `more`, a page of it."""

    topic: str
    epoch: str
    from_offset: int
    to_offset: int
    changes: tuple[Change, ...]
    more: bool = False
    conflated: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """Everything up to `offset` that concerns this socket was sent before this."""

    epoch: str
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class PresenceNews:
    """Who came, went or does something else. The first of a subscription is the roster; `count` may be more."""

    topic: str
    joined: Sequence[Mapping[str, Any]]
    left: Sequence[Mapping[str, Any]]
    changed: Sequence[Mapping[str, Any]]
    count: int | None


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that somebody told the others on a topic. `sender` is `{connection_id, user_id, name}`."""

    topic: str
    event: str
    payload: Any
    sender: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A topic is no longer followed."""

    id: int | None
    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Purge:
    """Access was lost: what is kept of these topics has to go."""

    topics: Sequence[str]
    reason: str


@dataclass(frozen=True, slots=True)
class GoAway:
    """This gateway is leaving."""

    reconnect_after_ms: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that was asked for is not done."""

    id: int | None
    code: str
    message: str
    reaction: str | None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""

    sent_at_ms: int
    server_time_ms: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a newer protocol; ignored."""

    type: str


Downstream = (
    Ready
    | Subscribed
    | SnapshotPage
    | Delta
    | Head
    | PresenceNews
    | Signal
    | Unsubscribed
    | Purge
    | GoAway
    | Rejected
    | Pong
    | Unknown
)


def decode(text: str | bytes) -> Downstream:
    """Read one message. Raises MalformedMessageError."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedMessageError("expected a JSON object, got no JSON") from error
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise MalformedMessageError("expected a JSON object with a `type`")
    read = _READERS.get(data["type"])
    if read is None:
        return Unknown(data["type"])
    try:
        return read(data)
    except (KeyError, TypeError) as error:
        raise MalformedMessageError(f"expected the fields of {data['type']!r}; wrong is {error}") from error


def principal_from_json(data: Mapping[str, Any]) -> Principal:
    """Read a principal; raises KeyError or TypeError."""
    branch_ids = data["branch_ids"]
    return Principal(
        user_id=data["user_id"],
        name=data["name"],
        organization_id=data["organization_id"],
        role=data["role"],
        branch_ids=None if branch_ids is None else tuple(branch_ids),
        reads=data["reads"],
    )


def delta_from_json(data: Mapping[str, Any]) -> Delta:
    """Read a delta, from a message or from an answer to a pull; raises KeyError, TypeError, MalformedMessageError."""
    return Delta(
        topic=data["topic"],
        epoch=data["epoch"],
        from_offset=data["from"],
        to_offset=data["to"],
        changes=tuple(map(change_from_json, data["changes"])),
        more=data.get("more", False),
        conflated=data.get("conflated", False),
    )


def _ready(data: Mapping[str, Any]) -> Ready:
    return Ready(
        connection_id=data["connection_id"],
        epoch=data["epoch"],
        offset=data["offset"],
        principal=principal_from_json(data["principal"]),
        server_time_ms=data["server_time_ms"],
        heartbeat_ms=data["heartbeat_ms"],
        limits=data["limits"],
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Downstream]] = {
    "ready": _ready,
    "subscribed": lambda m: Subscribed(m["id"], m["topic"], m["view"], m["mode"], m["epoch"], m["offset"]),
    "snapshot": lambda m: SnapshotPage(
        m["topic"], m.get("collection"), m["records"], m["last"], m["epoch"], m["offset"]
    ),
    "delta": delta_from_json,
    "head": lambda m: Head(m["epoch"], m["offset"], m["at_ms"]),
    "presence": lambda m: PresenceNews(
        m["topic"], m.get("joined") or (), m.get("left") or (), m.get("changed") or (), m.get("count")
    ),
    "signal": lambda m: Signal(m["topic"], m["event"], m["payload"], m["from"]),
    "unsubscribed": lambda m: Unsubscribed(m["id"], m["topic"], m["reason"]),
    "purge": lambda m: Purge(m["topics"], m["reason"]),
    "goaway": lambda m: GoAway(m["reconnect_after_ms"]),
    "rejected": lambda m: Rejected(m["id"], m["code"], m["message"], m.get("reaction")),
    "pong": lambda m: Pong(m["sent_at_ms"], m["server_time_ms"]),
}


# Upstream.


def authenticate(token: str | None, client_id: str, *, receipts: bool = False) -> bytes:
    """Say who is there."""
    message: dict[str, Any] = {"type": "authenticate", "client_id": client_id}
    if token is not None:
        message["token"] = token
    if receipts:
        message["receipts"] = True
    return orjson.dumps(message)


def subscribe(
    request_id: int, topic: str, since: Position | Literal["now"] | None, *, presence: bool = False
) -> bytes:
    """Ask to follow a topic: from a snapshot, from a position, or from now."""
    message: dict[str, Any] = {"type": "subscribe", "id": request_id, "topic": topic}
    if isinstance(since, Position):
        message["since"] = {"epoch": since.epoch, "offset": since.offset, "view": since.view}
    elif since is not None:
        message["since"] = since
    if presence:
        message["presence"] = True
    return orjson.dumps(message)


def unsubscribe(request_id: int, topic: str) -> bytes:
    """Ask to follow a topic no longer."""
    return orjson.dumps({"type": "unsubscribe", "id": request_id, "topic": topic})


def announce(topic: str, state: Mapping[str, Any] | None) -> bytes:
    """Tell the others on a topic what one does; None leaves."""
    return orjson.dumps({"type": "announce", "topic": topic, "state": state})


def signal(topic: str, event: str, payload: Any) -> bytes:
    """Tell the others on a topic something that is not stored."""
    return orjson.dumps({"type": "signal", "topic": topic, "event": event, "payload": payload})


def purged(topics: Sequence[str]) -> bytes:
    """Say that what was kept of these topics is gone."""
    return orjson.dumps({"type": "purged", "topics": list(topics)})


def receipt(offset: int, shown_at_ms: int) -> bytes:
    """Say that a change is on the screen."""
    return orjson.dumps({"type": "receipt", "offset": offset, "shown_at_ms": shown_at_ms})


def ping(sent_at_ms: int) -> bytes:
    """Ask for a pong."""
    return orjson.dumps({"type": "ping", "sent_at_ms": sent_at_ms})
