"""The parts of an open client, and what flows between them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from branchline_client import message as messages
from branchline_client.api import Api
from branchline_client.backoff import RetryPolicy
from branchline_client.cache import Cache
from branchline_client.cache_writer import CacheWriter
from branchline_client.callbacks import Callbacks
from branchline_client.clock import DATE_MS
from branchline_client.connection import Connection
from branchline_client.credentials import Credentials
from branchline_client.errors import (
    BranchlineError,
    ClosedError,
    NeedsAuthError,
    PrincipalChangedError,
    StoppedError,
)
from branchline_client.feed import Advanced, Fact
from branchline_client.http_feed import HttpFeed
from branchline_client.identity import device_ms, new_id
from branchline_client.line import SILENCE_SECONDS
from branchline_client.live import LiveCollection
from branchline_client.message import (
    Delta,
    Downstream,
    Head,
    Pong,
    PresenceNews,
    Principal,
    Purge,
    Ready,
    Rejected,
    Signal,
    SnapshotPage,
    Subscribed,
    Unsubscribed,
)
from branchline_client.overwritten import Overwritten
from branchline_client.ownership import Ownership
from branchline_client.presence import PresenceDesk
from branchline_client.purge import forget_topics
from branchline_client.pusher import Pusher
from branchline_client.states import Event, State
from branchline_client.store import Kept, Store
from branchline_client.stream import Buffer
from branchline_client.subscriptions import Subscriptions, TopicSpec
from branchline_client.tasks import Tasks
from branchline_client.waiting import StateWaiters
from branchline_client.writer import Writer

_PUSHES = frozenset(State) - {State.IDLE, State.NEEDS_AUTH, State.STOPPED}

_log = logging.getLogger("branchline_client")


@dataclass(frozen=True, slots=True)
class Options:
    """What `connect` was asked for; see there."""

    gateway_url: str | None = None
    sockets: bool = True
    poll_seconds: float = 30.0
    receipts: float = 0.0
    silence_seconds: float = SILENCE_SECONDS
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Session:
    """Owner of the connection, host of the live collections."""

    def __init__(
        self,
        api: Api,
        credentials: Credentials,
        store: Store,
        kept: Kept,
        cache: Cache | None,
        options: Options,
    ) -> None:
        self.options = options
        self.api = api
        self.credentials = credentials
        self.ready: Ready | None = None
        self.error: BaseException | None = None
        self.on_state: Callbacks[[State, str]] = Callbacks()
        self.on_fact: Callbacks[[TopicSpec, Fact]] = Callbacks()
        self.on_rejected: Callbacks[[Rejected]] = Callbacks()
        self.lives: list[LiveCollection] = []
        self.buffers: set[Buffer] = set()
        self.progress = asyncio.Event()
        """Set whenever writes were answered, or the state has changed."""
        self._waiters = StateWaiters()
        self._cache = cache
        self._hello_at_ms = 0
        policy = options.retry
        self.tasks = Tasks(self._failed)
        self.ownership = Ownership(kept.principal, store, self.tasks)
        self.writer = Writer(
            store,
            kept,
            device_ms=device_ms,
            new_id=new_id,
            tasks=self.tasks,
            refused_tries=policy.refused_tries,
        )
        self.connection = Connection(
            self,
            api,
            credentials,
            policy,
            self.tasks,
            gateway_url=options.gateway_url,
            sockets=options.sockets,
            silence_seconds=options.silence_seconds,
        )
        self.http_feed = HttpFeed(
            api,
            policy,
            self.tasks,
            poll_seconds=options.poll_seconds,
            who=lambda: (self.writer.clock.client_id, self.writer.now_ms()),
        )
        self.subscriptions = Subscriptions(self.connection.send, self.http_feed, policy)
        self.presence = PresenceDesk(self.subscriptions, self.connection.send, self._connection_id)
        self.pusher = Pusher(
            self.writer,
            api,
            policy,
            may_push=lambda: self.connection.state in _PUSHES,
            identify=self._identify,
            pushed=self._pushed,
        )
        self.cache_writer = CacheWriter(cache, self.writer, lambda: self.lives)
        self.overwritten = Overwritten(api, self.writer, lambda: self.ownership.user_id)
        api.on_date = self._heard_date
        self.writer.changed = self._queue_changed
        self.writer.kept = self.pusher.kick
        self.subscriptions.on_fact = self._fact
        self.subscriptions.on_subscribed = self.presence.subscribed

    async def start(self) -> None:
        """Begin."""
        await self.cache_writer.open()
        self.tasks.start(self.cache_writer.run(), name="branchline cache")
        self.tasks.start(self.pusher.run(), name="branchline push")
        self.connection.post(Event.START)

    async def stop(self) -> None:
        """End everything; what is kept is kept."""
        await self.writer.wait_kept()
        self.connection.post(Event.CLOSE)
        for buffer in list(self.buffers):
            buffer.fail(ClosedError("the client was closed"))
        for live in list(self.lives):
            live.close()
        await self.cache_writer.flush()
        # The socket's goodbye is a task of its own, with a deadline of its own.
        await self.tasks.close(after=("branchline close",))
        await self.writer.wait_kept()

    async def wait_for_state(self, states: Collection[State]) -> State:
        """Wait for one of some states. Raises what has ended the client."""
        if self.connection.state in states:
            return self.connection.state
        if self.error is not None:
            raise self.error
        return await self._waiters.wait(states)

    # The owner of the connection.

    def hello(self, token: str) -> bytes:
        """Give the `authenticate` message."""
        self._hello_at_ms = device_ms()
        return messages.authenticate(token, self.writer.clock.client_id, receipts=self.options.receipts > 0)

    def ping(self) -> bytes:
        """Give a `ping` message."""
        return messages.ping(device_ms())

    def signed_in(self, ready: Ready) -> bool:
        """Take `ready`; False if this is another person than the one whose work is kept here."""
        if not self._admit(ready.principal, self.credentials.token):
            return False
        self.ready = ready
        self._see_server_time(ready.server_time_ms, self._hello_at_ms)
        return True

    def connected(self) -> None:
        """Subscribe and announce: the socket is live."""
        self.subscriptions.connected()
        self.http_feed.kick()
        self.pusher.kick(afresh=True)
        self.tasks.start(self.overwritten.fetch(), name="branchline overwritten")

    def disconnected(self) -> None:
        """Nothing is subscribed any more."""
        self.subscriptions.disconnected()
        self.presence.disconnected()

    def state_changed(self, old: State, new: State, reason: str) -> None:
        """Take note of a new state."""
        if new is State.STOPPED and self.error is None:
            self.error = StoppedError(self.connection.code, reason)
        elif new is State.NEEDS_AUTH and self.credentials.is_fixed:
            self.error = NeedsAuthError(reason)
        elif new is State.AUTHORIZING and isinstance(self.error, BranchlineError):
            self.error = None
        if isinstance(self.error, BranchlineError):
            for buffer in list(self.buffers):
                buffer.fail(self.error)
        self.pusher.kick(afresh=new in (State.LIVE, State.POLLING))
        self.progress.set()
        self._waiters.wake(new, self.error)
        self.on_state.tell(new, reason)

    async def poll(self) -> None:
        """Fetch changes by HTTP again and again."""
        await self.http_feed.poll(self.subscriptions)

    def heard(self, message: Downstream) -> None:
        """Take a message."""
        match message:
            case Delta():
                self.subscriptions.delta(message)
            case Head():
                self.subscriptions.head(message)
            case SnapshotPage():
                self.subscriptions.snapshot(message)
            case Subscribed():
                self.subscriptions.subscribed(message)
            case Unsubscribed():
                self.subscriptions.unsubscribed(message)
            case Rejected():
                self._rejected(message)
            case Pong():
                self._see_server_time(message.server_time_ms, message.sent_at_ms)
            case PresenceNews():
                self.presence.news(message)
            case Signal():
                self.presence.signalled(message)
            case Purge():
                self.tasks.start(self._purge(message), name="branchline purge")
            case _:
                _log.debug("ignored: %s", message)

    # The host of live collections.

    async def open_live(self, live: LiveCollection) -> None:
        """Load what is cached, and follow the topic."""
        cached = None if self._cache is None else await self._cache.fetch(live.spec.topic)
        if cached is not None:
            live.load([(live.spec.collection, record) for record in cached.records], cached.position)
        self.lives.append(live)
        self.subscriptions.follow(live.spec, live, live.position)

    def close_live(self, live: LiveCollection) -> None:
        """Follow it no longer."""
        if live in self.lives:
            self.lives.remove(live)
            self.cache_writer.closing(live)
        self.subscriptions.unfollow(live.spec.topic, live)

    def live_advanced(self, live: LiveCollection) -> None:
        """Take note that the server's state has moved."""
        self.cache_writer.note()

    def view_changed(self) -> None:
        """Have what is kept of topics that are not followed go: it is not told what of it may still be held."""
        self.tasks.start(self.cache_writer.forget_unfollowed(), name="branchline forget")

    def needs_review(self, collection: str, record_id: str) -> bool:
        """Whether a write of a record lies in the inbox."""
        key = (collection, record_id)
        return any(entry.mutation.key == key for entry in self.writer.inbox.values())

    def version_of(self, collection: str, record_id: str) -> int | None:
        """The newest version of a record that this person can have seen."""
        versions = [
            record["version"]
            for live in self.lives
            if live.spec.collection == collection and (record := live.server_record(record_id)) is not None
        ]
        return self.writer.queue.seen_version(collection, record_id, max(versions, default=None))

    # Parts.

    def _queue_changed(self, collection: str, record_ids: Iterable[str]) -> None:
        ids = list(record_ids)
        for live in self.lives:
            if live.spec.collection == collection:
                live.queue_changed(ids)

    def _pushed(self) -> None:
        self.progress.set()
        self.cache_writer.note()
        self.http_feed.kick()

    def _fact(self, spec: TopicSpec, fact: Fact) -> None:
        if isinstance(fact, Advanced) and fact.changes:
            self.writer.see(max(change.clock for change in fact.changes))
            losses = self.overwritten.in_changes(fact.changes)
            if losses:
                self.tasks.start(self.writer.note_losses(losses), name="branchline losses")
        self.on_fact.tell(spec, fact)

    def _rejected(self, message: Rejected) -> None:
        if message.reaction == "reauthenticate":
            self.connection.renew()
        if not self.subscriptions.rejected(message):
            _log.warning("rejected: %s: %s", message.code, message.message)
        self.on_rejected.tell(message)

    def _see_server_time(self, server_ms: int, sent_at_ms: int) -> None:
        now_ms = device_ms()
        round_trip_ms = max(0, now_ms - sent_at_ms)
        self.writer.see_server_time(server_ms, now_ms - round_trip_ms // 2, round_trip_ms)

    def _heard_date(self, server_ms: int, round_trip_ms: int) -> None:
        # It tells a clock that is wrong from one that is right, and no more.
        then_ms = device_ms() - round_trip_ms // 2
        self.writer.see_server_time(server_ms, then_ms, round_trip_ms + DATE_MS)

    def _admit(self, principal: Principal, token: str | None) -> bool:
        try:
            self.ownership.admit(principal, token)
        except PrincipalChangedError as error:
            self.error = error
            return False
        for live in self.lives:
            live.view.defaults = self.ownership.defaults
        return True

    async def _identify(self) -> bool:
        """Make sure whom the token stands for before anything is pushed with it."""
        token = await self.credentials.get()
        if self.ownership.is_known(token):
            return True
        if self._admit(await self.api.fetch_principal(), token):
            return True
        self.connection.post(Event.ENDED, str(self.error))
        return False

    async def _purge(self, purge: Purge) -> None:
        topics = set(purge.topics)
        specs = [
            entry.spec
            for entry in self.subscriptions.entries
            if topics & {entry.spec.topic, entry.feed.last_canonical}
        ]
        await forget_topics(topics, specs, self.lives, self.cache_writer, self.writer)
        self.connection.send(messages.purged(list(purge.topics)))

    def _connection_id(self) -> str | None:
        return None if self.ready is None else self.ready.connection_id

    def _failed(self, error: BaseException) -> None:
        """A defect: end, and tell everybody who waits."""
        if self.error is None or isinstance(self.error, BranchlineError):
            self.error = error
        _log.error("the client has failed", exc_info=error)
        self.connection.post(Event.CLOSE)
        for buffer in list(self.buffers):
            buffer.fail(ClosedError(f"the client has failed: {error!r}"))
        self.progress.set()
        self._waiters.wake(self.connection.state, self.error)


def chance() -> float:
    """A number of [0, 1)."""
    return random.random()
