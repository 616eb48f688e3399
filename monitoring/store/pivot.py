"""Rows become blocks: five minutes of one source, turned so that a series stands together.

A reader then touches one row a source and five minutes instead of twenty. Rows are taken and blocks written in one
transaction; the rows taken are exactly those deleted, whatever arrives meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction

from . import partitions, wire
from .codec import pack_times
from .records import ABSENT, PIVOT_MS, STALE, WINDOW_MS

#: Rows taken into memory at a time.
BATCH_BYTES = 32 << 20
#: A slot of five minutes is turned this long after its end, when the last scrapes of it have arrived.
SETTLE_MS = 30_000

TAKEN = wire.Fields("iqi", 1)
BLOCK = wire.Fields("iiiqi", 2)
BLOCK_COLUMNS = "(source_id, win, layout_id, first_ms, n, ts, v)"


@dataclass(slots=True)
class _Batch:
    """Sources whose rows are turned together: a range of ids, and the bytes they hold."""

    low: int
    high: int
    size: int = 0


def pivot(now_ms: int) -> int:
    """Turn all rows of finished five-minute slots; return how many rows were turned."""
    return pivot_before((now_ms - SETTLE_MS) // PIVOT_MS * PIVOT_MS)


def pivot_before(end_ms: int) -> int:
    """Turn all rows before a time, in transactions of bounded size; return how many rows were turned."""
    return sum(_pivot_batch(batch, end_ms) for batch in _batches(end_ms))


def _batches(end_ms: int) -> list[_Batch]:
    rows = wire.execute(
        "select source_id, sum(octet_length(v)) from store_row where at_ms < %s group by 1 order by 1", [end_ms]
    )
    batches: list[_Batch] = []
    for source_id, size in rows:
        if not batches or batches[-1].size + size > BATCH_BYTES:
            batches.append(_Batch(source_id, source_id))
        batches[-1].high = source_id
        batches[-1].size += int(size)
    return batches


def _pivot_batch(batch: _Batch, end_ms: int) -> int:
    with transaction.atomic():
        if not wire.try_house_lock():
            return 0
        windows = wire.execute(
            "select distinct at_ms / %s from store_row where source_id between %s and %s and at_ms < %s",
            [WINDOW_MS, batch.low, batch.high, end_ms],
        )
        partitions.ensure("store_block", *[window for (window,) in windows])
        data = wire.copy_out(
            "delete from store_row where source_id between %s and %s and at_ms < %s"
            " returning source_id, at_ms, layout_id, v",
            [batch.low, batch.high, end_ms],
        )
        partial = {source for (source,) in wire.execute("select id from store_source where is_partial")}
        rows = sorted(TAKEN.unpack(data), key=lambda row: (row[0], row[2], row[1]))
        if rows:
            wire.copy_in(f"store_block {BLOCK_COLUMNS}", _turned(rows, partial))
            _note_ends(rows)
        return len(rows)


def _turned(rows: list[tuple[Any, ...]], partial: set[int]) -> Iterable[bytes]:
    """Yield the blocks of sorted (source, time, layout, values) rows."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or _slot(rows[end]) != _slot(rows[start]):
            yield _block(rows[start:end], ABSENT if rows[start][0] in partial else STALE)
            start = end


def _slot(row: tuple[Any, ...]) -> tuple[int, int, int]:
    return row[0], row[2], row[1] // PIVOT_MS


def _block(rows: list[tuple[Any, ...]], fill: float) -> bytes:
    source_id, first_ms, layout_id, _ = rows[0]
    width = max(len(row[3]) for row in rows)
    values = np.full((len(rows), width // 8), fill)
    for line, row in zip(values, rows, strict=True):
        if len(row[3]):  # no bytes: a source that was down
            line[:] = np.frombuffer(row[3], "<f8")
    times = pack_times(np.array([row[1] for row in rows], np.int64))
    head = source_id, first_ms // WINDOW_MS, layout_id, first_ms, len(rows)
    return BLOCK.pack(head, times, values.T.tobytes())


def _note_ends(rows: list[tuple[Any, ...]]) -> None:
    """Bring the ends of the layouts in use up to date; the label queries filter by them."""
    last = {(source_id, layout_id): at_ms for source_id, at_ms, layout_id, _ in rows}  # rows are in order of time
    wire.execute(
        "update store_source_layout s set last_ms = u.last_ms"
        " from unnest(%s::int[], %s::int[], %s::bigint[]) u (source_id, layout_id, last_ms)"
        " where s.source_id = u.source_id and s.layout_id = u.layout_id and s.last_ms < u.last_ms",
        [[source for source, _ in last], [layout for _, layout in last], list(last.values())],
    )
