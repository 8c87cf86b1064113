"""One gateway, put together: every part with those that it needs, and what has to run beside the sockets."""

import asyncio
import logging
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis

from core.cancellation import raise_if_cancelled
from core.catalogue import Catalogue, CatalogueWatcher
from core.database import Pool
from core.status_server import Readiness
from core.tokens import Claims, TokenError, Tokens, claims_from_json, ticket_key
from gateway.announcing import Announcing
from gateway.broker import BROKER_ERRORS, Broker
from gateway.catch_up import CatchUp
from gateway.connection import Connection, Rules
from gateway.exchange import Exchange
from gateway.fan_out import FanOut
from gateway.feed import Feed
from gateway.following import Following
from gateway.handshake import Credentials, origins_of
from gateway.heartbeat import Heartbeat
from gateway.intake import HEARTBEAT_CHANNEL, Intake
from gateway.jobs import Jobs
from gateway.leaving import leave
from gateway.log_reader import READ_ERRORS, LogReader
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.organization import Organization
from gateway.presence import Presence
from gateway.reception import Reception
from gateway.record_reader import RecordReader
from gateway.roster import Key
from gateway.seat import Seat
from gateway.server import Server, UnavailableError
from gateway.snapshot import SnapshotReader
from gateway.subscription import Subscription
from gateway.sweep import Sweep

DATABASE_CHECK_SECONDS = 2.0
TIDY_SECONDS = 10.0

_log = structlog.get_logger()


def quiet_logger() -> logging.Logger:
    """Give the logger for the WebSocket library: it logs each socket, which is not for production."""
    logger = logging.getLogger("branchline.websocket")
    logger.setLevel(logging.ERROR)
    return logger


class Gateway:
    """All of a gateway but its listening sockets.

    `start` first; then `run`, as long as there are sockets. `connection` makes the protocol of a new one, and `leave`
    sends all away.
    """

    def __init__(
        self,
        pool: Pool,
        redis: Redis,
        tokens: Tokens,
        options: Options,
        *,
        replica: "Pool | None" = None,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._tokens = tokens
        self._watcher = CatalogueWatcher(pool, self._catalogue_changed)
        self._options = options
        self._database_error: str | None = None
        self._rules = Rules(
            origins=origins_of(options.allowed_origins, allow_local=options.allow_local_origins),
            subprotocol=options.subprotocol,
            max_message_bytes=options.message_bytes,
            frames_per_second=options.frames_per_second,
            logger=quiet_logger(),
        )
        self.metrics = Metrics()
        self.jobs = Jobs()
        self.fan_out = FanOut(self.metrics)
        log_reader = LogReader(pool, self.metrics, replica)
        snapshots = SnapshotReader(
            pool, self.metrics, page_records=options.snapshot_page_records, replica=replica
        )
        self.intake = Intake(
            log_reader,
            self.jobs,
            self.fan_out,
            self.metrics,
            options,
            self._make_organization,
            self._released,
        )
        self._presences: dict[str, Presence] = {}
        self._record_reader = RecordReader(pool, lambda: self._watcher.current)
        self.exchange = Exchange(
            redis,
            self.jobs,
            self.metrics,
            presences=self._presences,
            on_signal=lambda organization_id, signal: self.announcing.hear(organization_id, signal),
        )
        self.intake.broker = Broker(
            redis,
            self.metrics,
            channel=HEARTBEAT_CHANNEL,
            on_message=self._on_message,
            on_subscribed=self._on_subscribed,
        )
        self.exchange.broker = self.intake.broker
        self.catch_up = CatchUp(log_reader, snapshots, self.metrics)
        self.following = Following(self.catch_up, self.metrics, options, self._watcher.current)
        self.announcing = Announcing(
            self.metrics,
            options,
            self._watcher.current,
            organizations=self.intake.organizations,
            tell=self.exchange.tell,
        )
        self.server = Server(options, self.jobs, self.metrics, prove=self._prove, readiness=self.readiness)
        self.reception = Reception(
            pool,
            tokens,
            self.intake,
            self.jobs,
            options,
            self.metrics,
            perform=self.server.perform,
            rights_changed=self._rights_changed,
        )
        self.sweep = Sweep(
            options,
            unauthenticated=self.server.is_unauthenticated,
            too_late=self.server.too_late,
            too_slow=self.server.too_slow,
            visit=self.server.visit,
        )
        self.server.furnish(self.reception, self.following, self.announcing, self.sweep)
        self._heartbeat = Heartbeat(self.intake, options)

    def connection(self) -> Connection:
        """Make the protocol of a socket that was accepted."""
        return Connection(self.server, self.sweep, self._rules)

    async def start(self) -> None:
        """Read the catalogue; to be awaited before anything else. Raises one of READ_ERRORS."""
        await self._watcher.start()

    async def run(self) -> None:
        """Do what goes on beside the sockets, until cancelled."""
        self.sweep.start()
        self._heartbeat.start()
        assert self.intake.broker is not None
        try:
            async with self.jobs, asyncio.TaskGroup() as group:
                group.create_task(self.intake.broker.run(), name="broker")
                group.create_task(self.intake.watch(), name="intake")
                group.create_task(self.exchange.run(), name="exchange")
                group.create_task(self.catch_up.run(), name="catch-up")
                group.create_task(self._watcher.run(), name="catalogue")
                group.create_task(self._check_database(), name="database check")
                group.create_task(self._tidy(), name="tidy")
        finally:
            self._heartbeat.stop()
            self.sweep.stop()

    async def leave(self) -> None:
        """Send everybody to other gateways."""
        self.server.is_leaving = True
        await leave(self.server.seats, self._options, self.server.wait_empty)
        await self.exchange.wait_sent()

    # What the parts ask for.

    def fill_gap(self, organization: Organization) -> None:
        """Read the log after an organisation's feed."""
        self.intake.fill_gap(organization)

    def renew(self, organization: Organization) -> None:
        """Read epoch and head of an organisation again."""
        self.intake.renew(organization)

    def advance(self, subscription: Subscription) -> None:
        """Take a subscription forward."""
        self.catch_up.advance(subscription)

    def review(self, organization: Organization, user_ids: set[str]) -> None:
        """Read the rights of these people again."""
        self.reception.review(organization, user_ids)

    def _catalogue_changed(self, catalogue: Catalogue) -> None:
        self.following.catalogue_changed(catalogue, list(self.intake.organizations.values()))
        self.announcing.catalogue_changed(catalogue)

    def _rights_changed(self, seat: Seat) -> None:
        self.following.rights_changed(seat)
        self.announcing.review(seat)

    def _on_subscribed(self, channel: str) -> None:
        if not self.exchange.on_subscribed(channel):
            self.intake.on_subscribed(channel)

    def _on_message(self, channel: str, data: bytes) -> None:
        if not self.exchange.on_message(channel, data):
            self.intake.on_message(channel, data)

    def _make_organization(self, organization_id: str, epoch: str, head: int) -> Organization:
        feed = Feed(epoch, head)
        limit = self._options.tail_bytes_per_organization
        presence = self._presences[organization_id] = self._make_presence(organization_id)
        self.exchange.open(organization_id)
        return Organization(organization_id, feed, self.fan_out, presence, self, tail_bytes=limit)

    def _make_presence(self, organization_id: str) -> Presence:
        def known(keys: Sequence[Key]) -> None:
            self.announcing.known(organization_id, keys)

        def failed(keys: Sequence[Key]) -> None:
            self.announcing.failed(organization_id, keys)

        return Presence(
            organization_id,
            self.exchange.gateway_id,
            self._record_reader,
            self.jobs,
            self.metrics,
            tell=lambda bulletin: self.exchange.tell(organization_id, bulletin),
            on_known=known,
            on_failed=failed,
        )

    def _released(self, organization: Organization) -> None:
        organization.presence.close()
        del self._presences[organization.id]
        self.exchange.close(organization.id)

    async def _prove(self, credentials: Credentials) -> Claims:
        if credentials.token is not None:
            return self._tokens.verify(credentials.token)
        assert credentials.ticket is not None
        try:
            data = await self._redis.getdel(ticket_key(credentials.ticket))
        except BROKER_ERRORS as error:
            raise UnavailableError from error
        if data is None:
            raise TokenError("token_refused", "the ticket is unknown, used or older than 30 s")
        return claims_from_json(data)

    # How it is.

    def readiness(self) -> Readiness:
        """Say whether this gateway can serve, and on what it leans: not while it can read neither Redis nor the log."""
        intake = self.intake
        assert intake.broker is not None
        error = self._database_error or intake.database_error
        silence = intake.silence_seconds
        return Readiness(
            ready=not self.server.is_leaving and (error is None or not intake.is_degraded),
            dependencies={
                "database": {"ready": error is None, "error": error},
                "redis": {
                    "ready": not intake.is_degraded,
                    "error": intake.broker.error,
                    "silent_ms": None if silence == float("inf") else int(silence * 1000),
                },
            },
            details={
                "degraded": intake.is_degraded,
                "leaving": self.server.is_leaving,
                "connections": len(self.server.seats),
                "behind": {each.id: each.feed.known_head - each.feed.cursor for each in self._late()},
            },
        )

    def _late(self) -> list[Organization]:
        return [each for each in self.intake.organizations.values() if each.feed.is_behind]

    def gauges(self) -> dict[str, float]:
        """Give what there is at the moment, for the metrics."""
        organizations = list(self.intake.organizations.values())
        return {
            "connections": len(self.server.seats),
            "subscriptions": sum(len(seat.subscriptions) for seat in self.server.seats),
            "views": sum(len(list(each.hub.views)) for each in organizations),
            "organizations": len(organizations),
            "slow_sockets": self.sweep.slow_count,
            "presence_entries": sum(len(each.roster) for each in self._presences.values()),
            "tail_bytes": self.intake.tail_bytes,
            "degraded": float(self.intake.is_degraded),
            "head": sum(each.feed.cursor for each in organizations),
            "lag": sum(each.feed.known_head - each.feed.cursor for each in organizations),
        }

    async def _check_database(self) -> None:
        while True:
            try:
                async with asyncio.timeout(DATABASE_CHECK_SECONDS):
                    await self._pool.fetchval("SELECT 1")
                self._database_error = self.intake.database_error = None
            except READ_ERRORS as error:
                raise_if_cancelled()
                self._database_error = type(error).__name__
            await asyncio.sleep(DATABASE_CHECK_SECONDS)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            self.server.tidy()
