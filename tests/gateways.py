"""A gateway in a test's own process, a relay that does what it is told, and a client that remembers all."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import asyncpg
import orjson
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from core.cancellation import raise_if_cancelled
from core.database import create_pool
from core.log import fetch_changes, fetch_head
from core.protocol.change import LoggedChange
from core.protocol.publication import (
    Heartbeat,
    Publication,
    channel_of_heartbeat,
    channel_of_organization,
    encode_heartbeat,
    encode_publication,
    split_commit,
)
from core.tokens import Tokens
from gateway.broker import connect as connect_redis
from gateway.connection import Connection as GatewayConnection
from gateway.gateway import Gateway
from gateway.options import SUBPROTOCOL, Options
from tests.servers import HOST, Database
from tests.tenants import Connection, Tenant, new_id

SECRET = "a-key-of-tests-that-is-long-enough-for-anybody"
WAIT_SECONDS = 20.0
UNLIMITED = {
    "connections_per_user": 0,
    "connections_per_organization": 0,
    "connections_per_address": 0,
    "messages_per_second_per_user": 0,
    "views_per_user": 0,
}


class ScriptedRelay:
    """Publishes the log of organisations when it is told to, and heartbeats as long as `is_beating`."""

    def __init__(self, owner: Connection, redis: Redis) -> None:
        self._owner = owner
        self._redis = redis
        self._turn = asyncio.Lock()
        self.published: dict[str, int] = {}
        self.term = 1
        self.is_beating = True
        self.page_bytes = 256 * 1024

    async def changes(self, tenant: Tenant, after: int) -> list[LoggedChange]:
        """The log of an organisation after an offset."""
        found: list[LoggedChange] = []
        async with self._turn:
            while part := await fetch_changes(self._owner, tenant.id, after + len(found), 5_000):
                found += part
        return found

    async def head(self, organization_id: str) -> tuple[str, int]:
        """Epoch and head of an organisation."""
        async with self._turn:
            return await fetch_head(self._owner, organization_id)

    async def publish(self, tenant: Tenant) -> int:
        """Publish what is new, each transaction by itself; give the head."""
        epoch, head = await self.head(tenant.id)
        after = self.published.get(tenant.id, 0)
        for commit in commits_of(await self.changes(tenant, after)):
            await self.publish_commit(tenant, epoch, commit)
        self.published[tenant.id] = head
        return head

    async def publish_commit(self, tenant: Tenant, epoch: str, commit: list[LoggedChange]) -> None:
        """Publish one transaction, in pages where it is large."""
        pages = split_commit(commit, self.page_bytes)
        for number, page in enumerate(pages):
            publication = Publication(
                shard=0,
                term=self.term,
                organization_id=tenant.id,
                epoch=epoch,
                from_offset=commit[0].offset - 1,
                to_offset=commit[-1].offset,
                page=number,
                more=number < len(pages) - 1,
                published_at_ms=int(time.time() * 1000),
                changes=tuple(page),
            )
            await self._redis.publish(channel_of_organization(tenant.id), encode_publication(publication))

    async def skip(self, tenant: Tenant) -> None:
        """Let what is new go unpublished: Redis has lost it."""
        _, self.published[tenant.id] = await self.head(tenant.id)

    async def beat(self) -> None:
        """Publish one heartbeat, with all heads that were published."""
        epoch, _ = await self.head(new_id())
        beat = Heartbeat(0, self.term, epoch, int(time.time() * 1000), dict(self.published))
        await self._redis.publish(channel_of_heartbeat(0), encode_heartbeat(beat))

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            raise_if_cancelled()
            if self.is_beating:
                await self.beat()
            await asyncio.sleep(0.2)


def commits_of(changes: Iterable[LoggedChange]) -> list[list[LoggedChange]]:
    """Cut a run of the log into transactions."""
    commits: list[list[LoggedChange]] = []
    for change in changes:
        if not commits or commits[-1][-1].offset == commits[-1][-1].last_of_commit:
            commits.append([])
        commits[-1].append(change)
    return commits


@dataclass(slots=True)
class RunningGateway:
    """A gateway that listens on `port`, and the relay beside it."""

    gateway: Gateway
    port: int
    tokens: Tokens
    relay: ScriptedRelay

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws"

    def token(self, tenant: Tenant, person: str = "ana") -> str:
        return self.tokens.issue(tenant.people[person], tenant.id, tenant.sessions[person])

    @contextlib.asynccontextmanager
    async def socket(self, tenant: Tenant, person: str = "ana", **options: Any) -> AsyncIterator["Socket"]:
        """A socket that is signed in as somebody."""
        async with Socket.open(self.url, **options) as opened:
            await opened.authenticate(self.token(tenant, person))
            yield opened


@contextlib.asynccontextmanager
async def run_gateway(
    database: Database, redis_url: str, *, key: str = SECRET, **options: Any
) -> AsyncIterator[RunningGateway]:
    """Run a gateway on a free port, with its limits lifted, and a relay that publishes what it is told to."""
    settings = Options(**{**UNLIMITED, "allow_local_origins": True, **options})
    pool = await create_pool(
        database.url, role="branchline_gateway", application_name="test gateway", min_size=1, max_size=6
    )
    owner = await asyncpg.connect(database.owner_url)
    redis, relays_redis = connect_redis(redis_url), connect_redis(redis_url)
    tokens = Tokens(key)
    gateway = Gateway(pool, redis, tokens, settings)
    await gateway.start()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.socket_buffer_bytes)
    listening.bind((HOST, 0))
    made: list[GatewayConnection] = []

    def make() -> GatewayConnection:
        made.append(gateway.connection())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(make, sock=listening, backlog=1024)
    relay = ScriptedRelay(owner, relays_redis)
    # Not a task group: a fixture's teardown may run in another task than its beginning.
    running = [asyncio.create_task(gateway.run()), asyncio.create_task(relay.run())]
    try:
        await wait_until(lambda: not gateway.intake.is_degraded or any(each.done() for each in running))
        yield RunningGateway(gateway, listening.getsockname()[1], tokens, relay)
    finally:
        server.close()
        for connection in made:
            if not connection.is_gone:
                connection.abort()
        for task in running:
            task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
        await redis.aclose()
        await relays_redis.aclose()
        pool.terminate()
        owner.terminate()
    failures = [each for each in results if isinstance(each, Exception)]
    assert not failures, failures


async def wait_until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something holds; raise TimeoutError if it does not come to that."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class Socket:
    """A client's socket. `messages` are all that came, oldest first; `received` counts those that were waited for."""

    connection: ClientConnection
    messages: list[dict[str, Any]] = field(default_factory=list)
    _seen: int = 0
    _next_id: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, **options: Any) -> AsyncIterator[Self]:
        """Open a socket; it is read until it ends."""
        options = {
            "subprotocols": [Subprotocol(SUBPROTOCOL)],
            "compression": None,
            "max_size": 2**25,
            **options,
        }
        async with connect(url, proxy=None, **options) as connection:
            opened = cls(connection)
            reading = asyncio.create_task(opened._read())
            try:
                yield opened
            finally:
                reading.cancel()
                connection.transport.abort()

    async def _read(self) -> None:
        try:
            async for text in self.connection:
                self.messages.append(orjson.loads(text))
                self._arrived.set()
        except ConnectionClosed:
            pass
        self.closed = True
        self._arrived.set()

    async def send(self, **message: Any) -> None:
        """Send a message."""
        await self.connection.send(orjson.dumps(message).decode())

    async def next(self, *types: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """Give the next message of one of these types (any, if there are none), passing over others."""
        async with asyncio.timeout(seconds):
            while True:
                while self._seen < len(self.messages):
                    message = self.messages[self._seen]
                    self._seen += 1
                    if not types or message["type"] in types:
                        return message
                if self.closed:
                    raise AssertionError(f"closed with {self.connection.close_code}, waiting for {types}")
                self._arrived.clear()
                await self._arrived.wait()

    async def wait_closed(self, seconds: float = WAIT_SECONDS) -> int | None:
        """Give the close code."""
        await wait_until(lambda: self.closed, seconds)
        return self.connection.close_code

    async def authenticate(self, token: str | None) -> dict[str, Any]:
        """Sign in; give `ready`."""
        more = {} if token is None else {"token": token}
        await self.send(type="authenticate", client_id=new_id(), **more)
        return await self.next("ready")

    async def subscribe(self, topic: str, since: Any = None) -> dict[str, Any]:
        """Subscribe; give the answer, `subscribed` or `rejected`."""
        self._next_id += 1
        more = {} if since is None else {"since": since}
        await self.send(type="subscribe", id=self._next_id, topic=topic, **more)
        while True:
            answer = await self.next("subscribed", "rejected")
            if answer["id"] == self._next_id:
                return answer


class Replica:
    """What a client holds of one topic: records from snapshots and deltas, applied as the protocol says.

    Raises AssertionError where what comes breaks the protocol: a gap, pages that do not match, a `to` that goes back.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.versions: dict[tuple[str, str], int] = {}
        self.position: int | None = None
        self.view = ""
        self.epoch = ""
        self.offsets: list[int] = []
        self._pages: list[dict[str, Any]] = []
        self._is_fresh = True

    @property
    def since(self) -> dict[str, Any]:
        """The position, to go on from."""
        return {"epoch": self.epoch, "offset": self.position, "view": self.view}

    def take(self, message: dict[str, Any]) -> None:
        """Apply a message, if it is about this topic."""
        if message["type"] == "head":
            if self.position is not None and not self._pages:
                self.position = max(self.position, message["offset"])
            return
        if message.get("topic") != self.topic:
            return
        match message["type"]:
            case "subscribed":
                self._subscribed(message)
            case "snapshot":
                self._snapshot(message)
            case "delta":
                self._delta(message)

    def _subscribed(self, message: dict[str, Any]) -> None:
        self.view, self.epoch = message["view"], message["epoch"]
        self._pages.clear()
        if message["mode"] == "live":
            self.position = message["offset"]
        elif message["mode"] == "snapshot":
            self.offsets.clear()
            self.records.clear()
            self.versions.clear()
            self.position = None

    def _snapshot(self, message: dict[str, Any]) -> None:
        for record in message["records"]:
            key = (message.get("collection", self.topic.partition("?")[0].partition("/")[0]), record["id"])
            self.records[key] = record
            self.versions[key] = record["version"]
        if message["last"]:
            self.position = message["offset"]

    def _delta(self, message: dict[str, Any]) -> None:
        assert self.position is not None, "a delta before the snapshot's end"
        assert message["from"] <= self.position, f"gap: {message['from']} > {self.position}"
        if self._pages:
            first = self._pages[0]
            assert (first["from"], first["to"]) == (message["from"], message["to"]), "pages of two ranges"
        if message.get("more"):
            self._pages.append(message)
            return
        for page in [*self._pages, message]:
            for change in page["changes"]:
                self._apply(change)
        self._pages.clear()
        self.position = max(self.position, message["to"])

    def _apply(self, change: dict[str, Any]) -> None:
        assert self.position is not None
        if change["offset"] <= self.position:
            return
        if self.offsets:
            assert change["offset"] > self.offsets[-1], "an offset twice, or out of order"
        self.offsets.append(change["offset"])
        key = (change["collection"], change["id"])
        if change["version"] <= self.versions.get(key, 0):
            return
        self.versions[key] = change["version"]
        match change["operation"]:
            case "insert" | "enter":
                self.records[key] = change["fields"]
            case "update" if key in self.records:
                self.records[key] = {**self.records[key], **change["fields"], "version": change["version"]}
            case "delete" | "leave":
                self.records.pop(key, None)
            case _:
                # The snapshot was read after the record had left: what happened to it before is of no use.
                pass
