"""The relay's small parts: wake-ups, lots for Redis, positions, the snapshot, what it says of itself."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from core.transport import closed_transports_are_errors
from gateway.relay import positions as positions_module
from gateway.relay.leadership import LeadershipLostError
from gateway.relay.outbox import Snapshot
from gateway.relay.positions import Positions
from gateway.relay.publisher import PIPELINE_BYTES, pipelines
from gateway.relay.wake import Wake
from tests.unit.relay.commits import organization


async def test_wake_ups_that_come_while_the_relay_works_are_one() -> None:
    wake = Wake()
    wake.wake("notify")
    wake.wake("listen")
    assert await wake.wait(10.0) == "notify"
    assert await wake.wait(0.0) == "poll"


async def test_without_a_wake_up_the_relay_looks_for_itself() -> None:
    assert await Wake().wait(0.001) == "poll"
    assert Wake().take() == "work"


async def test_a_wake_up_ends_the_wait() -> None:
    wake = Wake()
    waiting = asyncio.ensure_future(wake.wait(60.0))
    asyncio.get_running_loop().call_soon(wake.wake, "notify")
    assert await waiting == "notify"


def test_lots_keep_the_order_and_are_small() -> None:
    messages = [(str(number), b"x" * (PIPELINE_BYTES // 3)) for number in range(10)]
    lots = pipelines(messages)
    assert [message for lot in lots for message in lot] == messages
    assert all(len(lot) <= 4 for lot in lots)
    assert pipelines([]) == []


def test_a_snapshot_sees_what_ended_before_it() -> None:
    snapshot = Snapshot(upper=100, in_progress=(7, 42))
    assert snapshot.could_see(99)
    assert not snapshot.could_see(100)
    assert not snapshot.could_see(42)


class Kept:
    """Takes positions as the database does."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, dict[UUID, int]]] = []
        self.errors: list[Exception] = []
        self.leads = True
        self.kept = asyncio.Event()
        self.during: list[tuple[Positions, UUID, int]] = []

    async def move_positions(self, positions: Sequence[tuple[UUID, int]], *, term: int, epoch: str) -> bool:
        for target, organization_id, offset in self.during:
            target.moved(organization_id, offset)
        self.during = []
        if self.errors:
            raise self.errors.pop(0)
        self.writes.append((epoch, dict(positions)))
        self.kept.set()
        return self.leads


def positions_of(kept: Kept) -> Positions:
    positions = Positions(kept, term=1)
    positions.begin("e")
    return positions


async def test_positions_of_many_publications_are_kept_with_one_statement() -> None:
    kept = Kept()
    positions = positions_of(kept)
    for offset in (1, 2, 3):
        positions.moved(organization(1), offset)
    positions.moved(organization(2), 9)
    await positions.flush()
    await positions.flush()
    assert kept.writes == [("e", {organization(1): 3, organization(2): 9})]


async def test_what_moves_while_positions_are_being_kept_is_kept_next() -> None:
    kept = Kept()
    positions = positions_of(kept)
    positions.moved(organization(1), 1)
    kept.during = [(positions, organization(1), 2)]
    await positions.flush()
    await positions.flush()
    assert kept.writes == [("e", {organization(1): 1}), ("e", {organization(1): 2})]


async def test_positions_that_could_not_be_kept_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions_module, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(positions_module, "PAUSE_SECONDS", 0.001)
    kept = Kept()
    kept.errors = [OSError("away"), TimeoutError()]
    positions = positions_of(kept)
    positions.moved(organization(1), 5)
    running = asyncio.ensure_future(positions.run())
    async with asyncio.timeout(5):
        await kept.kept.wait()
    running.cancel()
    assert kept.writes == [("e", {organization(1): 5})]


async def test_a_cancellation_that_a_driver_loses_still_ends_the_work() -> None:
    """redis-py and others close their connection when they are cancelled, and may raise a time-out from that."""

    class Deaf(Kept):
        async def move_positions(
            self, positions: Sequence[tuple[UUID, int]], *, term: int, epoch: str
        ) -> bool:
            self.kept.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise TimeoutError("timed out closing the connection") from None
            return True

    deaf = Deaf()
    positions = positions_of(deaf)
    positions.moved(organization(1), 5)
    running = asyncio.ensure_future(positions.run())
    await deaf.kept.wait()
    running.cancel()
    done, _ = await asyncio.wait((running,), timeout=5)
    assert done
    assert running.cancelled()


def test_a_closed_transport_is_an_error_of_the_connection() -> None:
    with pytest.raises(ConnectionResetError), closed_transports_are_errors():
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    with pytest.raises(RuntimeError, match="a defect"), closed_transports_are_errors():
        raise RuntimeError("a defect")


async def test_a_relay_whose_lease_was_taken_learns_it_from_its_positions() -> None:
    kept = Kept()
    kept.leads = False
    positions = positions_of(kept)
    positions.moved(organization(1), 5)
    with pytest.raises(LeadershipLostError):
        await positions.flush()


async def test_positions_of_another_epoch_are_forgotten() -> None:
    kept = Kept()
    positions = positions_of(kept)
    positions.moved(organization(1), 5)
    positions.begin("another")
    await positions.flush()
    assert kept.writes == []
