"""Logs and metrics of a process: JSON lines on stderr, and Prometheus.

A log line is one event with a role, never a token and never what is in a record. Code keeps to that; the
processors here are a second line of defence, not a licence.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST
REDACTED = "[redacted]"

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_KEYS = frozenset(
    {
        "token",
        "access_token",
        "refresh_token",
        "ticket",
        "authorization",
        "cookie",
        "password",
        "password_hash",
        "secret",
        "signing_key",
        "record",
        "records",
        "fields",
        "previous",
        "payload",
        "state",
    }
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|eyJ[A-Za-z0-9_-]{20,}")
_TICKET = re.compile(r"(ticket=)[^&\s\"']+")
# PostgreSQL's DETAIL of a refused row quotes the row.
_DETAIL = re.compile(r"DETAIL:.*", re.DOTALL)
_URL_PASSWORD = re.compile(r"(\w+://[^:/@\s]*:)[^@/\s]+@")

# From a commit in PostgreSQL to the hop named; buckets in seconds, fine below 100 ms, which is what is
# promised.
hop_histogram = Histogram(
    "branchline_hop_seconds",
    "Time from a change's commit until it passed a hop.",
    ["hop"],
    buckets=(
        0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05,
        0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    ),
)  # fmt: skip

errors_counter = Counter(
    "branchline_errors", "Errors by the code that the other side was given.", ["role", "code"]
)
connections_gauge = Gauge("branchline_connections", "Open WebSocket connections of this gateway.")
deliveries_counter = Counter("branchline_deliveries", "Frames with changes that were handed to sockets.")
head_gauge = Gauge("branchline_head_offset", "Sum of the heads of all organisations, by shard.", ["shard"])
lag_gauge = Gauge(
    "branchline_lag_changes", "Changes that are committed and not yet published, by shard.", ["shard"]
)


def configure_logging(role: str, level: str = "info") -> None:
    """Send structlog's events to stderr as JSON lines with `at`, `level`, `role` and `event`.

    `level` is the lowest one that is written. Call once, in the composition root.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            redact,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(role=role)
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _LibraryLog)]
    root.addHandler(_LibraryLog(logging.WARNING))


class _LibraryLog(logging.Handler):
    """What libraries have to say, as events of our log, a line each.

    Their arguments may quote a request or a row, and so may an error's message: neither is written.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        error = record.exc_info[1] if record.exc_info else None
        log = structlog.get_logger()
        (log.error if record.levelno >= logging.ERROR else log.warning)(
            "library.message",
            library=record.name,
            message=str(record.msg).splitlines()[0][:200],
            **({} if error is None else {"error": type(error).__name__}),
        )


def get_logger() -> Any:
    """A structlog logger; `logger.info("event_name", key=value)`."""
    return structlog.get_logger()


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank the values of keys that hold secrets or contents, and whatever looks like a token in the rest."""
    return {key: REDACTED if key.lower() in _SECRET_KEYS else blank(value) for key, value in event.items()}


def blank(value: Any) -> Any:
    """Give a value without what looks like a token, a password in an address, or a row in it."""
    match value:
        case str():
            value = _TICKET.sub(r"\1" + REDACTED, _JWT.sub(REDACTED, value))
            value = _DETAIL.sub("DETAIL: " + REDACTED, value)
            return _URL_PASSWORD.sub(r"\1" + REDACTED + "@", value)
        case Mapping():
            return redact(None, "", dict(value))
        case list() | tuple() | set() | frozenset():
            return [blank(item) for item in value]
        case _:
            return value


def _dumps(value: Any, **_: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def render_metrics() -> bytes:
    """All metrics of this process in Prometheus' text format (METRICS_CONTENT_TYPE)."""
    return generate_latest(REGISTRY)
