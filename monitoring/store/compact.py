"""Blocks become chunks: two hours of one source, one compressed row a series.

Nothing changes in a window once it is below the floor: the floor moves first, alone, and every append after that
refuses older samples. So compaction may take its time, source by source, and be killed at any point.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from django.conf import settings
from django.db import OperationalError, transaction

from ..promql.values import Floats, Ints
from . import partitions, wire
from .catalog import Ids
from .codec import pack_rows, pack_times, unpack_times
from .matrix import Piece, assemble
from .pivot import pivot_before
from .records import ABSENT, STALE, WINDOW_MS
from .tiers import TIMES_KEY

#: Samples may arrive this long after the end of their window: a host bridges a broker that is away for 15 minutes.
OUT_OF_ORDER_MS = 1_200_000

STORED_BLOCK = wire.Fields("qii", 2)
CHUNK = wire.Fields("iii", 1)


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: source windows turned into chunks, samples in them, and whether anything is left.

    ``rows``: late rows that had to be turned into blocks first.
    """

    windows: int = 0
    samples: int = 0
    is_done: bool = True
    rows: int = 0


def out_of_order_ms() -> int:
    """Return how late samples may be, in ms (setting STORE_OUT_OF_ORDER_SECONDS)."""
    return int(getattr(settings, "STORE_OUT_OF_ORDER_SECONDS", OUT_OF_ORDER_MS // 1000)) * 1000


def due_window(now_ms: int) -> int:
    """Return the first window that may still change; all before it are ready for compaction."""
    return (now_ms - out_of_order_ms()) // WINDOW_MS


def move_floor(to_ms: int) -> bool:
    """Refuse all samples before a time from now on; False when an open append keeps us from it at the moment."""
    try:
        with transaction.atomic():
            partitions.set_lock_timeout()
            wire.execute("select pg_advisory_xact_lock(%s)", [wire.APPEND_LOCK])
            wire.execute(
                "insert into store_state (id, floor_ms, generation) values (1, %s, %s)"
                " on conflict (id) do update set floor_ms = greatest(store_state.floor_ms, excluded.floor_ms)",
                [to_ms, secrets.randbits(62)],
            )
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") != "55P03":  # lock_not_available
            raise
        return False
    return True


def compact(now_ms: int, max_windows: int | None = None) -> Compacted:
    """Turn every finished window into chunks; may be stopped after some source windows and goes on where it was."""
    until = due_window(now_ms)
    is_closed = wire.execute("select 1 from store_state where floor_ms >= %s", [until * WINDOW_MS])
    if not is_closed and not move_floor(until * WINDOW_MS):
        return Compacted(is_done=False)
    rows = pivot_before(until * WINDOW_MS)
    if wire.execute("select 1 from store_row where at_ms < %s limit 1", [until * WINDOW_MS]):
        return Compacted(is_done=False, rows=rows)
    windows = samples = 0
    for window, source_id in _due(until):
        if max_windows is not None and windows >= max_windows:
            return Compacted(windows, samples, is_done=False, rows=rows)
        done = compact_source(source_id, window)
        if done is None:
            return Compacted(windows, samples, is_done=False, rows=rows)
        windows, samples = windows + 1, samples + done
    return Compacted(windows, samples, rows=rows)


def _due(until: int) -> list[tuple[int, int]]:
    return [
        (window, source_id)
        for window, source_id in wire.execute(
            "select distinct b.win, b.source_id from store_block b left join store_mark m using (source_id)"
            " where b.win < %s and b.win >= coalesce(m.chunk_to, 0) order by 1, 2",
            [until],
        )
    ]


def compact_source(source_id: int, window: int) -> int | None:
    """Turn one window of one source into chunks; return its samples, None when another process keeps house."""
    with transaction.atomic():
        if not wire.try_house_lock():
            return None
        wire.execute("insert into store_mark (source_id) values (%s) on conflict do nothing", [source_id])
        mark = wire.execute("select chunk_to from store_mark where source_id = %s for update", [source_id])
        if mark[0][0] > window:
            return 0
        fill = fill_of(source_id)
        ids, ts, values = read_window(source_id, window, fill)
        if len(ts):
            partitions.ensure("store_chunk", window)
            wire.copy_in("store_chunk", packed_rows(source_id, window, ids, ts, values, fill))
        wire.execute("update store_mark set chunk_to = %s where source_id = %s", [window + 1, source_id])
        return int(values.size)


def compact_source_until(source_id: int, window: int) -> None:
    """Turn every window of a source up to this one into chunks, in order: the mark hides all blocks below it.

    Expects a transaction that holds the house lock and a floor above the window.
    """
    rows = wire.execute(
        "select distinct b.win from store_block b left join store_mark m using (source_id)"
        " where b.source_id = %s and b.win <= %s and b.win >= coalesce(m.chunk_to, 0) order by 1",
        [source_id, window],
    )
    for (due,) in rows:
        compact_source(source_id, due)


def fill_of(source_id: int) -> float:
    """Return what a missing value of a source means."""
    rows = wire.execute("select is_partial from store_source where id = %s", [source_id])
    return ABSENT if rows and rows[0][0] else STALE


def read_window(source_id: int, window: int, fill: float) -> tuple[Ids, Ints, Floats]:
    """Return key ids (ascending), times and values (keys, times) of one window of blocks."""
    data = wire.copy_out(
        "select first_ms, layout_id, n, ts, v from store_block where source_id = %s and win = %s order by created",
        [source_id, window],
    )
    blocks = list(STORED_BLOCK.unpack(data))
    layouts = load_layouts({layout_id for _, layout_id, *_ in blocks})
    ids = np.unique(np.concatenate(list(layouts.values()))) if layouts else np.empty(0, np.int32)
    pieces = []
    for _, layout_id, count, times, part in blocks:
        piece = Piece(unpack_times(times))
        if len(part):
            piece.lines = np.searchsorted(ids, layouts[layout_id])
            piece.values = np.frombuffer(part, "<f8").reshape(-1, count)
        pieces.append(piece)
    return ids, *assemble(pieces, len(ids), fill)


def load_layouts(layout_ids: set[int]) -> dict[int, Ids]:
    """Return the key ids of layouts, in slot order."""
    rows = wire.execute("select id, keys from store_layout where id = any(%s)", [list(layout_ids)])
    return {layout_id: np.frombuffer(bytes(keys), "<i4") for layout_id, keys in rows}


def packed_rows(source_id: int, window: int, ids: Ids, ts: Ints, values: Floats, fill: float) -> Iterable[bytes]:
    """Yield the rows of one source and window for a compressed tier: the times first, then each series."""
    crc = needs_crc()
    yield CHUNK.pack((source_id, TIMES_KEY, window), pack_times(ts, crc))
    for key_id, packed in zip(ids.tolist(), pack_rows(values, fill, crc), strict=True):
        if packed is not None:
            yield CHUNK.pack((source_id, key_id, window), packed)


def needs_crc() -> bool:
    """Tell whether chunks carry their own checksum: where Postgres keeps none for its pages, or by setting."""
    wanted: Any = getattr(settings, "STORE_CHUNK_CHECKSUMS", None)
    return not _has_page_checksums() if wanted is None else bool(wanted)


@lru_cache(maxsize=1)
def _has_page_checksums() -> bool:
    return bool(wire.execute("select current_setting('data_checksums')")[0][0] == "on")
