"""Snapshots and changes by HTTP: for who joins a topic late, and for all where sockets do not get through."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from branchline_client.api import Api
from branchline_client.backoff import RetryPolicy
from branchline_client.errors import ApiError, NeedsAuthError, UnreachableError
from branchline_client.feed import Ended, Phase, TaggedRecord
from branchline_client.position import Position
from branchline_client.subscriptions import Entry, Subscriptions, TopicSpec
from branchline_client.tasks import Tasks

_GONE = 410
_log = logging.getLogger("branchline_client")


class HttpFeed:
    """Fetches by HTTP. Its tasks live in `tasks`."""

    def __init__(
        self,
        api: Api,
        policy: RetryPolicy,
        tasks: Tasks,
        *,
        poll_seconds: float,
        who: Callable[[], tuple[str, int]],
    ) -> None:
        """`who` gives the client's id and its time."""
        self._api = api
        self._who = who
        self._policy = policy
        self._owned = tasks
        self._poll_seconds = poll_seconds
        self._kick = asyncio.Event()

    def kick(self) -> None:
        """Do not wait any longer: something has changed."""
        self._kick.set()

    def fetch(self, spec: TopicSpec, at: Position, done: Callable[[Sequence[TaggedRecord]], None]) -> None:
        """Fetch a topic's records, none older than `at`, and give them to `done`; tries until it has them."""
        self._owned.start(self._fetch_until_done(spec, at, done), name="branchline snapshot")

    async def poll(self, subscriptions: Subscriptions) -> None:
        """Bring every topic forward again and again. Raises NeedsAuthError, and ApiError for what does not pass."""
        failures = 0
        while True:
            self._kick.clear()
            try:
                for entry in subscriptions.entries:
                    await self._bring_forward(subscriptions, entry)
                failures = 0
            except UnreachableError as error:
                failures += 1
                _log.info("polling: %s", error)
            delay_ms = (
                self._policy.delay_ms(failures, random.random()) if failures else self._poll_seconds * 1000
            )
            await self._pause(delay_ms / 1000)

    async def _fetch_until_done(
        self, spec: TopicSpec, at: Position, done: Callable[[Sequence[TaggedRecord]], None]
    ) -> None:
        attempt = 0
        while True:
            try:
                records = await self._records(spec, at)
            except (UnreachableError, NeedsAuthError, ApiError) as error:
                _log.info("the snapshot of %s is fetched again: %s", spec.topic, error)
            else:
                if records is not None:
                    done(records)
                    return
            attempt += 1
            self._kick.clear()
            await self._pause(self._policy.delay_ms(attempt, random.random()) / 1000)

    async def _records(self, spec: TopicSpec, at: Position) -> list[TaggedRecord] | None:
        """The records, or None if some may be older than `at`: a replica answered."""
        if spec.record_id is not None:
            record = await self._api.fetch_record(spec.collection, spec.record_id)
            return [] if record is None else [(spec.collection, record)]
        records: list[TaggedRecord] = []
        async for items, epoch, offset in self._api.pages(spec.collection, spec.conditions):
            if epoch == at.epoch and offset < at.offset:
                return None
            records.extend((spec.collection, record) for record in items)
        return records

    async def _bring_forward(self, subscriptions: Subscriptions, entry: Entry) -> None:
        feed = entry.feed
        if feed.phase is Phase.ENDED:
            return
        try:
            has_more = True
            while has_more:
                if feed.position is None:
                    await self._begin(subscriptions, entry)
                assert feed.position is not None
                pull = await self._api.pull(entry.spec.topic, feed.position)
                subscriptions.take(entry, feed.pulled(pull.delta))
                has_more = pull.has_more
        except ApiError as error:
            if error.status == _GONE:
                feed.forget()
                self.kick()
            elif error.status in (403, 404, 422):
                feed.phase = Phase.ENDED
                subscriptions.take(entry, [Ended(error.code, error.detail)])
            elif error.status >= 500 or error.status == 429:
                raise UnreachableError(str(error)) from error
            else:
                raise

    async def _begin(self, subscriptions: Subscriptions, entry: Entry) -> None:
        """Begin where the head is: the records, if they are wanted, are read after it, so none is missed (I4)."""
        feed = entry.feed
        epoch, offset = await self._api.fetch_head(*self._who())
        position = Position(epoch, offset, "")
        records = None if feed.first == "now" else await self._records(entry.spec, position)
        if records is None and feed.first != "now":
            raise UnreachableError("the API's records are older than its log")
        pull = await self._api.pull(entry.spec.topic, position)
        subscriptions.take(entry, feed.fetched(records, Position(epoch, offset, pull.view)))
        subscriptions.take(entry, feed.pulled(pull.delta))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._kick.wait()
        except TimeoutError:
            pass
