"""PURE. What is spoken on a socket: how a subscriber signs in, and what a message means.

Branchline's own is here; those of the systems that it is measured against are in benchmarks/peers/dialects.py, so that
one client does the same work for all.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from benchmarks.harness.deltas import Delta, read_delta


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who a subscriber is and what it asks for. `since` None asks for a snapshot."""

    token: str
    client_id: str
    topic: str
    since: str | dict[str, Any] | None = "now"


@dataclass(frozen=True, slots=True)
class Told:
    """What a message that is no delta says, and what is answered.

    `start` is the offset that the subscriber is at; `target` the one that it is being caught up to; `view` the name
    under which it may come back, with its `epoch`; `joined` that it is subscribed; `head` that everything up to there
    has come; `records` how many of a snapshot came.
    """

    reply: bytes | None = None
    start: int | None = None
    target: int = 0
    epoch: str = ""
    view: str = ""
    joined: bool = False
    head: int | None = None
    records: int = 0
    problem: str | None = None


class Dialect(Protocol):
    """One for each group of subscribers that should be sent the same."""

    @property
    def subprotocol(self) -> str | None:
        """What the handshake asks for."""

    def begin(self, ticket: Ticket) -> Told:
        """The socket is open."""

    def read(self, payload: bytes, ticket: Ticket) -> Delta | Told:
        """A text message came. Raises KeyError, TypeError or ValueError if it is malformed."""


class BranchlineDialect:
    """`branchline.v1`."""

    subprotocol: str | None = "branchline.v1"

    def begin(self, ticket: Ticket) -> Told:
        """Sign in."""
        message = {"type": "authenticate", "token": ticket.token, "client_id": ticket.client_id}
        return Told(reply=orjson.dumps(message))

    def read(self, payload: bytes, ticket: Ticket) -> Delta | Told:
        """A message of the server's."""
        message = orjson.loads(payload)
        match message["type"]:
            case "delta":
                return read_delta(message)
            case "ready":
                ask: dict[str, Any] = {"type": "subscribe", "id": 1, "topic": ticket.topic}
                if ticket.since is not None:
                    ask["since"] = ticket.since
                return Told(reply=orjson.dumps(ask))
            case "subscribed":
                return _subscribed(message, ticket)
            case "snapshot":
                return Told(records=len(message["records"]), joined=message["last"])
            case "head":
                return Told(head=message["offset"])
            case other:
                return Told(problem=f"a message {other!r}: {message}")


def _subscribed(message: dict[str, Any], ticket: Ticket) -> Told:
    start = message["offset"]
    if message["mode"] == "replay" and isinstance(ticket.since, dict):
        start = ticket.since["offset"]
    return Told(
        start=start,
        target=message["offset"],
        epoch=message["epoch"],
        view=message["view"],
        joined=message["mode"] != "snapshot",
    )
