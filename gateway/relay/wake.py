"""What makes the relay look for news, and why it did.

A wake-up is a hint and carries nothing (I3): the relay reads the log, whatever woke it. Many wake-ups that come while
it works are one.
"""

import asyncio
from typing import Literal

Cause = Literal["notify", "poll", "listen", "elected", "work"]
"""`notify`: a writer said so. `poll`: nobody did, it was time to look. `listen`: the listener was connected (again),
and may have missed something. `elected`: leadership began. `work`: there is more to do, so nobody waited."""


class Wake:
    """Set by whoever has a hint, waited for by the relay."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._cause: Cause = "poll"

    def wake(self, cause: Cause) -> None:
        """Let the relay look at the log now. The first cause since it last looked is the one that counts."""
        if not self._event.is_set():
            self._cause = cause
            self._event.set()

    async def wait(self, seconds: float) -> Cause:
        """Wait for a wake-up, at most `seconds`; say why the wait is over, and forget the wake-ups until now."""
        if not self._event.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                return "poll"
        return self.take()

    def take(self) -> Cause:
        """Forget the wake-ups until now; say why there was one, `work` if there was none."""
        if not self._event.is_set():
            return "work"
        self._event.clear()
        return self._cause
