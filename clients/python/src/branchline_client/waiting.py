"""Waiting for a state of the connection, however short it is."""

import asyncio
from collections.abc import Collection

from branchline_client.states import State


class StateWaiters:
    """Those who wait for the connection to come into one of some states."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Collection[State], asyncio.Future[State]]] = []

    async def wait(self, states: Collection[State]) -> State:
        """Wait for one of some states. Raises what ended the client meanwhile."""
        future: asyncio.Future[State] = asyncio.get_running_loop().create_future()
        self._waiters.append((states, future))
        return await future

    def wake(self, state: State, error: BaseException | None) -> None:
        """Tell of a new state, and of what has ended the client, if something has."""
        waiters, self._waiters = self._waiters, []
        for states, future in waiters:
            if future.done():
                continue
            if state in states:
                future.set_result(state)
            elif error is not None:
                future.set_exception(error)
            else:
                self._waiters.append((states, future))
