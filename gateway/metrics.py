"""What a gateway counts. The hot path adds to plain numbers; they become metrics when somebody asks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from core.telemetry import connections_gauge, errors_counter, head_gauge, hop_histogram, lag_gauge
from gateway.receipts import IGNORED, Ignored

Gauges = Callable[[], dict[str, float]]

_SHARD = "0"


@dataclass(slots=True)
class Metrics:
    """Counts since the start."""

    sent_bytes: int = 0
    writes: int = 0
    snapshots: int = 0
    replays: int = 0
    folded: int = 0
    gaps: int = 0
    log_reads: int = 0
    page_reads: int = 0
    redis_connects: int = 0
    presence_messages: int = 0
    bulletins_lost: int = 0
    signals: int = 0
    purges: int = 0
    purges_acknowledged: int = 0
    ignored_receipts: dict[Ignored, int] = field(default_factory=lambda: dict.fromkeys(IGNORED, 0))
    closes: dict[int, int] = field(default_factory=dict)
    rejections: dict[str, int] = field(default_factory=dict)

    def closed(self, code: int) -> None:
        """Count a socket that ended with a close code; 1006 for one that ended without."""
        self.closes[code] = self.closes.get(code, 0) + 1
        if code not in (1000, 1001, 1005, 1006, 1012):
            errors_counter.labels(role="gateway", code=str(code)).inc()

    def rejected(self, code: str) -> None:
        """Count a `rejected` message."""
        self.rejections[code] = self.rejections.get(code, 0) + 1
        errors_counter.labels(role="gateway", code=code).inc()

    def receipt_ignored(self, reason: Ignored) -> None:
        """Count a receipt that says nothing that can be used."""
        self.ignored_receipts[reason] += 1

    def arrived(self, milliseconds: float) -> None:
        """Note how long after its commit a change came here."""
        _to_gateway.observe(max(0.0, milliseconds / 1000))

    def written(self, milliseconds: float) -> None:
        """Note how long after its commit a change was written to sockets."""
        _to_socket.observe(max(0.0, milliseconds / 1000))

    def shown(self, milliseconds: float) -> None:
        """Note how long after its commit a change was on a screen."""
        _to_screen.observe(max(0.0, milliseconds / 1000))


_to_gateway = hop_histogram.labels(hop="gateway")
_to_socket = hop_histogram.labels(hop="socket")
_to_screen = hop_histogram.labels(hop="screen")


class GatewayCollector(Collector):
    """Makes Prometheus' metrics of a gateway's counts and of what it holds at the moment.

    `gauges` gives the values of the moment by the names of `_GAUGES`, and `connections`, `head` and `lag`.
    """

    def __init__(self, metrics: Metrics, gauges: Gauges, registry: CollectorRegistry = REGISTRY) -> None:
        self._metrics = metrics
        self._gauges = gauges
        self._registry = registry
        registry.register(self)
        connections_gauge.set_function(lambda: gauges()["connections"])
        head_gauge.labels(shard=_SHARD).set_function(lambda: gauges()["head"])
        lag_gauge.labels(shard=_SHARD).set_function(lambda: gauges()["lag"])

    def unregister(self) -> None:
        """Report nothing more."""
        self._registry.unregister(self)

    def collect(self) -> Iterable[Metric]:
        """Give all metrics (called by Prometheus' registry)."""
        values = self._gauges()
        for name, meaning in _GAUGES.items():
            yield GaugeMetricFamily(f"branchline_{name}", meaning, value=values[name])
        metrics = self._metrics
        for name, (meaning, value) in {
            "sent_bytes": ("Bytes of deltas handed to sockets.", metrics.sent_bytes),
            "socket_writes": ("Writes of deltas to sockets.", metrics.writes),
            "snapshots": ("Snapshots begun.", metrics.snapshots),
            "replays": ("Replays begun.", metrics.replays),
            "conflated_changes": (
                "Changes that slow sockets were not sent, because a later one of the same record was.",
                metrics.folded,
            ),
            "feed_gaps": ("Gaps in what Redis brought, filled from the log.", metrics.gaps),
            "log_reads": ("Reads of the log.", metrics.log_reads),
            "page_reads": ("Reads of pages of snapshots.", metrics.page_reads),
            "presence_messages": ("Presence messages to sockets.", metrics.presence_messages),
            "presence_bulletins_lost": (
                "Bulletins about presence that Redis did not take.",
                metrics.bulletins_lost,
            ),
            "purges": ("Topics that clients were told to purge.", metrics.purges),
            "purges_acknowledged": (
                "Topics that clients have said they purged, of those that they were told to.",
                metrics.purges_acknowledged,
            ),
            "signals": ("Signals given to the sockets of this gateway.", metrics.signals),
            "redis_connects": ("Connections made to Redis for publications.", metrics.redis_connects),
        }.items():
            yield CounterMetricFamily(f"branchline_{name}", meaning, value=value)
        ignored = CounterMetricFamily(
            "branchline_receipts_ignored", "Receipts that say nothing that can be used.", labels=["reason"]
        )
        for reason, number in metrics.ignored_receipts.items():
            ignored.add_metric([reason], number)
        yield ignored
        closes = CounterMetricFamily("branchline_closes", "Sockets closed, by code.", labels=["code"])
        for code, count in metrics.closes.items():
            closes.add_metric([str(code)], count)
        yield closes


_GAUGES = {
    "subscriptions": "Topics followed, over all connections.",
    "views": "Views with live subscribers.",
    "organizations": "Organisations with connections.",
    "slow_sockets": "Connections that do not read what is sent to them.",
    "presence_entries": "Announcements that are shown, of this gateway's sockets and the others'.",
    "tail_bytes": "Bytes of the log kept in memory.",
    "degraded": "1 while the gateway reads the log itself because the relay or Redis is silent.",
}
