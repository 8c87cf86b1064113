"""Presence and signals between gateways, through Redis: one channel an organisation, and nothing is stored.

Each gateway tells its changes at once and all of its own entries every `REFRESH_SECONDS`; what is not told for
`EXPIRE_SECONDS` is gone. So a bulletin that is lost is made good by a refresh, and a gateway that was killed by its
silence. A gateway that begins to listen, or begins again, asks the others, and they answer with all that they have.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping

import structlog
from redis.asyncio import Redis

from core.cancellation import raise_if_cancelled
from gateway.broker import BROKER_ERRORS, Broker
from gateway.bulletin import (
    Ask,
    Bulletin,
    BulletinError,
    PassOn,
    Tell,
    channel_of_presence,
    decode_bulletin,
    encode_bulletin,
    organization_of_channel,
)
from gateway.jobs import Jobs
from gateway.metrics import Metrics
from gateway.presence import Presence

REFRESH_SECONDS = 3.0
EXPIRE_SECONDS = 7.0
LOOK_SECONDS = 0.5
QUEUE_BULLETINS = 5_000
BULLETINS_AT_ONCE = 200

_log = structlog.get_logger()

_Outgoing = tuple[str, bytes, bool]
"""Organisation, bulletin, and whether it asks."""


class Exchange:
    """Brings the presence of all organisations of this gateway to the others', and theirs to it.

    `presences` are those of the organisations that have sockets here. `on_signal(organization_id, signal)` is called
    for each signal of another gateway. `on_message` and `on_subscribed` are the broker's to call, `run` is to run.
    """

    def __init__(
        self,
        redis: Redis,
        jobs: Jobs,
        metrics: Metrics,
        *,
        presences: Mapping[str, Presence],
        on_signal: Callable[[str, PassOn], None],
    ) -> None:
        self.gateway_id = str(uuid.uuid4())
        self.broker: Broker | None = None
        self._redis = redis
        self._jobs = jobs
        self._metrics = metrics
        self._presences = presences
        self._on_signal = on_signal
        self._queue: asyncio.Queue[_Outgoing] = asyncio.Queue(QUEUE_BULLETINS)
        self._unanswered: dict[str, int] = {}
        """How many gateways have answered a question, below 0, or are yet to."""

    def open(self, organization_id: str) -> None:
        """Begin to listen to an organisation's others; once that is so they are asked."""
        assert self.broker is not None
        self._jobs.start(self.broker.subscribe(channel_of_presence(organization_id)), "subscribe presence")

    def close(self, organization_id: str) -> None:
        """Listen to an organisation's others no longer."""
        assert self.broker is not None
        self._unanswered.pop(organization_id, None)
        self._jobs.start(
            self.broker.unsubscribe(channel_of_presence(organization_id)), "unsubscribe presence"
        )

    def tell(self, organization_id: str, bulletin: Bulletin) -> None:
        """Send a bulletin as soon as can be. One that Redis does not take is lost."""
        data = encode_bulletin(self.gateway_id, organization_id, bulletin)
        try:
            self._queue.put_nowait((organization_id, data, isinstance(bulletin, Ask)))
        except asyncio.QueueFull:
            self._metrics.bulletins_lost += 1

    # From Redis.

    def on_subscribed(self, channel: str) -> bool:
        """Take an acknowledgement, if it is of a presence channel: what was told before it is missing."""
        organization_id = organization_of_channel(channel)
        if organization_id is None:
            return False
        presence = self._presences.get(organization_id)
        if presence is not None:
            self._unanswered[organization_id] = 0
            presence.ask()
        return True

    def on_message(self, channel: str, data: bytes) -> bool:
        """Take a bulletin, if it came on a presence channel."""
        organization_id = organization_of_channel(channel)
        if organization_id is None:
            return False
        try:
            gateway_id, bulletin = decode_bulletin(data, organization_id)
        except BulletinError as error:
            _log.error("bulletin.unreadable", channel=channel, error=str(error))
            return True
        if gateway_id != self.gateway_id:
            self._take(organization_id, gateway_id, bulletin)
        return True

    def _take(self, organization_id: str, gateway_id: str, bulletin: Bulletin) -> None:
        presence = self._presences.get(organization_id)
        match bulletin:
            case Ask():
                # Who has nothing says so, because it is waited for.
                parts = [Tell(answer=gateway_id)] if presence is None else presence.state(gateway_id)
                for part in parts:
                    self.tell(organization_id, part)
            case Tell(put, drop, answer):
                if presence is None:
                    return
                for entry in put:
                    presence.put(entry)
                for connection_id, topic in drop:
                    presence.drop(gateway_id, connection_id, topic)
                if answer == self.gateway_id:
                    self._count_answer(organization_id, presence, -1)
            case PassOn():
                self._on_signal(organization_id, bulletin)

    def _count_answer(self, organization_id: str, presence: Presence, change: int) -> None:
        left = self._unanswered.get(organization_id)
        if left is None:
            return
        left += change
        self._unanswered[organization_id] = left
        # The number of those who were asked may come after their answers.
        if left == 0:
            presence.settle()
            del self._unanswered[organization_id]

    # To Redis.

    async def run(self) -> None:
        """Send, refresh and forget until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(), name="presence sender")
            group.create_task(self._keep_fresh(), name="presence refresh")

    async def wait_sent(self) -> None:
        """Wait until everything that was told has been sent or is lost."""
        await self._queue.join()

    async def _keep_fresh(self) -> None:
        loop = asyncio.get_running_loop()
        refresh_at = loop.time() + REFRESH_SECONDS
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            is_due = loop.time() >= refresh_at
            if is_due:
                refresh_at = loop.time() + REFRESH_SECONDS
            for organization_id, presence in list(self._presences.items()):
                presence.expire(EXPIRE_SECONDS)
                if is_due:
                    for part in presence.state():
                        if part.put:
                            self.tell(organization_id, part)

    async def _send(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BULLETINS_AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._publish(batch)
                raise_if_cancelled()
            except BROKER_ERRORS as error:
                raise_if_cancelled()
                _log.warning("presence.unsent", error=type(error).__name__, bulletins=len(batch))
                self._metrics.bulletins_lost += len(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _publish(self, batch: list[_Outgoing]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for organization_id, data, _ in batch:
            pipeline.publish(channel_of_presence(organization_id), data)
        heard_by = await pipeline.execute()
        for (organization_id, _, asks), count in zip(batch, heard_by, strict=True):
            presence = self._presences.get(organization_id)
            if asks and presence is not None:
                # All but this gateway itself.
                self._count_answer(organization_id, presence, count - 1)
