"""Takes subscriptions forward: chooses how, sends snapshots and replays, and lets them go live.

What can be done from memory is done at once. What has to be read is queued, for a few workers: a thousand clients
that come back at once share the reads that they have in common and wait for the others in turn. A subscription whose
socket has no room is left alone until it has; no read, and no transaction, waits for a slow socket.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from core.cancellation import raise_if_cancelled
from core.log import PositionTooOldError
from core.protocol import downstream
from core.protocol.codes import CloseCode
from core.protocol.position import Position, Since, why_no_replay
from core.telemetry import deliveries_counter
from gateway.frame import text_frame
from gateway.log_reader import READ_ERRORS, LogReader, changes_of
from gateway.metrics import Metrics
from gateway.organization import Organization
from gateway.seat import Seat
from gateway.snapshot import SnapshotReader
from gateway.subscription import Stage, Step, Subscription, next_step
from gateway.tail import Chunk

WORKERS = 4
CHANGES_AT_ONCE = 512
"""Changes that are replayed in one go."""
CONFLATED_AT_ONCE = 1024
"""The same for those that are told of states in place of steps: the more there are, the more come to one."""
TURNS = 8
"""Goes from memory before everybody else has a turn."""
RETRY_SECONDS = 0.5
FAILING_SECONDS = 10.0
"""Time without a successful read after which a socket is closed: another gateway may be luckier."""
KEPT_BYTES = 8 * 1024 * 1024
_REPLAY_OVERHEAD_BYTES = 500

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Replayed:
    """What a view's replay of one chunk came to: the frames, and where its writer stood behind them."""

    frames: bytes
    from_offset: int
    in_page: bool
    changes: int
    folded: int


_ReplayKey = tuple[str, str, int, bool, bool, int, int]


class CatchUp:
    """Takes the subscriptions of all organisations of a gateway forward, until they are live or cannot go on."""

    def __init__(self, log: LogReader, snapshots: SnapshotReader, metrics: Metrics) -> None:
        self._log_reader = log
        self._snapshots = snapshots
        self._metrics = metrics
        self._queue: asyncio.Queue[Subscription] = asyncio.Queue()
        self._replays: OrderedDict[_ReplayKey, _Replayed] = OrderedDict()
        self._kept_bytes = 0

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"catch-up {number}")

    # Following.

    def follow(self, subscription: Subscription, since: Since | None, *, now: bool) -> None:
        """Begin: choose a mode by the position that the client has, say it, and go on from there."""
        organization = _organization(subscription)
        feed = organization.feed
        if now:
            self._say(subscription, "live", feed.position)
            subscription.begin_now(feed.position)
        elif since is None or since.epoch != feed.epoch or since.view != subscription.view.name:
            self._begin_snapshot(subscription)
        elif organization.tail.start <= since.offset <= feed.position:
            self._begin_replay(subscription, since, feed.position)
        else:
            subscription.begin_choosing(since)
        self.advance(subscription)

    def advance(self, subscription: Subscription) -> None:
        """Do what can be done at once, and see to it that the rest is done."""
        if subscription.is_working:
            return
        seat: Seat = subscription.seat
        for _ in range(TURNS):
            if seat.is_held or seat.organization is None:
                return
            organization = seat.organization
            match next_step(subscription, organization.feed, organization.tail):
                case Step.NOTHING:
                    return
                case Step.AWAIT_FEED:
                    organization.waiting.add(subscription)
                    return
                case Step.GO_LIVE:
                    organization.go_live(subscription)
                    return
                case Step.REPLAY:
                    most = CONFLATED_AT_ONCE if subscription.conflates else CHANGES_AT_ONCE
                    self._replay(subscription, organization.tail.run(subscription.cursor, most))
                case Step.CHOOSE | Step.READ_PAGE | Step.READ_LOG:
                    break
        subscription.is_working = True
        self._queue.put_nowait(subscription)

    def _begin_snapshot(self, subscription: Subscription) -> None:
        head = _organization(subscription).feed.position
        self._metrics.snapshots += 1
        self._say(subscription, "snapshot", head)
        subscription.begin_snapshot(head)

    def _begin_replay(self, subscription: Subscription, since: Since, head: int) -> None:
        self._metrics.replays += 1
        self._say(subscription, "replay", head)
        subscription.begin_replay(since, head)
        if since.offset == head:
            # A delta that reaches `offset` was promised, and nothing will come before it.
            writer = subscription.replay_writer(_organization(subscription).feed.epoch)
            subscription.seat.send(writer.reach(head))

    def _say(self, subscription: Subscription, mode: downstream.Mode, head: int) -> None:
        view = subscription.view
        subscription.seat.send(
            downstream.subscribed(
                id=subscription.request_id,
                topic=view.topic.canonical,
                view=view.name,
                mode=mode,
                epoch=_organization(subscription).feed.epoch,
                offset=head,
            )
        )
        _organization(subscription).presence.follow(subscription, watch=subscription.with_presence)

    # Reading.

    async def _work(self) -> None:
        while True:
            subscription = await self._queue.get()
            try:
                await self._read(subscription)
                subscription.failing_since = None
            except READ_ERRORS as error:
                raise_if_cancelled()
                await self._failed(subscription, error)
            except Exception:  # noqa: BLE001 - the task's boundary: one subscription's trouble is not the others'
                _log.exception("catch_up.failed")
                subscription.seat.connection.close(CloseCode.INTERNAL_ERROR)
            finally:
                subscription.is_working = False
            self.advance(subscription)

    async def _read(self, subscription: Subscription) -> None:
        seat: Seat = subscription.seat
        organization = seat.organization
        if organization is None or seat.is_held:
            return
        match next_step(subscription, organization.feed, organization.tail):
            case Step.CHOOSE:
                await self._choose(subscription, organization)
            case Step.READ_PAGE:
                await self._send_page(subscription, organization)
            case Step.READ_LOG:
                await self._send_chunk(subscription, organization)
            case _:
                # Memory will do; this was its turn to let others go first.
                await asyncio.sleep(0)

    async def _failed(self, subscription: Subscription, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if subscription.failing_since is None:
            subscription.failing_since = now
        if subscription.stage is Stage.CHOOSING:
            self._metrics.rejected("unavailable")
            _organization(subscription).end(subscription)
            message = "the log cannot be read at the moment"
            subscription.seat.send(
                downstream.rejected(id=subscription.request_id, code="unavailable", message=message)
            )
        elif now - subscription.failing_since >= FAILING_SECONDS:
            subscription.seat.connection.close(CloseCode.GAP, "the database cannot be read at the moment")
        elif subscription.stage is not Stage.ENDED:
            _log.warning("catch_up.unread", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _choose(self, subscription: Subscription, organization: Organization) -> None:
        since = subscription.since
        assert since is not None
        head = organization.feed.position
        too_old = False
        if since.offset > head:
            # A client that comes from another gateway may know more than has come here; PostgreSQL knows all.
            epoch, head = await self._log_reader.fetch_head(organization.id)
            organization.note_head(epoch, head)
        else:
            try:
                await self._log_reader.fetch_chunk(organization.id, organization.feed.epoch, since.offset)
            except PositionTooOldError:
                too_old = True
        if subscription.stage is not Stage.CHOOSING:
            return
        position = Position(organization.feed.epoch, head)
        reason = why_no_replay(since, head=position, view=subscription.view.name)
        if too_old or reason is not None:
            self._begin_snapshot(subscription)
        else:
            self._begin_replay(subscription, since, head)

    async def _send_page(self, subscription: Subscription, organization: Organization) -> None:
        progress = subscription.progress
        assert progress is not None
        view, feed = subscription.view, organization.feed
        collection = progress.collections[0]
        page = await self._snapshots.fetch_page(
            view,
            collection,
            organization.id,
            feed.epoch,
            after=progress.after,
            at=subscription.target,
            now=feed.position,
        )
        if subscription.progress is not progress or subscription.seat.is_suspended:
            return
        progress.after = page.after
        if page.after is None:
            progress.collections.pop(0)
        is_last = not progress.collections
        if page.records or is_last:
            message = downstream.snapshot(
                topic=view.topic.canonical,
                collection=collection if view.topic.collection is None else None,
                records=page.records,
                last=is_last,
                epoch=feed.epoch,
                offset=subscription.target,
            )
            subscription.seat.send(message)
        if is_last:
            subscription.end_snapshot()

    async def _send_chunk(self, subscription: Subscription, organization: Organization) -> None:
        cursor, epoch = subscription.cursor, organization.feed.epoch
        try:
            chunk = await self._log_reader.fetch_chunk(organization.id, epoch, cursor)
        except PositionTooOldError:
            organization.drop(subscription, reason="epoch")
            return
        is_as_before = subscription.stage is Stage.BEHIND and subscription.cursor == cursor
        if (
            is_as_before
            and organization.feed.epoch == epoch
            and not subscription.seat.is_held
            and chunk is not None
        ):
            self._replay(subscription, [chunk])

    # Replaying.

    def _replay(self, subscription: Subscription, chunks: list[Chunk]) -> None:
        """Send what the view shows of chunks after the subscription's cursor, up to the feed's at most."""
        organization = _organization(subscription)
        end = min(chunks[-1].last, organization.feed.cursor)
        replayed = self._replayed(subscription, organization, chunks, end)
        if replayed.frames:
            subscription.seat.send_frames(replayed.frames)
            deliveries_counter.inc(replayed.changes)
            self._metrics.folded += replayed.folded
        subscription.replayed(end, from_offset=replayed.from_offset, in_page=replayed.in_page)

    def _replayed(
        self, subscription: Subscription, organization: Organization, chunks: list[Chunk], end: int
    ) -> _Replayed:
        """Write a replay, or give the one that was written for somebody else who stood at the same place."""
        key = (
            f"{organization.id} {organization.feed.epoch}",
            subscription.view.name,
            subscription.from_offset,
            subscription.in_page,
            subscription.conflates,
            subscription.cursor,
            end,
        )
        kept = self._replays.get(key)
        if kept is not None:
            self._replays.move_to_end(key)
            return kept
        writer = subscription.replay_writer(organization.feed.epoch)
        cursor = subscription.cursor
        changes = [
            change for chunk in chunks for change in changes_of(chunk) if cursor < change.offset <= end
        ]
        messages = writer.write_latest(changes) if subscription.conflates else writer.write(changes)
        frames = b"".join([text_frame(message) for message in messages])
        replayed = _Replayed(frames, writer.from_offset, writer.in_page, writer.written, writer.folded)
        self._replays[key] = replayed
        self._kept_bytes += len(frames) + _REPLAY_OVERHEAD_BYTES
        while self._kept_bytes > KEPT_BYTES and len(self._replays) > 1:
            _, oldest = self._replays.popitem(last=False)
            self._kept_bytes -= len(oldest.frames) + _REPLAY_OVERHEAD_BYTES
        return replayed


def _organization(subscription: Subscription) -> Organization:
    organization: Organization = subscription.seat.organization
    return organization
