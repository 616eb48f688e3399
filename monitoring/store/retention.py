"""What leaves the store: partitions that have been superseded, samples past their time or beyond the space allowed,
and then the keys, layouts and sources that nothing names any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from django.db import OperationalError, transaction

from . import partitions, wire
from .partitions import Partition
from .records import WINDOW_MS

DAY_MS = 86_400_000
#: The ends of layouts are known to within half an hour; a day more is kept for a portal that stood still.
PURGE_SLACK_MS = DAY_MS
TIERS = ("store_day", "store_chunk", "store_block")


@dataclass(frozen=True)
class Dropped:
    """What was removed: partitions, rows of samples outside of them, bytes given back (indexes included)."""

    partitions: int = 0
    rows: int = 0
    bytes: int = 0
    is_done: bool = True


@dataclass(frozen=True)
class Purged:
    """How many keys, layouts and sources were forgotten; not done when appends kept us from the lock."""

    keys: int = 0
    layouts: int = 0
    sources: int = 0
    is_done: bool = True


def run_planned_drops(now_ms: int) -> int:
    """Drop the partitions whose time has come; those that are being read wait for the next round."""
    names = [name for (name,) in wire.execute("select name from store_drop where after_ms <= %s order by 1", [now_ms])]
    return sum(_drop_planned(name) for name in names)


def _drop_planned(name: str) -> bool:
    table, _, low = name.rpartition("_w")
    with transaction.atomic():
        if not wire.try_house_lock():
            return False
        if not partitions.drop(partitions.partition_of(table, int(low))):
            return False
        wire.execute("delete from store_drop where name = %s", [name])
    return True


def plan_block_drops(now_ms: int, grace_ms: int) -> None:
    """Plan the drop of every block partition below the floor whose sources are all compacted."""
    wire.execute(
        "insert into store_drop (name, after_ms)"
        " select 'store_block_w' || w.win, %(after)s from unnest(%(windows)s::int[]) w (win)"
        " where (w.win + 1) * %(window)s::bigint <= (select floor_ms from store_state where id = 1)"
        " and not exists (select from store_block b left join store_mark m using (source_id)"
        "  where b.win = w.win and b.win >= coalesce(m.chunk_to, 0))"
        " on conflict do nothing",
        {
            "after": now_ms + grace_ms,
            "windows": [partition.low for partition in partitions.existing("store_block")],
            "window": WINDOW_MS,
        },
    )


def retain(now_ms: int, days: float, max_bytes: int | None = None) -> Dropped:
    """Drop days of samples past their time, then the oldest until the rest fits into `max_bytes`."""
    dropped = drop_before(now_ms - int(days * DAY_MS))
    if max_bytes is None:
        return dropped
    sizes = {partition: size for table in TIERS[:2] for partition, size in _sizes(table)}
    total = sum(sizes.values()) + sum(size for _, size in _sizes("store_block"))
    excess = []
    for partition in sorted(sizes, key=lambda each: each.low):
        if total <= max_bytes or partition.high * WINDOW_MS > now_ms - DAY_MS:
            break  # the running day and the one before stay whatever the limit says
        excess.append(partition)
        total -= sizes[partition]
    more = _drop_all(excess, sizes)
    return Dropped(
        dropped.partitions + more.partitions, dropped.rows, dropped.bytes + more.bytes, dropped.is_done and more.is_done
    )


def drop_before(at_ms: int) -> Dropped:
    """Remove all samples before a time, to the whole window (to the whole day where days are merged)."""
    window = at_ms // WINDOW_MS
    sizes = {partition: size for table in TIERS for partition, size in _sizes(table) if partition.low < window}
    dropped = _drop_all([partition for partition in sizes if partition.high <= window], sizes)
    rows = 0
    with transaction.atomic():
        if not wire.try_house_lock():
            return Dropped(dropped.partitions, 0, dropped.bytes, is_done=False)
        rows += wire.count_of("delete from store_row where at_ms < %s", [window * WINDOW_MS])
        if any(partition.high > window and partition.table != "store_day" for partition in sizes):
            rows += wire.count_of("delete from store_chunk where win < %s", [window])
            rows += wire.count_of("delete from store_block where win < %s", [window])
    return Dropped(dropped.partitions, rows, dropped.bytes, dropped.is_done)


def _drop_all(doomed: Iterable[Partition], sizes: dict[Partition, int]) -> Dropped:
    count = size = 0
    is_done = True
    for partition in doomed:
        with transaction.atomic():
            is_gone = wire.try_house_lock() and partitions.drop(partition)
            if is_gone:
                wire.execute("delete from store_drop where name = %s", [partition.name])
        is_done = is_done and is_gone
        count, size = count + is_gone, size + (sizes[partition] if is_gone else 0)
    return Dropped(count, 0, size, is_done)


def _sizes(table: str) -> list[tuple[Partition, int]]:
    found = partitions.existing(table)
    sizes = wire.execute(
        "select relname, pg_total_relation_size(oid) from pg_class where relname = any(%s)",
        [[partition.name for partition in found]],
    )
    by_name = dict(sizes)
    return [(partition, by_name[partition.name]) for partition in found if partition.name in by_name]


def purge_keys(before_ms: int) -> Purged:
    """Forget the layouts last used before a time, and the keys and sources that only they named.

    Nobody appends meanwhile, and every process drops its caches of ids afterwards (a new generation).
    """
    try:
        with transaction.atomic():
            partitions.set_lock_timeout()
            wire.execute("select pg_advisory_xact_lock(%s)", [wire.APPEND_LOCK])
            if not wire.try_house_lock():
                return Purged(is_done=False)
            return _purge(before_ms - PURGE_SLACK_MS)
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") != "55P03":  # lock_not_available
            raise
        return Purged(is_done=False)


def _purge(before_ms: int) -> Purged:
    used = wire.count_of(
        "delete from store_source_layout s where last_ms < %s"
        " and not exists (select from store_row r where r.source_id = s.source_id and r.layout_id = s.layout_id)"
        " and not exists (select from store_block b where b.source_id = s.source_id and b.layout_id = s.layout_id)",
        [before_ms],
    )
    if not used:
        return Purged()
    layouts = wire.count_of(
        "delete from store_layout l where not exists (select from store_source_layout s where s.layout_id = l.id)"
    )
    kept = [np.frombuffer(bytes(keys), "<i4") for (keys,) in wire.execute("select keys from store_layout")]
    ids = np.unique(np.concatenate(kept)).tolist() if kept else []
    keys = wire.count_of(
        "delete from store_key k where not exists (select from unnest(%s::int[]) u (id) where u.id = k.id)", [ids]
    )
    sources = wire.count_of(
        "delete from store_source s where not exists (select from store_source_layout l where l.source_id = s.id)"
    )
    wire.execute("delete from store_mark m where not exists (select from store_source s where s.id = m.source_id)")
    wire.execute("update store_state set generation = (random() * 4611686018427387903)::bigint where id = 1")
    return Purged(keys, layouts, sources)


def forget_restored_ids() -> int:
    """After a restore into another cluster, transaction numbers in `created` may lie ahead; set them back to "old"."""
    changed = 0
    for table in ("store_source", "store_key", "store_layout", "store_source_layout", "store_row"):
        changed += wire.count_of(
            f"update {table} set created = '3' where created >= pg_snapshot_xmax(pg_current_snapshot())"  # noqa: S608
            " and created > coalesce(pg_current_xact_id_if_assigned(), '0')"
        )
    return changed
