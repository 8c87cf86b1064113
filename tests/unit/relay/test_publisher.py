"""Publishing, where no server shows the moment: what a driver does with a cancellation is a matter of chance."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from redis.asyncio import Redis

from gateway.relay.publisher import Publisher


class SwallowingPipeline:
    """Answers in place of being cancelled, as redis-py does when both come in the same turn of the event loop."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()

    def execute_command(self, *_: object) -> None:
        pass

    async def execute(self) -> list[int]:
        self.waits.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return []
        raise AssertionError("unreachable")


async def test_a_cancellation_that_the_driver_swallows_is_not_lost() -> None:
    pipeline = SwallowingPipeline()
    redis = SimpleNamespace(pipeline=lambda *, transaction: pipeline)
    publisher = Publisher(cast(Redis, redis))
    task = asyncio.create_task(publisher.publish([("channel", b"body")]))
    await pipeline.waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
