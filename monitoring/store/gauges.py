"""The store's state as numbers with names: shown at /metrics and kept as series of the store's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .keys import sample_key
from .records import WINDOW_MS, Receipt, Scrape
from .rows import append
from .status import StoreStatus

SOURCE = "portal:store"
LABELS = {"job": "alphaq-portal", "instance": "store"}


@dataclass(frozen=True)
class Gauge:
    """One number: its name with unit, what it means, and its labels."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def gauges(found: StoreStatus) -> list[Gauge]:
    """Return the numbers of a status, the same names and labels whatever is in the store."""
    tiers = [(tier, {"tier": tier.name.removeprefix("store_")}) for tier in found.tiers]
    window_seconds = WINDOW_MS / 1000
    return [
        *[Gauge("alphaq_store_bytes", "Size on disk, indexes included.", tier.bytes, own) for tier, own in tiers],
        *[Gauge("alphaq_store_partitions", "Tables of a tier.", tier.partitions, own) for tier, own in tiers],
        Gauge("alphaq_store_series", "Series the store knows.", found.series),
        Gauge("alphaq_store_keys", "Metric names with labels, told apart without their source.", found.keys),
        Gauge("alphaq_store_sources", "Sources that have sent samples.", found.sources),
        Gauge("alphaq_store_samples_per_second", "Samples written a second, last minute.", found.samples_per_second),
        Gauge("alphaq_store_pivot_lag_seconds", "Age of the oldest row.", found.pivot_lag_seconds),
        Gauge(
            "alphaq_store_compact_lag_seconds",
            "Time whose samples should be compacted and are not.",
            found.compact_lag_windows * window_seconds,
        ),
        Gauge("alphaq_store_merge_lag_days", "Days that should be merged and are not.", found.merge_lag_days),
        Gauge("alphaq_store_planned_drops", "Superseded tables that are still kept for readers.", found.planned_drops),
        Gauge("alphaq_store_floor_timestamp_seconds", "Samples before this time are refused.", found.floor_ms / 1000),
    ]


def record(found: StoreStatus, now_ms: int) -> Receipt:
    """Append the numbers of a status to the store, at the whole second."""
    numbers = gauges(found)
    keys = [sample_key(each.name, each.labels) for each in numbers]
    values = np.array([each.value for each in numbers], np.float64)
    return append([Scrape(SOURCE, LABELS, now_ms // 1000 * 1000, keys, values)], now_ms=now_ms)
