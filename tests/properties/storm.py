"""People of the whole system in a storm: writers by HTTP and by push, watchers on sockets, and somebody with kill -9.

Writers go on until each of their writes is answered; watchers come back whenever their socket ends, with the position
that they hold. Both write down what the checker needs.
"""

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets import Subprotocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from core.clock import Clock, parse_clock, tick
from core.protocol.view import View
from tests.checker import Acknowledged, ChangesSeen, SnapshotSeen, Trace
from tests.mirror import Mirror
from tests.tenants import new_id

AGAIN_SECONDS = 0.05
SOCKET_LOST = (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, EOFError)
STATUSES = ("new", "contacted", "won", "lost")


@dataclass(slots=True)
class Storm:
    """What all have in common: where to go, when to stop, and what was counted."""

    api_url: str
    gateway_url: str
    dice: random.Random
    leads: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    seen: Counter[str] = field(default_factory=Counter)

    def fields(self, mark: str) -> dict[str, Any]:
        """What somebody types: a few fields, and a note that nobody else types."""
        typed: dict[str, Any] = {"notes": mark}
        if self.dice.random() < 0.5:
            typed["status"] = self.dice.choice(STATUSES)
        if self.dice.random() < 0.3:
            typed["phone"] = self.dice.choice(["1", "2", None])
        if self.dice.random() < 0.2:
            typed["branch_id"] = self.dice.choice([*self.branches, None])
        return typed

    async def pause(self, seconds: float) -> None:
        """Wait a little, or less if the storm ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)


@dataclass(slots=True)
class PushWriter:
    """A client of `/api/sync` with a queue and a clock of its own, which is wrong."""

    storm: Storm
    token: str
    skew_ms: int
    client_id: str = field(default_factory=lambda: new_id())
    last: Clock | None = None
    queue: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)

    def now_ms(self) -> int:
        """This device's time."""
        return int(time.time() * 1000) + self.skew_ms

    def type_something(self) -> None:
        """One more write in the queue."""
        storm = self.storm
        mutation: dict[str, Any] = {"mutation_id": self._new_id(), "collection": "leads"}
        self.last = tick(self.last, self.now_ms(), self.client_id)
        mutation["clock"] = str(self.last)
        chance = storm.dice.random()
        if chance < 0.15 or len(storm.leads) < 5:
            mutation |= {"operation": "insert", "id": new_id(), "fields": {"name": "L"}}
            storm.leads.append(mutation["id"])
        elif chance < 0.25:
            mutation |= {"operation": "delete", "id": storm.dice.choice(storm.leads)}
        else:
            mutation |= {"operation": "update", "id": storm.dice.choice(storm.leads)}
            mutation["fields"] = storm.fields(mutation["mutation_id"])
        self.queue.append(mutation)

    def _new_id(self) -> str:
        """A UUID of version 7, as a device makes it whose clock is wrong."""
        return str(uuid.UUID(f"{self.now_ms():012x}{new_id().replace('-', '')[12:]}"))

    async def run(self) -> None:
        """Write until the storm is over, and then until everything is answered."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=self.storm.api_url, headers=headers, timeout=10) as client:
            while not self.storm.stopping.is_set() or self.queue:
                if not self.storm.stopping.is_set():
                    for _ in range(self.storm.dice.choice([1, 1, 3, 8])):
                        self.type_something()
                await self._push(client)
                await self.storm.pause(self.storm.dice.random() * 0.2)

    async def _push(self, client: httpx.AsyncClient) -> None:
        batch = self.queue[:20]
        body = {"client_id": self.client_id, "now_ms": self.now_ms(), "mutations": batch}
        try:
            answer = await client.post("/api/sync", json=body)
        except httpx.TransportError:
            self.storm.seen["pushes without an answer"] += 1
            return
        if answer.status_code != 200:
            assert answer.status_code >= 500, answer.text
            self.storm.seen[f"pushes answered {answer.status_code}"] += 1
            return
        if self.storm.dice.random() < 0.3:
            self.storm.seen["answers dropped"] += 1
            return
        for mutation, result in zip(batch, answer.json()["results"], strict=True):
            self._settle(mutation, result)
        del self.queue[: len(batch)]

    def _settle(self, mutation: dict[str, Any], result: dict[str, Any]) -> None:
        self.storm.seen[result["status"]] += 1
        if result["status"] == "rejected":
            assert result["code"] == "not_found", result
            return
        first = result["first"] if result["status"] == "duplicate" else result
        seen = parse_clock(first["clock"])
        if self.last is None or (seen.ms, seen.counter) > (self.last.ms, self.last.counter):
            self.last = seen
        self.acknowledged.append(
            Acknowledged(
                mutation["mutation_id"],
                ("leads", mutation["id"]),
                mutation["operation"],
                mutation.get("fields", {}),
                first["clock"],
                frozenset(entry["field"] for entry in first.get("lost", ())),
            )
        )


@dataclass(slots=True)
class HttpWriter:
    """A program that writes one record after the other, and repeats a request until it is answered."""

    storm: Storm
    token: str
    acknowledged: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    """Each write that was answered, by its note: which lead, which operation, and what was asked for."""

    async def run(self) -> None:
        """Write until the storm is over."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=self.storm.api_url, headers=headers, timeout=10) as client:
            while not self.storm.stopping.is_set():
                await self._write(client)
                await self.storm.pause(self.storm.dice.random() * 0.15)

    async def _write(self, client: httpx.AsyncClient) -> None:
        mark, dice = new_id(), self.storm.dice
        if dice.random() < 0.2 or not self.storm.leads:
            lead, operation, fields = new_id(), "insert", {"name": "H", "notes": mark}
            request = client.build_request("POST", "/api/leads", json={"id": lead, **fields})
        else:
            lead = dice.choice(self.storm.leads)
            operation, fields = "update", self.storm.fields(mark)
            request = client.build_request("PATCH", f"/api/leads/{lead}", json=fields)
        request.headers["Idempotency-Key"] = mark
        while True:
            try:
                answer = await client.send(request)
            except httpx.TransportError:
                self.storm.seen["requests without an answer"] += 1
            else:
                if answer.status_code < 500:
                    break
                self.storm.seen[f"requests answered {answer.status_code}"] += 1
            await asyncio.sleep(AGAIN_SECONDS)
        if answer.status_code in (200, 201):
            self.acknowledged[mark] = (lead, operation, fields)
            if request.method == "POST":
                self.storm.leads.append(lead)
        else:
            assert answer.status_code == 404, answer.text
        self.storm.seen[f"{request.method} {answer.status_code}"] += 1


@dataclass(slots=True)
class Watcher:
    """Somebody who follows a topic, on one socket after the other."""

    storm: Storm
    name: str
    token: str
    topic: str
    view: View
    trace: Trace
    held: Mirror | None = None
    """What is there whole: after a snapshot's last page, or from the start of a replay."""
    left: bool = False

    async def run(self) -> None:
        """Follow until `left` is set; whatever ends the socket, come back."""
        while not self.left:
            try:
                async with self._subscribed() as mirror:
                    while not self.left:
                        await self._receive(mirror)
            except SOCKET_LOST:
                self.storm.seen["sockets lost"] += 1
                await asyncio.sleep(AGAIN_SECONDS)

    @contextlib.asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[Mirror]:
        async with connect(
            self.storm.gateway_url,
            subprotocols=[Subprotocol("branchline.v1")],
            max_size=None,
            compression=None,
            open_timeout=5,
        ) as socket:
            message = {"type": "authenticate", "token": self.token, "client_id": new_id()}
            await socket.send(json.dumps(message))
            ready = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert ready["type"] == "ready", ready
            mirror = Mirror(socket, self.topic, ready)
            subscribe: dict[str, Any] = {"type": "subscribe", "id": 1, "topic": self.topic}
            if self.held is not None:
                mirror.records, mirror.position = dict(self.held.records), self.held.position
                subscribe["since"] = self.held.since
            await socket.send(json.dumps(subscribe))
            yield mirror

    async def _receive(self, mirror: Mirror) -> None:
        told = len(mirror.changes)
        message = await mirror.receive()
        match message["type"]:
            case "subscribed":
                self.storm.seen[f"subscribed: {message['mode']}"] += 1
                assert message["view"] == self.view.name
                if message["mode"] == "snapshot":
                    mirror.records.clear()
                else:
                    self.held = mirror
            case "rejected":
                raise AssertionError(message)
            case "snapshot" if message["last"]:
                versions = {key: record["version"] for key, record in mirror.records.items()}
                self.trace.seen.append(SnapshotSeen(mirror.position, versions))
                self.held = mirror
            case "delta" if not message.get("more"):
                changes = [(c["offset"], c["id"], c["operation"]) for c in mirror.changes[told:]]
                conflated = bool(message.get("conflated"))
                self.trace.seen.append(ChangesSeen(mirror.position, changes, conflated))
                self.storm.seen["changes told"] += len(changes)
            case "head":
                self.trace.seen.append(ChangesSeen(mirror.position, []))
