"""PURE. What the other systems say on a socket. They have no offsets: a record's first arrival gives it its number.

So a subscriber that gets the records in another order than the first one did, or not all of them, or one twice, is
found out as with Branchline.
"""

from typing import Any

import orjson

from benchmarks.harness.deltas import Delta, due_of
from benchmarks.harness.dialect import Ticket, Told


class Numbers:
    """Numbers the records in the order of their first arrival."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def delta(self, record: dict[str, Any], key: str = "id") -> Delta:
        """The arrival of a record as the delta that moves a subscriber to its number."""
        record_id = record[key]
        number = self._numbers.setdefault(record_id, len(self._numbers) + 1)
        return Delta(
            from_offset=number - 1,
            to_offset=number,
            offsets=(number,),
            due_ns=(due_of(record),),
            contents=((record_id, record),),
            more=False,
            conflated=False,
        )


class Plain:
    """A message is a record; whoever connects gets all of them."""

    subprotocol: str | None = None

    def __init__(self) -> None:
        self._numbers = Numbers()

    def begin(self, ticket: Ticket) -> Told:
        """Nothing to say."""
        return Told(joined=True)

    def read(self, payload: bytes, ticket: Ticket) -> Delta | Told:
        """A record."""
        return self._numbers.delta(orjson.loads(payload))


class SocketIo:
    """Socket.IO 4 over Engine.IO 4: `0` opens, `40` connects, `2` pings, `42` is an event."""

    subprotocol: str | None = None

    def __init__(self) -> None:
        self._numbers = Numbers()

    def begin(self, ticket: Ticket) -> Told:
        """The server speaks first."""
        return Told()

    def read(self, payload: bytes, ticket: Ticket) -> Delta | Told:
        """A packet."""
        if payload.startswith(b"42"):
            _, record = orjson.loads(payload[2:])
            return self._numbers.delta(record)
        if payload.startswith(b"40"):
            return Told(joined=True)
        if payload.startswith(b"0"):
            return Told(reply=b"40")
        if payload == b"2":
            return Told(reply=b"3")
        return Told(problem=f"a packet {payload[:100]!r}")


class LiveQuery:
    """Parse Server's LiveQuery. Each subscriber's messages hold its own id, so no two are sent the same bytes."""

    subprotocol: str | None = None

    def __init__(self) -> None:
        self._numbers = Numbers()

    def begin(self, ticket: Ticket) -> Told:
        """Name the application."""
        return Told(reply=orjson.dumps({"op": "connect", "applicationId": ticket.token}))

    def read(self, payload: bytes, ticket: Ticket) -> Delta | Told:
        """A message."""
        message = orjson.loads(payload)
        match message["op"]:
            case "create":
                return self._numbers.delta(message["object"], "objectId")
            case "connected":
                ask = {"op": "subscribe", "requestId": 1, "query": {"className": "Lead", "where": {}}}
                return Told(reply=orjson.dumps(ask))
            case "subscribed":
                return Told(joined=True)
            case other:
                return Told(problem=f"a message {other!r}: {message}")
