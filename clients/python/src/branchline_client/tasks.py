"""The tasks of a client: none is without an owner, and no error of one goes unheard."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any


class Tasks:
    """Starts tasks and ends them. `failed` is told of what one of them raised, which is always a defect."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start a task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self, *, after: Collection[str] = ()) -> None:
        """Cancel all tasks but those called `after`, which end by themselves, and wait for their end."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                if task.get_name() not in after:
                    task.cancel()
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._failed(error)
