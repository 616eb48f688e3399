"""How the store is: sizes and lags of its tiers, how fast it is written, what it will need, whose its series are."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import partitions, wire
from .cardinality import Cardinality, cardinality, series_count
from .compact import due_window
from .index import current
from .merge import days_due
from .records import DAY_WINDOWS, WINDOW_MS

DAY_MS = DAY_WINDOWS * WINDOW_MS
#: The write rate is that of this long, ending a little ago: what is on its way is not missed by it.
RATE_MS, RATE_DELAY_MS = 60_000, 5_000


@dataclass(frozen=True)
class Tier:
    """One tier on disk: bytes with indexes, partitions (1 for rows), and an estimate of its rows."""

    name: str
    bytes: int
    partitions: int
    rows: int


@dataclass(frozen=True)
class StoreStatus:
    """The state of the store at one time.

    ``pivot_lag_seconds``: age of the oldest row. ``compact_lag_windows``: windows that should be chunks and are not.
    ``merge_lag_days``: days that should be merged and are not. ``samples_per_second``: written in the last minute,
    stale markers included. ``oldest_ms``: start of the oldest samples (to the day), None for an empty store.
    ``day_bytes``: size of a merged day, the mean of the last seven; 0 before there is one.
    """

    tiers: list[Tier] = field(default_factory=list)
    sources: int = 0
    keys: int = 0
    layouts: int = 0
    floor_ms: int = 0
    pivot_lag_seconds: float = 0.0
    compact_lag_windows: int = 0
    merge_lag_days: int = 0
    planned_drops: int = 0
    series: int = 0
    samples_per_second: float = 0.0
    oldest_ms: int | None = None
    day_bytes: int = 0
    cardinality: Cardinality = field(default_factory=Cardinality)

    @property
    def bytes(self) -> int:
        """All bytes of the store, indexes and catalogue included."""
        return sum(tier.bytes for tier in self.tiers)

    def bytes_at(self, days: float) -> int:
        """Return what the store will need once it holds this many days, 0 when there is no day to judge by.

        Merged days grow by one a day; what is fresh stays as large as it is.
        """
        fresh = sum(tier.bytes for tier in self.tiers if tier.name != "store_day")
        return fresh + round(self.day_bytes * days) if self.day_bytes else 0


def status(now_ms: int, top: int = 10) -> StoreStatus:
    """Return sizes, lags and the `top` largest metrics, sources and labels of the last day (0: none of these)."""
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
        merge_lag_days=len(days_due(now_ms)),
        planned_drops=wire.execute("select count(*) from store_drop")[0][0],
        series=series_count(index),
        samples_per_second=samples_per_second(now_ms),
        oldest_ms=_oldest_ms(oldest),
        day_bytes=day_bytes(),
        cardinality=cardinality(now_ms - DAY_MS, top) if top else Cardinality(),
    )


def samples_per_second(now_ms: int) -> float:
    """Return how many samples a second were written in the last minute, stale markers included."""
    until_ms = now_ms - RATE_DELAY_MS
    size = wire.execute(
        "select coalesce(sum(octet_length(v)), 0) from store_row where at_ms > %s and at_ms <= %s",
        [until_ms - RATE_MS, until_ms],
    )[0][0]
    return float(size / 8 / (RATE_MS / 1000))


def _oldest_ms(oldest_row_ms: int | None) -> int | None:
    lows = [parts[0].low * WINDOW_MS for table in ("store_day", "store_chunk") if (parts := partitions.existing(table))]
    # Partitions are made ahead; an empty store has some and no samples.
    if oldest_row_ms is None and not wire.execute("select 1 from store_mark limit 1"):
        return None
    return min([*lows, *([oldest_row_ms] if oldest_row_ms is not None else [])], default=None)


def day_bytes() -> int:
    """Return the mean size of the last seven merged days."""
    names = [partition.name for partition in partitions.existing("store_day")[-7:]]
    rows = wire.execute(
        "select coalesce(avg(pg_total_relation_size(oid)), 0)::bigint from pg_class where relname = any(%s)", [names]
    )
    return int(rows[0][0])


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
