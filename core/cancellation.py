"""Keeps a cancellation from being lost in a driver.

Drivers close their connection when they are cancelled; if that fails in turn, its error takes the place of the
cancellation, and a loop that waits out the driver's errors would go on for ever. And up to Python 3.11
`asyncio.wait_for`, by which redis-py waits for its socket, gives a result that comes at the moment of a cancellation
in its place. A loop over such calls asks here.
"""

import asyncio


def raise_if_cancelled() -> None:
    """Raise CancelledError if the running task has been asked to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
