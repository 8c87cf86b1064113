"""What a relay does while it leads: what is committed goes to Redis, in order, and what is out is remembered.

One turn: wait for a hint, or `POLL_SECONDS`; see which commits have appeared; read some of their changes; publish them,
and the heartbeat when it is time; note how far that brings each organisation. A turn is short, whatever there
is to do, so a large transaction or a busy organisation delays the others by a turn and no more.

Errors of the database end the turn: the relay compares all heads with what it has published and goes on from there.
Errors of Redis keep it: the same publications are sent until Redis takes them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from core.cancellation import raise_if_cancelled
from core.protocol.publication import (
    HEARTBEAT_SECONDS,
    Heartbeat,
    channel_of_heartbeat,
    channel_of_organization,
    encode_heartbeat,
)
from gateway.relay import metrics
from gateway.relay.backlog import ACTIVE_SECONDS, Backlog, Commit
from gateway.relay.bundle import Bundler, Sender
from gateway.relay.held import DATABASE_ERRORS
from gateway.relay.leadership import Leadership
from gateway.relay.outbox import CHANGES_WITH_NEWS, Outbox, Reading, Snapshot, Standing, speaks_of_data
from gateway.relay.positions import Positions
from gateway.relay.publisher import PUBLISH_ERRORS, Message, Publisher, pipelines
from gateway.relay.rounds import Round, Rounds, now_ms
from gateway.relay.wake import Cause, Wake

POLL_SECONDS = 0.2
"""The longest that the relay waits before it looks for itself; with the turn before it, below a quarter of a second."""
SWEEP_SECONDS = 30.0
RETRY_SECONDS = 0.05
RETRY_AT_MOST_SECONDS = 0.5


log = structlog.get_logger()


class EpochChangedError(Exception):
    """The log has begun another life."""


@dataclass(slots=True)
class State:
    """What outlives a leadership: what was published of which epoch, and what is wrong at the moment."""

    backlog: Backlog = field(default_factory=Backlog)
    epoch: str = ""
    database_error: str | None = None
    redis_error: str | None = None


class Leading:
    """One leadership, under `term`. `run` ends with LeadershipLostError, or when it is cancelled."""

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        leadership: Leadership,
        wake: Wake,
        positions: Positions,
        state: State,
        clock: Callable[[], float],
        term: int,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._leadership = leadership
        self._wake = wake
        self._positions = positions
        self._state = state
        self._clock = clock
        self._term = term
        self._shard = leadership.shard
        self._snapshot = Snapshot(0, ())
        self._rounds = Rounds(outbox, state.backlog, Bundler(Sender(self._shard, term, "")))
        self._round = Round()
        self._unremembered: dict[str, int] = {}
        self._database_ahead = timedelta()
        self._heartbeat_at = self._sweep_at = self._redis_at = 0.0
        self._redis_pause = RETRY_SECONDS

    async def run(self) -> None:
        """Take turns until the leadership ends. Errors of the database and of Redis are waited out."""
        metrics.elections.inc()
        metrics.leading.labels(self._shard).set(1)
        metrics.term.labels(self._shard).set(self._term)
        pause = RETRY_SECONDS
        self._wake.wake("elected")
        while True:
            try:
                await self._begin()
                pause = RETRY_SECONDS
                while True:
                    await self._turn()
            except EpochChangedError as error:
                log.warning("epoch_changed", epoch=str(error))
            except DATABASE_ERRORS as error:
                raise_if_cancelled()
                metrics.database_errors.inc()
                if self._state.database_error is None:
                    log.warning("log_not_read", shard=self._shard, error=repr(error))
                self._state.database_error = repr(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_AT_MOST_SECONDS)

    # Where everybody stands ------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Compare every head with what was published, and go on from there."""
        reading, standings = await self._fetch_standing()
        if reason := await self._set_back(reading.epoch, standings):
            log.error("log_set_back", shard=self._shard, reason=reason)
            await self._outbox.renew_epoch(reason)
            reading, standings = await self._fetch_standing()
        now = self._clock()
        backlog = Backlog()
        self._positions.begin(reading.epoch)
        for standing in standings:
            age = (reading.at - standing.head_at).total_seconds() if standing.head_at else ACTIVE_SECONDS
            published = min(self._published(standing, reading.epoch), standing.head)
            backlog.stand(
                standing.organization_id,
                published=published,
                head=standing.head,
                now=now,
                moved_at=now - age,
            )
            if published > standing.published:
                self._positions.moved(standing.organization_id, published)
        self._state.backlog, self._state.epoch, self._state.database_error = backlog, reading.epoch, None
        self._snapshot = reading.snapshot
        bundler = Bundler(Sender(self._shard, self._term, reading.epoch))
        self._rounds = Rounds(self._outbox, backlog, bundler)
        self._round, self._unremembered = Round(), {}
        self._sweep_at = now + SWEEP_SECONDS
        log.info("relaying", shard=self._shard, term=self._term, epoch=reading.epoch, behind=backlog.lag())

    async def _set_back(self, epoch: str, standings: list[Standing]) -> str | None:
        """Why the log must be a copy from before: something was published in this epoch that it does not have."""
        try:
            remembered = await self._publisher.recall(self._shard, epoch)
        except PUBLISH_ERRORS as error:
            raise_if_cancelled()
            self._state.redis_error = repr(error)
            remembered = {}
        for standing in standings:
            offset = max(self._published(standing, epoch), remembered.get(str(standing.organization_id), 0))
            if offset > standing.head:
                return (
                    f"organisation {standing.organization_id} was published up to offset {offset}, and its log ends "
                    f"at {standing.head}"
                )
        return None

    def _published(self, standing: Standing, epoch: str) -> int:
        """What is out of an organisation in this epoch; of another one, what need not be published in this one."""
        same = standing.published_epoch == epoch
        kept = standing.published if same else min(standing.published, standing.head)
        if self._state.epoch == epoch:
            # This relay may have published more than it has kept.
            return max(kept, self._state.backlog.of(standing.organization_id).published)
        return kept

    async def _fetch_standing(self) -> tuple[Reading, list[Standing]]:
        before = datetime.now(UTC)
        reading, standings = await self._outbox.fetch_standing()
        self._compare_clocks(before, reading)
        return reading, standings

    def _compare_clocks(self, before: datetime, reading: Reading) -> None:
        # Commits carry the database's time; the middle of the round trip is when it was read, more or less.
        self._database_ahead = reading.at - (before + (datetime.now(UTC) - before) / 2)

    # A turn ----------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        cause = await self._wait()
        metrics.wakes.labels(cause).inc()
        await self._look()
        if self._clock() >= self._sweep_at:
            await self._sweep()
        if not self._round:
            self._round = await self._rounds.make(self._clock())
        await self._send()

    async def _wait(self) -> Cause:
        now = self._clock()
        until = min(now + POLL_SECONDS, max(self._heartbeat_at, self._redis_at))
        until = min(until, self._redis_at if self._round else self._state.backlog.due_at())
        return await self._wake.wait(until - now) if until > now else self._wake.take()

    async def _look(self) -> None:
        """Take in the commits that have appeared since the last look."""
        before = datetime.now(UTC)
        reading, commits = await self._fetch_news()
        if reading.epoch != self._state.epoch:
            raise EpochChangedError(reading.epoch)
        self._compare_clocks(before, reading)
        gaps = self._state.backlog.note(commits, self._clock())
        self._snapshot = reading.snapshot
        if gaps:
            metrics.missed.labels("gap").inc(gaps)
            log.error("commits_missed", shard=self._shard, organizations=gaps, found_by="gap")

    async def _fetch_news(self) -> tuple[Reading, list[Commit]]:
        # Where something waits the changes would be kept longer than a moment.
        if not self._round and self._state.backlog.is_empty:
            try:
                return await self._outbox.fetch_news(self._snapshot, CHANGES_WITH_NEWS)
            except asyncpg.PostgresError as error:
                # A change that cannot be read is found by reading it alone; the news must not fail for it.
                if not speaks_of_data(error):
                    raise
        return await self._outbox.fetch_news(self._snapshot)

    async def _sweep(self) -> None:
        """Compare all heads with what is known: nothing that the last look could see may be news."""
        self._sweep_at = self._clock() + SWEEP_SECONDS
        metrics.wakes.labels("sweep").inc()
        reading, standings = await self._fetch_standing()
        if reading.epoch != self._state.epoch:
            raise EpochChangedError(reading.epoch)
        for standing in standings:
            known = self._state.backlog.of(standing.organization_id).head
            if standing.head > known and self._snapshot.could_see(standing.head_transaction):
                metrics.missed.labels("sweep").inc()
                log.error("commits_missed", shard=self._shard, organization=str(standing.organization_id))
                self._state.backlog.behind(standing.organization_id, standing.head, self._clock())

    # Publishing ------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Publish the round and the heartbeat; a round that Redis does not take is sent again in a later turn."""
        now = self._clock()
        if now < self._redis_at:
            return
        messages: list[Message] = [
            (channel_of_organization(str(outgoing.organization_id)), outgoing.body)
            for outgoing in self._round.outgoing[self._round.sent :]
        ]
        heartbeat = now >= self._heartbeat_at
        if heartbeat:
            messages.append((channel_of_heartbeat(self._shard), self._heartbeat()))
        try:
            for lot in pipelines(messages):
                self._leadership.check(self._term)
                await self._publisher.publish(lot)
                self._round.sent += len(lot)
        except PUBLISH_ERRORS as error:
            self._redis_failed(error)
            return
        if self._state.redis_error is not None:
            log.info("publishing_again", shard=self._shard, behind=self._state.backlog.lag())
        self._state.redis_error = None
        self._redis_pause = RETRY_SECONDS
        self._sent()
        if heartbeat:
            self._heartbeat_at = max(self._heartbeat_at + HEARTBEAT_SECONDS, now + HEARTBEAT_SECONDS / 2)
            self._show_lag()
            await self._remember()

    async def _remember(self) -> None:
        # A Redis that takes publications but stores nothing (full, or a replica) must not hold them up.
        if not self._unremembered:
            return
        remembering, self._unremembered = self._unremembered, {}
        try:
            await self._publisher.remember(self._shard, self._state.epoch, remembering)
        except PUBLISH_ERRORS as error:
            raise_if_cancelled()
            self._unremembered = remembering | self._unremembered
            log.warning("published_offsets_not_remembered", shard=self._shard, error=repr(error))

    def _redis_failed(self, error: BaseException) -> None:
        raise_if_cancelled()
        metrics.publish_errors.inc()
        if self._state.redis_error is None:
            log.warning(
                "not_published", shard=self._shard, error=repr(error), waiting=len(self._round.outgoing)
            )
        self._state.redis_error = repr(error)
        self._redis_at = self._clock() + self._redis_pause
        self._redis_pause = min(self._redis_pause * 2, RETRY_AT_MOST_SECONDS)
        # What arrived of the lot that failed is unknown; readers drop what they have.
        self._show_lag()

    def _sent(self) -> None:
        """The round is out: note how far each organisation is, and how long the way was."""
        sent, self._round = self._round, Round()
        now = datetime.now(UTC) + self._database_ahead
        for organization_id, (published, read) in sent.moved.items():
            before = self._state.backlog.of(organization_id).published
            self._state.backlog.advance(organization_id, published, read)
            if published > before:
                self._positions.moved(organization_id, published)
                self._unremembered[str(organization_id)] = published
        sent_bytes: Counter[UUID] = Counter()
        for outgoing in sent.outgoing:
            sent_bytes[outgoing.organization_id] += len(outgoing.body)
            metrics.changes.inc(outgoing.changes)
            for committed in outgoing.committed:
                metrics.published_hop.observe(max(0.0, (now - committed).total_seconds()))
        for organization_id, size_bytes in sent_bytes.items():
            self._state.backlog.pace(organization_id, size_bytes, self._clock())
        metrics.publications.inc(len(sent.outgoing))

    def _heartbeat(self) -> bytes:
        heads = self._state.backlog.active_heads(self._clock())
        return encode_heartbeat(
            Heartbeat(
                shard=self._shard, term=self._term, epoch=self._state.epoch, at_ms=now_ms(), heads=heads
            )
        )

    def _show_lag(self) -> None:
        backlog = self._state.backlog
        oldest = backlog.oldest()
        age = (datetime.now(UTC) + self._database_ahead - oldest).total_seconds() if oldest else 0.0
        metrics.lag_seconds.labels(self._shard).set(max(0.0, age))
        metrics.lag_gauge.labels(self._shard).set(backlog.lag())
        metrics.head_gauge.labels(self._shard).set(backlog.head())
