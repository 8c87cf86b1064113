"""Keeps a cancellation from being lost in a driver.

Drivers close their connection when they are cancelled; if that fails in turn, its error takes the place of the
cancellation, and a loop that waits out the driver's errors would go on for ever. Such a loop asks here first.
"""

import asyncio


def raise_if_cancelled() -> None:
    """Raise CancelledError if the running task has been asked to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
