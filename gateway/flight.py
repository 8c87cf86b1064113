"""Reads that many ask for at once are made once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class _Flight(Generic[Value]):
    task: asyncio.Task[Value]
    waiting: int = 0


class Flights(Generic[Key, Value]):
    """Reads that are under way, by what they read. Whoever asks for the same meanwhile gets the same answer or error.

    A read goes on while anybody waits for it, and is cancelled with the last of them.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Value]] = {}

    async def join(self, key: Key, read: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Give what `read` gives, from the read of this key that is under way if there is one."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(read()))
            flight.task.add_done_callback(lambda _: self._land(key))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flight.task.add_done_callback(_disregard)
                flight.task.cancel()

    def _land(self, key: Key) -> None:
        del self._flights[key]


def _disregard(task: asyncio.Task[Any]) -> None:
    """Take note of how a read ended that nobody waits for any more, or the event loop reports it as overlooked."""
    if not task.cancelled():
        task.exception()
