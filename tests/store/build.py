"""Makers and readers of samples for the tests of the store."""

from __future__ import annotations

import numpy as np

from monitoring import store
from monitoring.promql import Matcher
from monitoring.store import Scrape

NOW = 1_700_006_400_000  # 2023-11-15T00:00:00Z, the start of a day
HOUR = 3_600_000
SPECIAL = np.array(
    [
        0x7FF0000000000002, 0x7FF8000000000001, 0xFFF8000000000123, 0x7FF0000000000001, 0x8000000000000000, 0, 1,
        0x800FFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000, 0x3FF0000000000000, 0x7FEFFFFFFFFFFFFF,
        0x4059000000000000, 0xC1E0000000000000, 0x41DFFFFFFFC00000,
    ],
    np.uint64,
).view(float)  # fmt: skip


def scrape(source="host:ana", at_ms=NOW, labels=None, partial=False, **values):
    keys, numbers = list(values), np.array(list(values.values()), float)
    return Scrape(source, labels or {}, at_ms, keys, numbers, partial)


def put(*scrapes, now_ms=None):
    """Append at the time of the newest scrape."""
    return store.append(scrapes, now_ms=now_ms or max(each.at_ms for each in scrapes))


def samples(blocks):
    """{label text: [(time, bits)]}, in order of time."""
    found = {}
    for block in blocks:
        for labels, line in zip(block.labels, block.values, strict=True):
            bits = np.ascontiguousarray(line).view(np.uint64).tolist()
            found.setdefault(str(labels), []).extend(zip(block.ts.tolist(), bits, strict=True))
    return {key: sorted(value) for key, value in found.items()}


def bits(value):
    return int(np.array([value], float).view(np.uint64)[0])


def named(name):
    return [Matcher("=", "__name__", name)]


def everything(start_ms=0, end_ms=1 << 60):
    return samples(store.select([Matcher("!=", "__name__", "")], start_ms, end_ms))
