"""Times that are stored already: told apart from new ones, and merged where a source sends its series in parts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from psycopg2 import Binary

from ..promql.values import Floats
from . import wire
from .catalog import Ids, Learnt
from .codec import unpack_times
from .matrix import Piece, assemble
from .records import ABSENT, HALF_MS, WINDOW_MS


def times_in_blocks(asked: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return those of the (source, time) pairs whose rows have been turned into blocks already."""
    by_source: dict[int, list[int]] = defaultdict(list)
    for source_id, at_ms in asked:
        by_source[source_id].append(at_ms)
    if not by_source:
        return set()
    first = min(min(times) for times in by_source.values())
    last = max(max(times) for times in by_source.values())
    rows = wire.execute(
        "select source_id, ts from store_block"
        " where source_id = any(%s) and win between %s and %s and first_ms between %s and %s",
        [list(by_source), first // WINDOW_MS, last // WINDOW_MS, first - HALF_MS, last],
    )
    stored = {(source_id, at_ms) for source_id, ts in rows for at_ms in unpack_times(ts).tolist()}
    return stored & {(source_id, at_ms) for source_id, times in by_source.items() for at_ms in times}


def merge_row(learnt: Learnt, source_id: int, at_ms: int, ids: Ids, values: Floats) -> tuple[int, int]:
    """Add samples to a stored row of a partial source; what is there stays. Return the layout and how many are new."""
    layout_id, stored, keys = wire.execute(
        "select r.layout_id, r.v, l.keys from store_row r join store_layout l on l.id = r.layout_id"
        " where r.source_id = %s and r.at_ms = %s for update of r",
        [source_id, at_ms],
    )[0]
    old_ids, old_values = np.frombuffer(bytes(keys), "<i4"), np.frombuffer(bytes(stored), "<f8")
    is_new = ~np.isin(ids, old_ids[old_values.view(np.int64) != np.float64(ABSENT).view(np.int64)])
    if not is_new.any():
        return layout_id, 0
    all_ids = np.union1d(old_ids, ids).astype(np.int32)
    ts = np.array([at_ms], np.int64)
    pieces = [
        Piece(ts, np.searchsorted(all_ids, old_ids), old_values[:, None], rank=0),
        Piece(ts, np.searchsorted(all_ids, ids), values[:, None], rank=1),
    ]
    _, merged = assemble(pieces, len(all_ids), ABSENT)
    found = hashlib.blake2b(all_ids.tobytes(), digest_size=16).digest()
    layout_id = learnt.layout_ids({found: all_ids})[found]
    wire.execute(
        "update store_row set layout_id = %s, v = %s, created = pg_current_xact_id()"
        " where source_id = %s and at_ms = %s",
        [layout_id, Binary(merged[:, 0].tobytes()), source_id, at_ms],
    )
    return layout_id, int(is_new.sum())
