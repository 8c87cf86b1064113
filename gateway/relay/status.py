"""What the relay says of itself at /readyz."""

from dataclasses import dataclass
from typing import Any

from core.status_server import Readiness
from gateway.relay.leadership import Leadership
from gateway.relay.listener import Listener
from gateway.relay.maintenance import Maintenance
from gateway.relay.relay import Relay


@dataclass(frozen=True, slots=True)
class Status:
    """Puts together what the parts know; asks nobody.

    The relay is ready while it can do its work or could take it over: it reaches the database and Redis. A listener
    that is deaf costs latency, missing maintenance is felt in days: both are shown, neither makes it unready.
    """

    leadership: Leadership
    relay: Relay
    listener: Listener
    maintenance: Maintenance | None

    def readiness(self) -> Readiness:
        """Fit to relay or to take over; which dependency is not; how far behind."""
        state = self.relay.state
        leading = self.leadership.term is not None
        database_error = self.leadership.last_error or (state.database_error if leading else None)
        dependencies = {
            "database": _dependency(database_error),
            "redis": _dependency(state.redis_error),
            "listener": _dependency(
                None if self.listener.connected else self.listener.last_error or "connecting"
            ),
            "maintenance": _dependency(self._maintenance_error()),
        }
        seen = self.leadership.seen
        ready = database_error is None and state.redis_error is None and seen is not None
        details: dict[str, Any] = {
            "leader": leading,
            "shard": self.leadership.shard,
            "term": seen.term if seen is not None else None,
        }
        if leading:
            details["epoch"] = state.epoch
            details["head"] = state.backlog.head()
            details["behind_changes"] = state.backlog.lag()
        return Readiness(ready=ready, dependencies=dependencies, details=details)

    def _maintenance_error(self) -> str | None:
        if self.maintenance is None:
            return "off: BRANCHLINE_OWNER_DATABASE_URL is not set, so nobody makes and retires the log's partitions"
        return self.maintenance.error


def _dependency(error: str | None) -> dict[str, Any]:
    return {"ready": True} if error is None else {"ready": False, "error": error}
