"""PURE. The messages that a server sends, each built here and nowhere else, as the bytes of its JSON.

Deltas and snapshots take changes and records that are encoded already, so that what is encoded once is
copied and not encoded again, and so that their size is known while they are put together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from core.protocol.codes import REJECTIONS, RejectionCode

Mode = Literal["snapshot", "replay", "live"]
UnsubscribedReason = Literal["asked", "revoked", "epoch"]


def ready(
    *,
    connection_id: str,
    epoch: str,
    offset: int,
    principal: Mapping[str, Any],
    server_time_ms: int,
    heartbeat_ms: int,
    limits: Mapping[str, int],
) -> bytes:
    """Say that the client is signed in, as whom, and where the log's head is."""
    return orjson.dumps(
        {
            "type": "ready",
            "connection_id": connection_id,
            "epoch": epoch,
            "offset": offset,
            "principal": principal,
            "server_time_ms": server_time_ms,
            "heartbeat_ms": heartbeat_ms,
            "limits": limits,
        }
    )


def subscribed(*, id: int, topic: str, view: str, mode: Mode, epoch: str, offset: int) -> bytes:
    """Say how a topic will be followed, and the head that is being caught up to."""
    return orjson.dumps(
        {
            "type": "subscribed",
            "id": id,
            "topic": topic,
            "view": view,
            "mode": mode,
            "epoch": epoch,
            "offset": offset,
        }
    )


def snapshot(
    *, topic: str, collection: str | None, records: Sequence[str | bytes], last: bool, epoch: str, offset: int
) -> bytes:
    """Give a page of a snapshot; `records` are JSON texts."""
    head = {"type": "snapshot", "topic": topic, "last": last, "epoch": epoch, "offset": offset}
    if collection is not None:
        head["collection"] = collection
    return _with_list(head, "records", records)


def delta(
    *,
    topic: str,
    epoch: str,
    from_offset: int,
    to_offset: int,
    changes: Sequence[bytes],
    more: bool = False,
    conflated: bool = False,
) -> bytes:
    """Give what a topic shows of the log after `from_offset` up to `to_offset`; `changes` are JSON texts."""
    head: dict[str, Any] = {
        "type": "delta",
        "topic": topic,
        "epoch": epoch,
        "from": from_offset,
        "to": to_offset,
    }
    if more:
        head["more"] = True
    if conflated:
        head["conflated"] = True
    return _with_list(head, "changes", changes)


def head(*, epoch: str, offset: int, at_ms: int) -> bytes:
    """Say that everything up to `offset` that concerns the socket was sent before this."""
    return orjson.dumps({"type": "head", "epoch": epoch, "offset": offset, "at_ms": at_ms})


def presence(
    *,
    topic: str,
    joined: Sequence[Mapping[str, Any]],
    left: Sequence[Mapping[str, Any]],
    changed: Sequence[Mapping[str, Any]],
    count: int | None = None,
) -> bytes:
    """Say who came, went or does something else on a topic; with `count`, who is there: the roster."""
    message: dict[str, Any] = {
        "type": "presence",
        "topic": topic,
        "joined": joined,
        "left": left,
        "changed": changed,
    }
    if count is not None:
        message["count"] = count
    return orjson.dumps(message)


def signal(*, topic: str, event: str, payload: Any, sender: Mapping[str, str]) -> bytes:
    """Pass on what somebody else on a topic has to say; `sender` is connection_id, user_id and name."""
    return orjson.dumps(
        {"type": "signal", "topic": topic, "event": event, "payload": payload, "from": sender}
    )


def unsubscribed(*, id: int | None, topic: str, reason: UnsubscribedReason) -> bytes:
    """Say that a topic is no longer followed."""
    return orjson.dumps({"type": "unsubscribed", "id": id, "topic": topic, "reason": reason})


def purge(*, topics: Sequence[str], reason: str) -> bytes:
    """Ask the client to delete what it keeps of these topics."""
    return orjson.dumps({"type": "purge", "topics": topics, "reason": reason})


def goaway(*, reconnect_after_ms: int) -> bytes:
    """Say that this gateway is leaving."""
    return orjson.dumps({"type": "goaway", "reconnect_after_ms": reconnect_after_ms})


def rejected(*, id: int | None, code: RejectionCode, message: str) -> bytes:
    """Say that something asked for is not done, and what the client does about it."""
    return orjson.dumps(
        {
            "type": "rejected",
            "id": id,
            "code": code,
            "message": message,
            "reaction": REJECTIONS[code].reaction,
        }
    )


def pong(*, sent_at_ms: int, server_time_ms: int) -> bytes:
    """Answer a `ping`."""
    return orjson.dumps({"type": "pong", "sent_at_ms": sent_at_ms, "server_time_ms": server_time_ms})


def _with_list(head: Mapping[str, Any], name: str, items: Sequence[str | bytes]) -> bytes:
    parts = [item.encode() if isinstance(item, str) else item for item in items]
    return b"".join((orjson.dumps(head)[:-1], b',"', name.encode(), b'":[', b",".join(parts), b"]}"))
