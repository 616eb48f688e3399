"""What goes into the store and what comes back: scrapes, receipts, and the sizes everything is cut to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..promql.values import STALE_NAN, Floats

#: Compaction works on windows of two hours, as Prometheus' head does: shorter ones cost 1.3 to 2.8 times the bytes.
WINDOW_MS = 7_200_000
#: Rows become blocks after five minutes: readers then touch one row per source and five minutes.
PIVOT_MS = 300_000
#: Blocks are joined to half hours later; no block is longer.
HALF_MS = 1_800_000
DAY_WINDOWS = 12

#: "No sample here, and no stale marker either": only in the store, for sources that send one part of their series
#: at a time. A signalling NaN with a payload that no float arithmetic makes.
ABSENT_BITS = 0x7FF00000A15E47A1
ABSENT: float = float(np.array([ABSENT_BITS], dtype=np.uint64).view(np.float64)[0])
STALE = STALE_NAN


@dataclass(frozen=True)
class Scrape:
    """All samples of one source at one time.

    A scrape tells the whole truth about its source: a series that it leaves out is stale from ``at_ms`` on. With
    ``is_partial`` it tells only about the series it names (backfill, remote write).
    """

    source: str
    labels: Mapping[str, str]
    at_ms: int
    keys: Sequence[str]
    values: Floats
    is_partial: bool = False


@dataclass
class Receipt:
    """What became of an append: samples stored, samples dropped by reason, and one error text a source at most.

    ``refused``: dropped samples by source and reason.
    """

    samples: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    refused: dict[tuple[str, str], int] = field(default_factory=dict)

    def drop(self, reason: str, samples: int, source: str, message: str) -> None:
        """Count dropped samples under a reason and keep the first message of the source."""
        self.dropped[reason] = self.dropped.get(reason, 0) + samples
        self.refused[source, reason] = self.refused.get((source, reason), 0) + samples
        self.errors.setdefault(source, message)


class StoreError(Exception):
    """The store refuses what was asked; the text says what to change."""
