"""How many HTTP connections the API holds open: what is over the limits is turned away before a byte of it is read.

Without them one address could take all file descriptors of the process, and nobody would be answered any more.
"""

import time
from collections import Counter
from collections.abc import Sequence

import structlog

from api import metrics
from core.addresses import Network, is_trusted, limit_key

LOG_SECONDS = 10.0
"""Between two lines about connections that were refused: a flood of them is not to be one of lines."""

_log = structlog.get_logger()


class Connections:
    """Counts open connections, in all and by address. A limit of 0 is none.

    Whom a trusted proxy speaks for is known with a request only: its connections count in all, and not by address.
    """

    def __init__(self, per_address: int = 0, total: int = 0, trusted: Sequence[Network] = ()) -> None:
        self._per_address = per_address
        self._total = total
        self._trusted = trusted
        self._by_address: Counter[str] = Counter()
        self._open = 0
        self._refused = 0
        self._next_line = 0.0

    def is_proxy(self, peer: str) -> bool:
        """Whether the other end is a trusted proxy."""
        return is_trusted(peer, self._trusted)

    def admit(self, peer: str) -> bool:
        """Count a connection from this IP address, and say whether it may stay; one that may not is not counted."""
        key = self._key(peer)
        if self._total and self._open >= self._total:
            self._refuse("total")
        elif self._per_address and key and self._by_address[key] >= self._per_address:
            self._refuse("address")
        else:
            self._by_address[key] += 1
            self._open += 1
            metrics.open_connections.inc()
            return True
        return False

    def release(self, peer: str) -> None:
        """Count one less that was admitted."""
        key = self._key(peer)
        self._by_address[key] -= 1
        if not self._by_address[key]:
            del self._by_address[key]
        self._open -= 1
        metrics.open_connections.dec()

    def _key(self, peer: str) -> str:
        """What a connection counts by; empty for what has no address of its own, as proxies and Unix sockets."""
        return "" if not peer or self.is_proxy(peer) else limit_key(peer)

    def _refuse(self, limit: str) -> None:
        metrics.refused_connections.labels(limit).inc()
        self._refused += 1
        now = time.monotonic()
        if now >= self._next_line:
            _log.warning("connections.refused", limit=limit, count=self._refused)
            self._refused, self._next_line = 0, now + LOG_SECONDS
