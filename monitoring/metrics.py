"""What the portal says of its own taking in of samples, for /metrics."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

BATCHES = Counter("alphaq_ingest_batches_total", "Batches of hosts taken into the store")
SAMPLES = Counter("alphaq_ingest_samples_total", "Samples of hosts taken into the store")
REFUSED = Counter("alphaq_ingest_refused_batches_total", "Batches of hosts refused at the door", ["reason"])
DROPPED = Counter("alphaq_ingest_dropped_samples_total", "Samples of hosts that the store would not take", ["reason"])
STORED = Counter("alphaq_store_samples_total", "Samples committed to the store")
REFUSED_SAMPLES = Counter("alphaq_store_refused_samples_total", "Samples the store would not take", ["reason"])
FORWARDED = Counter("alphaq_forwarded_samples_total", "Samples that have arrived at ALPHAQ_METRICS_URL")
FORWARD_DROPPED = Counter(
    "alphaq_forward_dropped_samples_total", "Samples that will never arrive at ALPHAQ_METRICS_URL", ["reason"]
)
HOUSE_SECONDS = Histogram(
    "alphaq_store_house_seconds",
    "Time of one round of the store's housekeeping",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300),
)
MACHINE_CHANGES = Counter(
    "alphaq_host_machine_changes_total", "Times a host's name came from another machine than before"
)
# From a queue that is drained at once to one in which a host's whole buffer has waited.
DELAY = Histogram(
    "alphaq_ingest_delay_seconds",
    "Time from the reading on the host to the store",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
)
SECONDS = Histogram(
    "alphaq_ingest_seconds",
    "Time to take one message with batches into the store",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
