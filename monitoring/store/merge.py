"""Twelve windows become one day: a row a series and day, a fifth fewer bytes, one row to read where there were twelve.

The partition of a day is filled beside its tier, source by source, and attached when it is complete; until then
readers use the chunks. A broken run leaves a table that the next one goes on filling.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from psycopg2 import sql

from ..promql.values import Floats, Ints
from . import partitions, wire
from .catalog import Ids
from .codec import Packed, unpack_times
from .compact import OUT_OF_ORDER_MS, fill_of, packed_rows
from .matrix import Piece, assemble
from .partitions import Partition
from .records import DAY_WINDOWS, WINDOW_MS
from .tiers import CHUNK, TIMES_KEY

#: A partition that has been superseded stays this long for readers that began before.
GRACE_MS = 600_000


@dataclass(frozen=True)
class Merged:
    """What a merge did: sources of days merged, samples in them, days that were finished, and whether any is left."""

    sources: int = 0
    samples: int = 0
    days: int = 0
    is_done: bool = True


def merge(now_ms: int, max_sources: int | None = None) -> Merged:
    """Merge every day that is compacted for all sources; may stop between two sources and goes on where it was."""
    sources = samples = days = 0
    for partition in days_due(now_ms):
        if not _prepare(partition):
            return Merged(sources, samples, days, is_done=False)
        for source_id in _missing(partition):
            if max_sources is not None and sources >= max_sources:
                return Merged(sources, samples, days, is_done=False)
            done = _merge_source(partition, source_id)
            if done is None:
                return Merged(sources, samples, days, is_done=False)
            sources, samples = sources + 1, samples + done
        if not _finish(partition, now_ms):
            return Merged(sources, samples, days, is_done=False)
        days += 1
    return Merged(sources, samples, days)


def days_due(now_ms: int) -> list[Partition]:
    """Return the days that are over, compacted everywhere and not merged yet, oldest first."""
    state = wire.execute("select floor_ms, day_to from store_state where id = 1")
    if not state:
        return []
    floor_ms, day_to = state[0]
    closed = min(floor_ms, now_ms - OUT_OF_ORDER_MS) // WINDOW_MS
    oldest_open = wire.execute(
        "select min(b.win) from store_block b left join store_mark m using (source_id)"
        " where b.win < %s and b.win >= coalesce(m.chunk_to, 0)",
        [closed],
    )[0][0]
    closed = closed if oldest_open is None else min(closed, oldest_open)
    return [
        partitions.partition_of("store_day", chunk.low)
        for chunk in partitions.existing("store_chunk")
        if day_to <= chunk.low and chunk.high <= closed
    ]


def _prepare(partition: Partition) -> bool:
    with transaction.atomic():
        if not wire.try_house_lock():
            return False
        partitions.build(partition)
        return True


def _missing(partition: Partition) -> list[int]:
    """Return the sources of a day that its partition does not hold yet."""
    query = sql.SQL(
        "select distinct c.source_id from store_chunk c where c.key_id = 0 and c.win >= {low} and c.win < {high}"
        " except select source_id from {name} where key_id = 0 order by 1"
    ).format(low=sql.Literal(partition.low), high=sql.Literal(partition.high), name=sql.Identifier(partition.name))
    return [source_id for (source_id,) in wire.execute_sql(query)]


def _merge_source(partition: Partition, source_id: int) -> int | None:
    with transaction.atomic():
        if not wire.try_house_lock():
            return None
        fill = fill_of(source_id)
        ids, ts, values = read_chunks_of(source_id, partition.low, partition.high, fill)
        wire.copy_in(partition.name, packed_rows(source_id, partition.low, ids, ts, values, fill))
        return int(values.size)


def read_chunks_of(
    source_id: int, low: int, high: int, fill: float, table: str = "store_chunk"
) -> tuple[Ids, Ints, Floats]:
    """Return key ids (ascending), times and values (keys, times) of one source's windows low ≤ win < high."""
    data = wire.copy_out(
        f"select source_id, key_id, win, d from {table}"  # noqa: S608  (a tier of ours)
        " where source_id = %s and win >= %s and win < %s order by win, key_id",
        [source_id, low, high],
    )
    packed: dict[int, list[tuple[int, Packed]]] = defaultdict(list)
    times: dict[int, Ints] = {}
    for _, key_id, window, payload in CHUNK.unpack(data):
        if key_id == TIMES_KEY:
            times[window] = unpack_times(payload)
        else:
            packed[window].append((key_id, payload))
    ids = np.unique([key_id for rows in packed.values() for key_id, _ in rows]).astype(np.int32)
    line = {key_id: position for position, key_id in enumerate(ids.tolist())}
    pieces = [
        Piece(times[window], packed=[(line[key_id], payload) for key_id, payload in packed[window]]) for window in times
    ]
    return ids, *assemble(pieces, len(ids), fill)


def _finish(partition: Partition, now_ms: int) -> bool:
    """Make a complete day part of its tier; from then on it is read in place of its chunks."""
    with transaction.atomic():
        if not wire.try_house_lock() or _missing(partition):
            return False
        partitions.attach(partition, fillfactor=100)
        wire.execute("update store_state set day_to = greatest(day_to, %s)", [partition.low + DAY_WINDOWS])
        plan_drop(partitions.partition_of("store_chunk", partition.low), now_ms + GRACE_MS)
        return True


def plan_drop(partition: Partition, after_ms: int) -> None:
    """Have a partition dropped after some time."""
    wire.execute(
        "insert into store_drop (name, after_ms) values (%s, %s) on conflict do nothing", [partition.name, after_ms]
    )
