"""What the relay counts, for /metrics. Each detector has its own counter, so that a test can see it fire."""

from prometheus_client import Counter, Gauge

from core.telemetry import head_gauge, hop_histogram, lag_gauge

wakes = Counter(
    "branchline_relay_wakes", "Times that the relay looked for news, by what made it look.", ["cause"]
)
changes = Counter("branchline_relay_changes", "Changes that were published.")
publications = Counter("branchline_relay_publications", "Publications that were sent.")
publish_errors = Counter(
    "branchline_relay_publish_errors", "Times that Redis did not take what was published."
)
database_errors = Counter(
    "branchline_relay_database_errors", "Times that the relay's work on the log was broken off."
)
missed = Counter(
    "branchline_relay_missed",
    "Organisations with news that were found by comparing heads or by a gap, not as they appeared; 0 if all is well.",
    ["found_by"],
)
unreadable = Counter("branchline_relay_unreadable", "Transactions in whose place a marker was published.")
listener_losses = Counter(
    "branchline_relay_listener_losses", "Times that the listening connection was lost, by how.", ["how"]
)
elections = Counter("branchline_relay_elections", "Times that this relay was elected.")
leading = Gauge("branchline_relay_leading", "1 while this relay leads its shard.", ["shard"])
term = Gauge("branchline_relay_term", "The highest term that this relay has seen.", ["shard"])
for _found_by in ("gap", "sweep"):
    missed.labels(_found_by)
lag_seconds = Gauge(
    "branchline_relay_lag_seconds", "Age of the oldest commit that waits to be published.", ["shard"]
)
partitions = Counter(
    "branchline_relay_partitions", "Partitions that maintenance made or moved, by which.", ["what"]
)

published_hop = hop_histogram.labels(hop="relay")

__all__ = ["head_gauge", "lag_gauge"]
