"""How the store is: sizes and lags of its tiers, and which metrics, labels and sources the series belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..promql.labels import NAME
from . import partitions, wire
from .compact import due_window
from .index import Index, current
from .records import WINDOW_MS


@dataclass(frozen=True)
class Tier:
    """One tier on disk: bytes with indexes, partitions (1 for rows), and an estimate of its rows."""

    name: str
    bytes: int
    partitions: int
    rows: int


@dataclass(frozen=True)
class Cardinality:
    """Where the series come from: counts of series, largest first; for labels, of distinct values."""

    series: int
    by_metric: list[tuple[str, int]]
    by_source: list[tuple[str, int]]
    label_values: list[tuple[str, int]]


@dataclass(frozen=True)
class StoreStatus:
    """The state of the store at one time.

    ``pivot_lag_seconds``: age of the oldest row. ``compact_lag_windows``: windows that should be chunks and are not.
    """

    tiers: list[Tier] = field(default_factory=list)
    sources: int = 0
    keys: int = 0
    layouts: int = 0
    floor_ms: int = 0
    pivot_lag_seconds: float = 0.0
    compact_lag_windows: int = 0
    planned_drops: int = 0
    cardinality: Cardinality = field(default_factory=lambda: Cardinality(0, [], [], []))

    @property
    def bytes(self) -> int:
        """All bytes of the store, indexes and catalogue included."""
        return sum(tier.bytes for tier in self.tiers)


def status(now_ms: int, top: int = 10) -> StoreStatus:
    """Return sizes, lags and the `top` largest metrics, sources and labels."""
    index, bounds = current()
    oldest = wire.execute("select min(at_ms) from store_row")[0][0]
    behind = wire.execute(
        "select count(distinct b.win) from store_block b left join store_mark m using (source_id)"
        " where b.win < %s and b.win >= coalesce(m.chunk_to, 0)",
        [due_window(now_ms)],
    )[0][0]
    return StoreStatus(
        tiers=[_tier(name) for name in ("store_row", "store_block", "store_chunk", "store_day")] + [_catalogue()],
        sources=len(index.names),
        keys=len(index.keys.pairs),
        layouts=len(index.layouts),
        floor_ms=bounds.floor_ms,
        pivot_lag_seconds=max(0, now_ms - oldest) / 1000 if oldest is not None else 0.0,
        compact_lag_windows=behind,
        planned_drops=wire.execute("select count(*) from store_drop")[0][0],
        cardinality=cardinality(index, top),
    )


def cardinality(index: Index, top: int) -> Cardinality:
    """Return how many series there are and where most of them come from."""
    by_metric: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    counted: dict[int, Counter[str]] = {}
    for source_id in index.used:
        held = index.held(source_id)
        by_source[index.names[source_id]] += len(held)
        if id(held) not in counted:
            counted[id(held)] = Counter(dict(index.keys.pairs[position])[NAME] for position in held.tolist())
        by_metric.update(counted[id(held)])
    labels = {name: len(values) for name, values in index.keys.label_values().items()}
    for shape in index.shapes.values():
        for name in shape.names:
            labels.setdefault(name, 0)
    for name in labels:
        own = {shape.labels[name] for shape in index.shapes.values() if name in shape.names}
        labels[name] = max(labels[name], len(own))
    largest = [_largest(counts, top) for counts in (by_metric, by_source, labels)]
    return Cardinality(sum(by_source.values()), *largest)


def _largest(counts: Mapping[str, int], top: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:top]


def _tier(name: str) -> Tier:
    if name == "store_row":
        size = wire.execute("select pg_total_relation_size('store_row'), (select count(*) from store_row)")[0]
        return Tier(name, size[0], 1, size[1])
    rows = wire.execute(
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, count(*),"
        " coalesce(sum(greatest(c.reltuples, 0)), 0)"
        " from pg_class c where c.relname = any(%s)",
        [[partition.name for partition in partitions.existing(name)]],
    )[0]
    return Tier(name, int(rows[0]), int(rows[1]), int(rows[2]))


def _catalogue() -> Tier:
    tables = ["store_source", "store_key", "store_layout", "store_source_layout", "store_mark", "store_state"]
    size = wire.execute("select sum(pg_total_relation_size(t::regclass)) from unnest(%s::text[]) t", [tables])[0][0]
    return Tier("catalogue", int(size), 1, 0)


def lag_ms(now_ms: int) -> int:
    """Return how far the floor is behind the time that compaction should have reached."""
    _, bounds = current()
    return max(0, due_window(now_ms) * WINDOW_MS - bounds.floor_ms)
