"""A leader leads until its own deadline and not a moment longer; another one takes over under a greater term."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest

from gateway.relay import leadership as module
from gateway.relay.leadership import LEASE_SECONDS, MARGIN_SECONDS, Leadership, LeadershipLostError, LeaseRow

SHARD = 0


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """The lease, kept as the database keeps it, by a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.row: tuple[UUID, int, float] | None = None
        self.broken: Exception | None = None
        self.asked = asyncio.Event()
        self.taking_seconds = 0.0

    async def take(self, shard: int, holder: UUID, seconds: float) -> LeaseRow:
        self.asked.set()
        if self.broken is not None:
            raise self.broken
        if self.row is None:
            self.row = (holder, 1, self.clock() + seconds)
        owner, term, expires_at = self.row
        if owner == holder or expires_at <= self.clock():
            self.row = (holder, term if owner == holder else term + 1, self.clock() + seconds)
        owner, term, expires_at = self.row
        self.clock.now += self.taking_seconds
        return LeaseRow(owner, term, expires_at - self.clock())

    async def release(self, shard: int, holder: UUID) -> None:
        if self.broken is not None:
            raise self.broken
        if self.row is not None and self.row[0] == holder:
            self.row = (holder, self.row[1], self.clock())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW_SECONDS", "RETRY_SECONDS", "STANDBY_SECONDS"):
        monkeypatch.setattr(module, name, 0.001)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)


@contextmanager
def standing(leadership: Leadership) -> Iterator[None]:
    """`leadership.run`, for the duration."""
    task = asyncio.ensure_future(leadership.run())
    try:
        yield
    finally:
        task.cancel()


async def asked_again(store: Store, times: int = 2) -> None:
    """Wait until the store has been asked anew, so that what was changed has been seen."""
    for _ in range(times):
        store.asked.clear()
        async with asyncio.timeout(5):
            await store.asked.wait()


async def elected(leadership: Leadership) -> int:
    async with asyncio.timeout(5):
        return await leadership.wait_elected()


async def lost(leadership: Leadership, term: int) -> None:
    async with asyncio.timeout(5):
        await leadership.wait_lost(term)


async def test_the_first_one_is_elected_and_the_second_stands_by(store: Store, clock: Clock) -> None:
    first, second = (Leadership(store, shard=SHARD, holder=uuid4(), clock=clock) for _ in range(2))
    with standing(first):
        term = await elected(first)
        with standing(second):
            await asked_again(store, 5)
            assert second.term is None
            assert second.seen is not None
            assert second.seen.holder == first.holder
        first.check(term)


async def test_a_leader_that_renews_keeps_its_term(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        term = await elected(leadership)
        for _ in range(5):
            clock.now += LEASE_SECONDS / 2
            await asked_again(store)
            assert leadership.term == term
    assert leadership.elections == 1


async def test_a_leader_that_cannot_renew_stops_at_its_deadline(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        term = await elected(leadership)
        store.broken = OSError("no way to the database")
        await asked_again(store)
        clock.now += LEASE_SECONDS - MARGIN_SECONDS - 0.01
        leadership.check(term)
        clock.now += 0.02
        with pytest.raises(LeadershipLostError):
            leadership.check(term)
        await lost(leadership, term)


async def test_a_leader_stops_before_its_lease_can_be_taken(store: Store, clock: Clock) -> None:
    """However long the statement took: the deadline counts from before it was sent."""
    store.taking_seconds = 1.5
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        await elected(leadership)
    assert store.row is not None
    store.broken = OSError()
    clock.now = store.row[2]
    assert leadership.term is None


async def test_another_one_takes_over_under_a_greater_term(store: Store, clock: Clock) -> None:
    first, second = (Leadership(store, shard=SHARD, holder=uuid4(), clock=clock) for _ in range(2))
    with standing(first):
        old = await elected(first)
    clock.now += LEASE_SECONDS
    with standing(second):
        assert await elected(second) > old
        with standing(first):
            await asked_again(store)
            with pytest.raises(LeadershipLostError):
                first.check(old)
            assert first.term is None


async def test_a_lease_that_another_one_has_taken_is_noticed_at_once(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        term = await elected(leadership)
        store.row = (uuid4(), term + 1, clock() + LEASE_SECONDS)
        await lost(leadership, term)
        assert leadership.term is None


async def test_a_leader_that_is_doubted_stops_and_asks_at_once(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 60.0)
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        term = await elected(leadership)
        other = uuid4()
        store.row = (other, term + 1, clock() + LEASE_SECONDS)
        store.asked.clear()
        leadership.doubt(term - 1)
        leadership.check(term)
        leadership.doubt(term)
        assert leadership.term is None
        async with asyncio.timeout(5):
            await store.asked.wait()
        assert leadership.term is None


async def test_a_leader_that_slept_goes_on_if_nobody_took_its_lease(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        term = await elected(leadership)
        store.broken = OSError()
        await asked_again(store)
        clock.now += 10 * LEASE_SECONDS
        await lost(leadership, term)
        store.broken = None
        assert await elected(leadership) == term


async def test_a_released_lease_is_free_at_once(store: Store, clock: Clock) -> None:
    first, second = (Leadership(store, shard=SHARD, holder=uuid4(), clock=clock) for _ in range(2))
    with standing(first):
        term = await elected(first)
    await first.release()
    assert first.term is None
    with standing(second):
        assert await elected(second) > term


async def test_a_lease_that_cannot_be_released_runs_out(store: Store, clock: Clock) -> None:
    leadership = Leadership(store, shard=SHARD, holder=uuid4(), clock=clock)
    with standing(leadership):
        await elected(leadership)
    store.broken = TimeoutError()
    await leadership.release()
    assert leadership.term is None
