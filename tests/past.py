"""Makers of stored history for tests: values of hosts at even steps up to a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from monitoring import query, store
from monitoring.store.backfill import Batch


def remember(
    end: datetime, step_seconds: float, by_host: Mapping[str, Sequence[float | None]], metric: str = "load"
) -> datetime:
    """Store the values, the last of each at `end`; None is a missing sample. Returns the time of the first."""
    count = max(len(values) for values in by_host.values())
    first = end - timedelta(seconds=step_seconds * (count - 1))
    for host, values in by_host.items():
        ts = query.to_ms(first) + np.rint(np.arange(count) * step_seconds * 1000).astype(np.int64)
        there = [place for place, value in enumerate(values) if value is not None]
        line = [int(ts[place]) for place in there], [float(values[place] or 0.0) for place in there]
        batch = Batch((f"import:{host}", (("host", host),), True), {metric: line})
        store.write(batch, now_ms=query.to_ms(end))
    return first
