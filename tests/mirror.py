"""A subscriber that keeps the protocol's promises visible: what it holds, and where it stands.

It is written against the documented messages alone, apart from the client libraries, so that a mistake in one of them
and in the gateway cannot hide each other.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

DEADLINE_SECONDS = 60.0


class RefusedError(Exception):
    """The gateway refused the subscription; `rejection` is its message."""

    def __init__(self, rejection: dict[str, Any]) -> None:
        super().__init__(str(rejection))
        self.rejection = rejection


@dataclass(slots=True)
class Mirror:
    """One topic on one socket. `records` is what a client would show, `applied` the offsets in the order of arrival."""

    socket: ClientConnection
    topic: str
    ready: dict[str, Any]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    applied: list[int] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    position: int = 0
    epoch: str = ""
    view: str = ""
    mode: str = ""
    _pages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def since(self) -> dict[str, Any]:
        """The position to resume from."""
        return {"epoch": self.epoch, "offset": self.position, "view": self.view}

    async def receive(self) -> dict[str, Any]:
        """The next message, applied."""
        message: dict[str, Any] = json.loads(await self.socket.recv())
        match message["type"]:
            case "subscribed":
                self.epoch, self.view, self.mode = message["epoch"], message["view"], message["mode"]
                if self.mode == "live":
                    self.position = max(self.position, message["offset"])
            case "snapshot":
                for record in message["records"]:
                    self.records[record["id"]] = record
                if message["last"]:
                    self.position = message["offset"]
            case "delta":
                self._delta(message)
            case "head":
                assert message["offset"] >= self.position, "the head went back"
                self.position = message["offset"]
        return message

    def _delta(self, message: dict[str, Any]) -> None:
        assert message["from"] <= self.position, f"a gap: at {self.position}, delta from {message['from']}"
        self._pages.extend(message["changes"])
        if message.get("more"):
            return
        for change in self._pages:
            if change["offset"] > self.position:
                self.applied.append(change["offset"])
                self.changes.append(change)
                self._apply(change)
        self._pages.clear()
        self.position = max(self.position, message["to"])

    def _apply(self, change: dict[str, Any]) -> None:
        held = self.records.get(change["id"])
        if held is not None and change["version"] <= held["version"]:
            return
        match change["operation"]:
            case "insert" | "enter":
                self.records[change["id"]] = change["fields"]
            case "update":
                # Not held: it was deleted, or left, before its page of the snapshot was read; that change follows.
                if held is not None:
                    held |= change["fields"] | {"version": change["version"]}
            case "delete" | "leave":
                self.records.pop(change["id"], None)

    async def until(self, reached: Callable[["Mirror"], bool]) -> None:
        """Receive until `reached`; raises TimeoutError when that takes too long."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not reached(self):
                await self.receive()


@asynccontextmanager
async def open_mirror(
    gateway_url: str,
    token: str,
    topic: str,
    *,
    since: dict[str, Any] | str | None = None,
    held: Mirror | None = None,
) -> AsyncIterator[Mirror]:
    """Connect, authenticate and subscribe; `held` goes on from another mirror's records and position."""
    async with connect(
        gateway_url, subprotocols=[Subprotocol("branchline.v1")], max_size=None, compression=None
    ) as socket:
        await socket.send(
            json.dumps({"type": "authenticate", "token": token, "client_id": str(uuid.uuid4())})
        )
        ready = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE_SECONDS))
        assert ready["type"] == "ready", ready
        mirror = Mirror(socket, topic, ready)
        if held is not None:
            mirror.records, mirror.position = dict(held.records), held.position
            mirror.applied, mirror.changes = held.applied, held.changes
            since = held.since
        message: dict[str, Any] = {"type": "subscribe", "id": 1, "topic": topic}
        if since is not None:
            message["since"] = since
        await socket.send(json.dumps(message))
        async with asyncio.timeout(DEADLINE_SECONDS):
            first = await mirror.receive()
            if first["type"] != "subscribed":
                raise RefusedError(first)
            if mirror.mode == "snapshot":
                while (page := await mirror.receive())["type"] != "snapshot" or not page["last"]:
                    pass
        yield mirror
