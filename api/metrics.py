"""What the API counts, beside what all processes count (`core.telemetry`)."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram

from core.telemetry import errors_counter

_FINE = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

_requests = Counter(
    "branchline_http_requests", "Requests answered, by route template.", ["method", "route", "status"]
)
_request_seconds = Histogram(
    "branchline_http_request_seconds",
    "Time from a request's first byte to its answer's last.",
    ["method", "route"],
    buckets=_FINE,
)
_batch_size = Histogram(
    "branchline_commit_mutations",
    "Mutations in one commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
_commit_seconds = Histogram(
    "branchline_commit_seconds", "Time that one commit of mutations took.", buckets=_FINE
)
_mutations = Counter("branchline_mutations", "Mutations written, by their result.", ["status"])
_waiting = Gauge("branchline_mutations_waiting", "Mutations that wait for the next commit.")

open_connections = Gauge("branchline_http_connections", "Open HTTP connections of this process.")
refused_connections = Counter(
    "branchline_http_connections_refused",
    "HTTP connections that were turned away, by the limit: address or total.",
    ["limit"],
)

_request_children: dict[tuple[str, str, int], Callable[[float], None]] = {}


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request. `route` is a template such as `/api/{collection}`, never an address."""
    key = (method, route, status)
    observe = _request_children.get(key)
    if observe is None:
        # Looking children up by label costs more than counting.
        counter = _requests.labels(method, route, str(status))
        histogram = _request_seconds.labels(method, route)

        def observe(
            value: float,
            increment: Callable[[], None] = counter.inc,
            put: Callable[[float], None] = histogram.observe,
        ) -> None:
            increment()
            put(value)

        _request_children[key] = observe
    observe(seconds)


def observe_commit(mutations: int, seconds: float) -> None:
    """Count a commit of mutations."""
    _batch_size.observe(mutations)
    _commit_seconds.observe(seconds)


def count_result(status: str) -> None:
    """Count a mutation's result: applied, merged, duplicate or rejected."""
    _mutations.labels(status).inc()


def count_results(statuses: Iterable[str]) -> None:
    """Count the results of many mutations."""
    for status, count in Tally(statuses).items():
        _mutations.labels(status).inc(count)


def count_problem(code: str) -> None:
    """Count a problem that a client was told of."""
    errors_counter.labels("api", code).inc()


def watch_waiting(waiting: Callable[[], float]) -> None:
    """Have the gauge of waiting mutations ask `waiting` when it is read."""
    _waiting.set_function(waiting)
