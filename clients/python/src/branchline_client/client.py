"""`connect`, and the client that it gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from branchline_client import message as messages
from branchline_client.api import Api
from branchline_client.backoff import RetryPolicy
from branchline_client.cache import Cache
from branchline_client.callbacks import Callbacks
from branchline_client.change import Change, Record
from branchline_client.credentials import Credentials, TokenSource
from branchline_client.errors import BranchlineError, ClosedError, UnsentWritesError
from branchline_client.feed import Fact
from branchline_client.identity import device_ms, new_client_id, new_id
from branchline_client.inbox import Inbox, Losses
from branchline_client.line import SILENCE_SECONDS
from branchline_client.live import LiveCollection
from branchline_client.message import Principal, Rejected
from branchline_client.mutation import Mode
from branchline_client.ordering import parse_sort
from branchline_client.position import Position
from branchline_client.presence import Presence
from branchline_client.session import Options, Session, chance
from branchline_client.states import Event, State
from branchline_client.store import Store
from branchline_client.stream import Buffer, Stream
from branchline_client.subscriptions import TopicSpec
from branchline_client.topic import Where, conditions_of, write_topic
from branchline_client.view import LiveView
from branchline_client.writer import Write

CLOSE_SECONDS = 5.0
"""Without a folder, how long closing waits for writes to be sent."""


def connect(
    url: str,
    token: TokenSource,
    *,
    store: str | Path | None = None,
    gateway_url: str | None = None,
    sockets: bool = True,
    poll_seconds: float = 30.0,
    receipts: float = 0.0,
    silence_seconds: float = SILENCE_SECONDS,
    retry: RetryPolicy | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Client:
    """Give a client for `async with`. It works at once, with or without a connection.

    `url` is the API's, such as `http://127.0.0.1:8000`; it names the gateway, unless `gateway_url` does. `token` is an
    access token, or a coroutine function that gives one and is called again when one is refused or about to expire.
    `store` is a folder that belongs to this person and this process: with it, unsent writes survive a crash, and what
    was seen is there without a connection. `sockets=False` fetches changes by HTTP every `poll_seconds`; that happens
    by itself where sockets do not get through. `receipts` is the share of changes given to `shown` that is reported.
    `transport` is an httpx transport for the API, where the ordinary one does not do.
    """
    options = Options(
        gateway_url=gateway_url,
        sockets=sockets,
        poll_seconds=poll_seconds,
        receipts=receipts,
        silence_seconds=silence_seconds,
        retry=retry or RetryPolicy(),
    )
    return Client(url, token, None if store is None else Path(store), options, transport)


class Client:
    """One person's connection to one organisation: live collections, streams, writes, presence."""

    def __init__(
        self,
        url: str,
        token: TokenSource,
        folder: Path | None,
        options: Options,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._transport = transport
        self._credentials = Credentials(token)
        self._folder = folder
        self._options = options
        self._opened: Session | None = None
        self._resources: list[Callable[[], Any]] = []

    # Life.

    async def __aenter__(self) -> Self:
        try:
            store, kept = await Store.open(self._folder, new_client_id)
            self._resources.append(store.close)
            cache = None
            if self._folder is not None:
                cache = await Cache.open(self._folder, device_ms())
                self._resources.append(cache.close)
            api = Api(self._url, self._credentials, self._transport)
            self._resources.append(api.close)
            self._opened = Session(api, self._credentials, store, kept, cache, self._options)
            await self._opened.start()
        except BaseException:
            await self._release()
            raise
        self._is_durable = store.is_durable
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        left = 0
        try:
            if not self._is_durable:
                left = await self._drain_before_closing()
            await session.stop()
        finally:
            await self._release()
        if error is None and session.error is not None and not isinstance(session.error, BranchlineError):
            raise session.error
        if error is None and left:
            raise UnsentWritesError(left)

    async def _drain_before_closing(self) -> int:
        try:
            async with asyncio.timeout(CLOSE_SECONDS if self.state is not State.NEEDS_AUTH else 0):
                await self.drain()
        except (TimeoutError, BranchlineError):
            pass
        return len(self._session.writer.queue)

    async def _release(self) -> None:
        while self._resources:
            await self._resources.pop()()

    @property
    def _session(self) -> Session:
        if self._opened is None:
            raise ClosedError("use the client inside `async with connect(…) as client`")
        return self._opened

    # The connection.

    @property
    def state(self) -> State:
        """How the client stands to the server; the table is in `clients/CONTRACT.md`."""
        return self._session.connection.state

    @property
    def reason(self) -> str:
        """Why the state is what it is."""
        return self._session.connection.reason

    @property
    def principal(self) -> Principal | None:
        """Whom the server takes this client for; None until it has said so."""
        return self._session.ownership.principal

    @property
    def on_state(self) -> Callbacks[[State, str]]:
        """Told of each new state, and why."""
        return self._session.on_state

    @property
    def on_fact(self) -> Callbacks[[TopicSpec, Fact]]:
        """Told of everything that arrives on any topic: for tools and tests."""
        return self._session.on_fact

    @property
    def on_rejected(self) -> Callbacks[[Rejected]]:
        """Told of what the gateway refuses."""
        return self._session.on_rejected

    async def wait_for_state(self, *states: State) -> State:
        """Wait for one of some states, however short; raises what has ended the client."""
        return await self._session.wait_for_state(states)

    async def wait_live(self) -> None:
        """Wait until the connection is live, or polling has taken its place. Raises what has ended the client."""
        await self.wait_for_state(State.LIVE, State.LEAVING, State.POLLING)

    def sign_in(self, token: TokenSource) -> None:
        """Go on with another token, of the same person."""
        self._credentials.replace(token)
        self._session.connection.post(Event.SIGN_IN)

    def online(self) -> None:
        """Do not wait for the next try: the network is back."""
        self._session.connection.post(Event.ONLINE)
        self._session.pusher.kick(afresh=True)

    # Reading.

    def live(
        self,
        collection: str,
        *,
        where: Where | None = None,
        sort: str | Sequence[str] | None = None,
        id: str | None = None,
    ) -> LiveCollection:
        """Give a live collection: `async with client.live("leads", where={"status": ["new", "won"]}) as leads`.

        `sort` names fields: `name`, `-created_at`, `-amount:numeric` (decimal numbers come as text). With `id` it holds
        that one record.
        """
        spec = _spec(collection, where, id)
        view = LiveView(
            collection,
            spec.conditions,
            parse_sort(sort),
            self._session.writer.queue,
            self._session.ownership.defaults,
        )
        return LiveCollection(self._session, spec, view)

    def subscribe(
        self,
        collection: str,
        *,
        where: Where | None = None,
        id: str | None = None,
        since: Position | Literal["now"] | None = "now",
    ) -> Stream:
        """Give a stream of changes: `async for change in client.subscribe("leads")`; `*` is everything.

        From now on by default; from a position that a stream had; with None, all records first.
        """
        session = self._session
        spec = _spec(collection, where, id)
        position = since if isinstance(since, Position) else None
        buffer = Buffer(session.subscriptions, spec, position, wants_snapshot=since != "now")
        session.buffers.add(buffer)
        if isinstance(session.error, BranchlineError):
            buffer.fail(session.error)
        return Stream(buffer, session.buffers.discard)

    async def fetch(self, collection: str, record_id: str) -> Record | None:
        """One record as the server has it now; None if there is none that may be read."""
        return await self._session.api.fetch_record(collection, record_id)

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API as the signed-in person: a path such as `/api/leads?limit=10`. Raises ApiError."""
        return await self._session.api.request(method, path, body)

    # Writing.

    def insert(self, collection: str, fields: Mapping[str, Any], *, id: str | None = None) -> Write:
        """Insert a record; its id is made here unless it is given."""
        return self._session.writer.write("insert", collection, id or new_id(), fields)

    def update(
        self,
        collection: str,
        record_id: str,
        fields: Mapping[str, Any],
        *,
        mode: Mode | None = None,
        base_version: int | None = None,
    ) -> Write:
        """Change some fields of a record.

        `mode` "merge": each field for itself, the later write wins. "strict": all or nothing, refused if the record has
        moved. None leaves it to the server: strict for critical fields. `base_version` is what the author has seen; by
        default, what the live collections show.
        """
        session = self._session
        seen = session.version_of(collection, record_id) if base_version is None else base_version
        return session.writer.write("update", collection, record_id, fields, base_version=seen, mode=mode)

    def delete(self, collection: str, record_id: str, *, mode: Mode | None = None) -> Write:
        """Delete a record."""
        session = self._session
        seen = session.version_of(collection, record_id)
        return session.writer.write("delete", collection, record_id, {}, base_version=seen, mode=mode)

    @property
    def inbox(self) -> Inbox:
        """Refused writes."""
        return Inbox(self._session.writer)

    @property
    def lost(self) -> Losses:
        """Values of this person's that others have replaced."""
        return Losses(self._session.writer, self._session.overwritten.seen)

    @property
    def pending(self) -> int:
        """How many writes the server has not answered."""
        return len(self._session.writer.queue)

    async def drain(self) -> None:
        """Wait until the server has answered every write. Raises what has ended the client."""
        session = self._session
        while len(session.writer.queue):
            if session.error is not None:
                raise session.error
            session.progress.clear()
            await session.progress.wait()

    # Other people.

    def presence(self, collection: str, *, where: Where | None = None, id: str | None = None) -> Presence:
        """Ask who is on a topic: `async with client.presence("leads") as people`."""
        return self._session.presence.open(_spec(collection, where, id))

    @asynccontextmanager
    async def editing(self, collection: str, record_id: str, field: str) -> AsyncIterator[None]:
        """Hold an advisory lease on a field: those whose view holds the record see who edits it."""
        version = self._session.version_of(collection, record_id)
        async with self.presence(collection, id=record_id) as presence:
            async with presence.editing(record_id, field, version):
                yield

    def shown(self, change: Change) -> None:
        """Say that a change is on the screen; a share of these is reported, for the commit-to-screen figures."""
        if chance() < self._options.receipts:
            now_ms = self._session.writer.now_ms()
            self._session.connection.send(messages.receipt(change.offset, now_ms))


def _spec(collection: str, where: Where | None, record_id: str | None) -> TopicSpec:
    conditions = conditions_of(where)
    if record_id is not None and conditions:
        raise ValueError("a topic names one record or a filter, not both")
    return TopicSpec(write_topic(collection, conditions, record_id), collection, conditions, record_id)
