"""A read that many ask for is made once."""

import asyncio

import pytest

from gateway.flight import Flights


async def test_all_who_ask_meanwhile_get_the_same_answer() -> None:
    flights: Flights[str, int] = Flights()
    reads = 0
    go = asyncio.Event()

    async def read() -> int:
        nonlocal reads
        reads += 1
        await go.wait()
        return reads

    asking = [asyncio.create_task(flights.join("k", read)) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*asking) == [1] * 5
    assert await flights.join("k", read) == 2


async def test_all_who_ask_meanwhile_get_the_same_error() -> None:
    flights: Flights[str, int] = Flights()

    async def read() -> int:
        await asyncio.sleep(0)
        raise OSError("gone")

    asking = [asyncio.create_task(flights.join("k", read)) for _ in range(3)]
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [OSError] * 3


async def test_a_read_ends_with_the_last_who_waits_for_it() -> None:
    flights: Flights[str, int] = Flights()
    ended = asyncio.Event()

    async def read() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    asking = [asyncio.create_task(flights.join("k", read)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    assert not ended.is_set()
    asking[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking[1]
    await ended.wait()
