"""What a retention rule would keep: its series, and about how many bytes they need in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..promql.labels import NAME
from ..promql.matchers import Matcher
from .cardinality import series_count
from .index import current
from .status import day_bytes

NAMED = 3


@dataclass(frozen=True)
class Kept:
    """Series a selector names now, of how many there are, their largest metrics, and bytes after all its days.

    The bytes are an estimate by the share of series; 0 before a day has been merged.
    """

    series: int
    total: int
    metrics: tuple[str, ...]
    more_metrics: int
    bytes: int


def kept_by(matchers: Sequence[Matcher], days: int) -> Kept:
    """Return what a rule with these matchers keeps for some days; raises EvaluationError for a bad regex."""
    index, _ = current()
    names: Counter[str] = Counter()
    series = 0
    for pick in index.select(tuple(matchers)):
        series += len(pick.labels)
        names.update(labels.get(NAME) for labels in pick.labels)
    total = series_count(index)
    size = round(day_bytes() * days * series / total) if total else 0
    return Kept(series, total, tuple(name for name, _ in names.most_common(NAMED)), max(0, len(names) - NAMED), size)
