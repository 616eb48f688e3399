"""Where the series come from: which metrics, labels and sources have how many, and how many of them are new.

What counts is what somebody sent in a span of time, not what is stored: yesterday's pods cost disk, today's cost
memory and time. Ends of layouts are known to within half an hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import NAME
from . import wire
from .index import Index, Positions, current

Weights = NDArray[np.int64]


@dataclass(frozen=True)
class Count:
    """How many series a metric or a source has, and how many of these are younger than the span asked for."""

    name: str
    series: int
    new: int = 0


@dataclass(frozen=True)
class LabelCount:
    """How many different values a label has, and how many series carry it."""

    name: str
    values: int
    series: int


@dataclass(frozen=True)
class Cardinality:
    """The series of some time, the largest first."""

    series: int = 0
    new: int = 0
    metrics: int = 0
    by_metric: list[Count] = field(default_factory=list)
    by_source: list[Count] = field(default_factory=list)
    by_label: list[LabelCount] = field(default_factory=list)


def cardinality(since_ms: int, top: int) -> Cardinality:
    """Return the series sent since a time, and which of them nobody had sent before it; `top` names of each kind."""
    index, _ = current()
    weights = np.zeros(len(index.keys.pairs), np.int64)
    fresh = np.zeros_like(weights)
    by_source: dict[str, tuple[int, int]] = {}
    for source_id, held, new in _in_use(index, since_ms):
        weights[held] += 1
        fresh[new] += 1
        series, young = by_source.get(index.names[source_id], (0, 0))
        by_source[index.names[source_id]] = series + len(held), young + len(new)
    metrics = [
        Count(name, int(weights[places].sum()), int(fresh[places].sum()))
        for name, places in index.keys.label_values().get(NAME, {}).items()
        if weights[places].any()
    ]
    return Cardinality(
        int(weights.sum()),
        int(fresh.sum()),
        len(metrics),
        _largest(metrics, top),
        _largest([Count(name, *counts) for name, counts in by_source.items()], top),
        _by_label(index, weights, _sources_in_use(by_source, index), top),
    )


def series_count(index: Index) -> int:
    """Return how many series a process knows, whenever they were sent last."""
    return sum(len(index.held(source_id)) for source_id in index.used)


def _in_use(index: Index, since_ms: int) -> Iterable[tuple[int, Positions, Positions]]:
    """Yield each source that sent something since a time, with the places of its keys and of those that are new."""
    rows = wire.execute(
        "select source_id, layout_id, first_ms < %s, last_ms >= %s from store_source_layout", [since_ms] * 2
    )
    used: dict[int, tuple[set[int], set[int]]] = {}
    for source_id, layout_id, was_before, is_now in rows:
        if source_id in index.names and layout_id in index.layouts:
            now, before = used.setdefault(source_id, (set(), set()))
            if is_now:
                now.add(layout_id)
            if was_before:
                before.add(layout_id)
    memo: dict[tuple[frozenset[int], frozenset[int]], tuple[Positions, Positions]] = {}
    for source_id, (now, before) in used.items():
        if not now:
            continue
        key = frozenset(now), frozenset(before)
        if key not in memo:
            held = index.keys_of(key[0])
            memo[key] = held, np.setdiff1d(held, index.keys_of(key[1]), assume_unique=True)
        yield source_id, *memo[key]


def _sources_in_use(by_source: dict[str, tuple[int, int]], index: Index) -> dict[int, int]:
    """Return the series of each source by its id; sources of one name share them evenly, which is near enough."""
    ids: dict[str, list[int]] = {}
    for source_id, name in index.names.items():
        if name in by_source:
            ids.setdefault(name, []).append(source_id)
    return {source_id: by_source[name][0] // len(same) for name, same in ids.items() for source_id in same}


def _by_label(index: Index, weights: Weights, sources: dict[int, int], top: int) -> list[LabelCount]:
    found: dict[str, tuple[int, int]] = {}
    for name, column in index.keys.label_values().items():
        if name == NAME:
            continue
        counts = [int(weights[places].sum()) for places in column.values()]
        found[name] = sum(count > 0 for count in counts), sum(counts)
    own: dict[str, tuple[set[str], int]] = {}
    for source_id, series in sources.items():
        for name, value in index.shapes[source_id].pairs:
            values, total = own.get(name, (set(), 0))
            own[name] = values | {value}, total + series
    for name, (values, total) in own.items():
        found[name] = max(found.get(name, (0, 0))[0], len(values)), total
    counts_of = [LabelCount(name, values, series) for name, (values, series) in found.items() if series]
    return sorted(counts_of, key=lambda each: (-each.values, each.name))[:top]


def _largest(counts: list[Count], top: int) -> list[Count]:
    return sorted(counts, key=lambda each: (-each.series, each.name))[:top]
