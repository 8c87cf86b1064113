"""Brings the log to this gateway: from Redis as it is published, from PostgreSQL where Redis left something out.

The order, for each organisation: SUBSCRIBE is confirmed, then the head is read, then live (I4). A publication that
does not go on where the feed stands, a heartbeat with a head that has not come, an acknowledgement of a subscription
after the first, each is a gap, and a gap is read from the log (I3). While the relay is silent the log is polled.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from core.cancellation import raise_if_cancelled
from core.log import PositionTooOldError
from core.protocol.publication import (
    Publication,
    PublicationError,
    TermGuard,
    channel_of_heartbeat,
    channel_of_organization,
    decode_heartbeat,
    decode_publication,
)
from gateway.broker import Broker
from gateway.fan_out import FanOut
from gateway.flight import Flights
from gateway.jobs import Jobs
from gateway.log_reader import BLOCK, READ_ERRORS, LogReader, chunk_of
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.organization import Organization

SHARD = 0
HEARTBEAT_CHANNEL = channel_of_heartbeat(SHARD)
ACKNOWLEDGE_SECONDS = 1.0
RETRY_SECONDS = 0.25
RENEW_SECONDS = 5.0
"""Time of silence after which the connection to Redis is made anew, and again after as long."""
POLLS_AT_ONCE = 4
LINGER_SECONDS = 60.0
"""How long an organisation without sockets is kept, for those who come back."""

_log = structlog.get_logger()


class Intake:
    """The organisations of this gateway, each with a feed that follows the log.

    `make_organization(id, epoch, head)` makes one,
    `released` hears of one that is let go. `watch` is to run; `on_message` and `on_subscribed` are the
    broker's to call.
    """

    def __init__(
        self,
        log: LogReader,
        jobs: Jobs,
        fan_out: FanOut,
        metrics: Metrics,
        options: Options,
        make_organization: Callable[[str, str, int], Organization],
        released: Callable[[Organization], None],
    ) -> None:
        self._log_reader = log
        self._jobs = jobs
        self._fan_out = fan_out
        self._metrics = metrics
        self._options = options
        self._make_organization = make_organization
        self._released = released
        self._loop = asyncio.get_running_loop()
        self._guard = TermGuard()
        self._attaching: Flights[str, Organization] = Flights()
        self._acknowledged: dict[str, asyncio.Event] = {}
        self._early: dict[str, list[tuple[Publication, bytes]]] = {}
        self._filling: set[Organization] = set()
        self._renewing: set[Organization] = set()
        self._idle_since: dict[Organization, float] = {}
        self._heard_at = float("-inf")
        self._polled_at = float("-inf")
        self._renewed_at = float("-inf")
        self.broker: Broker | None = None
        self.organizations: dict[str, Organization] = {}
        self.database_error: str | None = None
        """Why the log could not be read when it was last tried."""

    # Organisations.

    async def attach(self, organization_id: str) -> Organization:
        """Give an organisation whose feed stands at its head or goes on from there. Raises one of READ_ERRORS."""
        organization = self.organizations.get(organization_id)
        if organization is not None:
            return organization
        return await self._attaching.join(organization_id, lambda: self._attach(organization_id))

    async def _attach(self, organization_id: str) -> Organization:
        assert self.broker is not None
        channel = channel_of_organization(organization_id)
        acknowledged = self._acknowledged[channel] = asyncio.Event()
        early = self._early[organization_id] = []
        try:
            await self.broker.subscribe(channel)
            await self._wait_acknowledged(acknowledged)
            at_ms = _now_ms()
            epoch, head = await self._log_reader.fetch_head(organization_id)
            organization = self._make_organization(organization_id, epoch, head)
            organization.feed.note_time(head, at_ms)
            self.organizations[organization_id] = organization
        except BaseException:
            self._jobs.start(self.broker.unsubscribe(channel), "unsubscribe")
            raise
        finally:
            del self._acknowledged[channel], self._early[organization_id]
        for publication, data in early:
            self._receive(organization, publication, data)
        return organization

    async def _wait_acknowledged(self, acknowledged: asyncio.Event) -> None:
        """Wait for a subscription's acknowledgement, but not for a Redis that is away.

        The log is polled until Redis is back, and its acknowledgement then counts as a gap.
        """
        assert self.broker is not None
        if self.broker.error is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                    await acknowledged.wait()

    def _release_idle(self, now: float) -> None:
        for organization in list(self.organizations.values()):
            if organization.seats:
                self._idle_since.pop(organization, None)
            elif now - self._idle_since.setdefault(organization, now) >= LINGER_SECONDS:
                del self._idle_since[organization], self.organizations[organization.id]
                assert self.broker is not None
                self._jobs.start(
                    self.broker.unsubscribe(channel_of_organization(organization.id)), "unsubscribe"
                )
                self._released(organization)

    def _bound_tails(self) -> None:
        """Keep all tails together within their limit, at the largest one's expense."""
        used = self.tail_bytes
        while used > self._options.tail_bytes:
            tail = max((each.tail for each in self.organizations.values()), key=lambda each: each.used_bytes)
            before = tail.used_bytes
            tail.shrink(before - max(before // 8, 1))
            used -= before - tail.used_bytes

    @property
    def tail_bytes(self) -> int:
        """Bytes that all tails use."""
        return sum(each.tail.used_bytes for each in self.organizations.values())

    # From Redis.

    def on_subscribed(self, channel: str) -> None:
        """Take an acknowledgement: what was published before it may be missing."""
        event = self._acknowledged.get(channel)
        if event is not None:
            event.set()
            return
        for organization in self.organizations.values():
            if channel == channel_of_organization(organization.id):
                self.renew(organization)

    def on_message(self, channel: str, data: bytes) -> None:
        """Take a heartbeat or a publication."""
        try:
            if channel == HEARTBEAT_CHANNEL:
                self._hear(data)
            else:
                self._take(channel, data)
        except PublicationError as error:
            _log.error("publication.unreadable", channel=channel, error=str(error))
            for organization in self.organizations.values():
                if channel == channel_of_organization(organization.id):
                    self.fill_gap(organization)

    def _hear(self, data: bytes) -> None:
        heartbeat = decode_heartbeat(data)
        if not self._guard.admits(heartbeat.shard, heartbeat.term):
            return
        self._heard_at = self._loop.time()
        for organization in self.organizations.values():
            head = heartbeat.heads.get(organization.id)
            if head is not None:
                organization.note_head(heartbeat.epoch, head)
            feed = organization.feed
            if feed.epoch == heartbeat.epoch:
                # One that is not named has not moved for a while.
                feed.note_time(feed.known_head if head is None else head, heartbeat.at_ms)

    def _take(self, channel: str, data: bytes) -> None:
        publication = decode_publication(data)
        # The channel is the organisation's whom it is sent to; a publication of another never gets there (I8).
        if channel != channel_of_organization(publication.organization_id):
            raise PublicationError(f"expected a publication of {channel}, got one of another organisation")
        if not self._guard.admits(publication.shard, publication.term):
            return
        organization = self.organizations.get(publication.organization_id)
        if organization is not None:
            self._receive(organization, publication, data)
        elif publication.organization_id in self._early:
            self._early[publication.organization_id].append((publication, data))

    def _receive(self, organization: Organization, publication: Publication, data: bytes) -> None:
        now_ms = time.time() * 1000
        cursor = organization.feed.cursor
        times = {each.committed_at_ms for each in publication.changes if each.offset > cursor}
        organization.receive(publication.epoch, publication.changes, publication.to_offset, data)
        if organization.feed.cursor > cursor:
            for committed_at_ms in times:
                self._metrics.arrived(now_ms - committed_at_ms)
                self._fan_out.committed(committed_at_ms)

    # From PostgreSQL.

    def fill_gap(self, organization: Organization) -> None:
        """Read the log after the feed's cursor."""
        if organization not in self._filling:
            self._filling.add(organization)
            self._metrics.gaps += 1
            self._jobs.start(self._fill(organization), "fill gap")

    def renew(self, organization: Organization) -> None:
        """Read epoch and head again."""
        if organization not in self._renewing:
            self._renewing.add(organization)
            self._jobs.start(self._renew(organization), "renew")

    async def _fill(self, organization: Organization) -> None:
        try:
            while self._is_ours(organization):
                try:
                    if await self._fill_once(organization):
                        return
                except PositionTooOldError:
                    await self._restart(organization)
                    return
                except READ_ERRORS as error:
                    raise_if_cancelled()
                    await self._pause(error)
        finally:
            self._filling.discard(organization)

    async def _fill_once(self, organization: Organization) -> bool:
        feed = organization.feed
        changes = await self._log_reader.fetch_after(organization.id, feed.cursor)
        self.database_error = None
        if organization.feed is not feed:
            return False
        if not changes:
            feed.retract_head()
            return True
        publication = chunk_of(organization.id, changes).publication
        organization.receive(feed.epoch, changes, changes[-1].offset, publication)
        return len(changes) < BLOCK and not feed.is_behind

    async def _renew(self, organization: Organization) -> None:
        try:
            while self._is_ours(organization):
                try:
                    await self._compare(organization)
                except READ_ERRORS as error:
                    raise_if_cancelled()
                    await self._pause(error)
                else:
                    return
        finally:
            self._renewing.discard(organization)

    async def _restart(self, organization: Organization) -> None:
        while self._is_ours(organization):
            try:
                at_ms = _now_ms()
                epoch, head = await self._log_reader.fetch_head(organization.id)
                organization.restart(epoch, head)
                organization.feed.note_time(head, at_ms)
            except READ_ERRORS as error:
                raise_if_cancelled()
                await self._pause(error)
            else:
                return

    async def _compare(self, organization: Organization) -> None:
        """Compare the feed with the database's epoch and head, and act on what differs."""
        feed = organization.feed
        known = feed.position
        at_ms = _now_ms()
        epoch, head = await self._log_reader.fetch_head(organization.id)
        self.database_error = None
        if organization.feed is not feed:
            return
        if epoch != feed.epoch or head < known:
            _log.warning("feed.restarted", organization_id=organization.id, head=head, was=known)
            organization.restart(epoch, head)
        else:
            organization.note_head(epoch, head)
        organization.feed.note_time(head, at_ms)

    async def _pause(self, error: Exception) -> None:
        self.database_error = type(error).__name__
        await asyncio.sleep(RETRY_SECONDS)

    def _is_ours(self, organization: Organization) -> bool:
        return self.organizations.get(organization.id) is organization

    # Watch.

    @property
    def silence_seconds(self) -> float:
        """Time since the relay's last heartbeat."""
        return self._loop.time() - self._heard_at

    @property
    def is_degraded(self) -> bool:
        """Whether the log is read from PostgreSQL, because the relay or Redis is silent."""
        return self.silence_seconds > self._options.silence_seconds

    @property
    def is_fresh(self) -> bool:
        """Whether a change that is committed now would come here."""
        return not self.is_degraded or self._loop.time() - self._polled_at < self._options.silence_seconds

    async def watch(self) -> None:
        """Poll the log while the relay is silent, and let go of what nobody listens to, until cancelled."""
        was_degraded = False
        # Nothing is wrong with a relay that was not heard yet, by a gateway that has just begun to listen.
        may_worry_at = self._loop.time() + self._options.silence_seconds
        while True:
            await asyncio.sleep(self._options.poll_seconds)
            now = self._loop.time()
            degraded = self.is_degraded
            if degraded != was_degraded and now >= may_worry_at:
                _log.warning("intake.degraded" if degraded else "intake.restored")
                was_degraded = degraded
            if degraded:
                await self._poll()
                if now - self._renewed_at >= RENEW_SECONDS:
                    self._renewed_at = now
                    assert self.broker is not None
                    self.broker.renew()
            self._release_idle(now)
            self._bound_tails()

    async def _poll(self) -> None:
        waiting = list(self.organizations.values())
        failed = False

        async def poll_some() -> None:
            nonlocal failed
            while waiting and not failed:
                try:
                    await self._compare(waiting.pop())
                except READ_ERRORS as error:
                    raise_if_cancelled()
                    self.database_error = type(error).__name__
                    failed = True

        await asyncio.gather(*[poll_some() for _ in range(POLLS_AT_ONCE)])
        if not failed:
            self._polled_at = self._loop.time()


def _now_ms() -> int:
    return int(time.time() * 1000)
