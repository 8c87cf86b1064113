"""uvicorn's HTTP connection with a deadline for the head of a request: one that trickles in is cut."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0


class Protocol(HttpToolsProtocol):
    """A connection whose requests' heads have to be whole within HEAD_SECONDS, the first one's from its beginning."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin with a connection."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._head_is_whole()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Hear the first byte of a request."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Have the head of a request."""
        self._head_is_whole()
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._cut)

    def _head_is_whole(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self) -> None:
        self._head_timer = None
        # An answer to an earlier request may be under way on the same connection: its end closes it.
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is None or cycle.response_complete:
            self.transport.abort()
