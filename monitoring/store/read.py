"""The questions to the store: samples of all tiers as one block a source, and what label sets there are.

Data only moves downstream: row, block, chunk, day. Each tier is read by one statement, upstream first, so that a
sample that moves meanwhile is seen twice and never missed; doubles are dropped by time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import Labels
from ..promql.matchers import Matcher
from ..promql.values import STALE_BITS, Block, Floats, Ints
from . import tiers, wire
from .index import Bounds, Index, Picked, current
from .matrix import Piece, assemble
from .records import ABSENT_BITS, WINDOW_MS
from .rows import NOTE_MS


def select(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
    """Return all series that satisfy the matchers with their samples in start_ms ≤ t ≤ end_ms (promql.Select)."""
    index, bounds = current()
    picked = index.select(tuple(matchers))
    if not picked or end_ms < start_ms:
        return []
    return [
        block
        for pick, pieces in read(index, bounds, picked, start_ms, end_ms)
        for block in _blocks(pick, pieces, start_ms, end_ms)
    ]


def read(
    index: Index, bounds: Bounds, picked: list[Picked], start_ms: int, end_ms: int
) -> list[tuple[Picked, list[Piece]]]:
    """Return the pieces of all tiers for each picked source."""
    found = tiers.Found(index, picked)
    is_old = start_ms < bounds.floor_ms
    tiers.read_rows(found, start_ms, end_ms)
    tiers.read_blocks(found, start_ms, end_ms, skip_compacted=is_old)
    if is_old:
        low, high = start_ms // WINDOW_MS, min(end_ms, bounds.floor_ms) // WINDOW_MS
        tiers.read_chunks(found, "store_chunk", max(low, bounds.day_to), high)
        if low < bounds.day_to:
            tiers.read_chunks(found, "store_day", low // 12 * 12, min(high, bounds.day_to))
    return [(pick, found.pieces[pick.source_id]) for pick in picked if found.pieces[pick.source_id]]


def _blocks(pick: Picked, pieces: list[Piece], start_ms: int, end_ms: int) -> list[Block]:
    ts, values = assemble(pieces, len(pick.labels), pick.fill)
    inside = slice(int(np.searchsorted(ts, start_ms)), int(np.searchsorted(ts, end_ms, side="right")))
    return tidy(pick.labels, ts[inside], values[:, inside])


def tidy(labels: tuple[Labels, ...], ts: Ints, values: Floats) -> list[Block]:
    """Return blocks without series that have no sample, and without the store's own mark for absence."""
    if not len(ts):
        return []
    bits = np.ascontiguousarray(values).view(np.uint64)
    values = bits.view(np.float64)
    doubtful = np.flatnonzero((bits[:, 0] == STALE_BITS) | (bits[:, 0] == ABSENT_BITS))
    is_empty = np.zeros(len(labels), bool)
    is_empty[doubtful] = ((bits[doubtful] == STALE_BITS) | (bits[doubtful] == ABSENT_BITS)).all(axis=1)
    is_absent = bits == ABSENT_BITS
    is_sparse = is_absent.any(axis=1)
    dense = np.flatnonzero(~is_empty & ~is_sparse)
    blocks = []
    if len(dense) == len(labels):
        return [Block(labels, ts, values)]
    if len(dense):
        blocks.append(Block(tuple([labels[line] for line in dense]), ts, values[dense]))
    patterns: dict[bytes, list[int]] = {}
    for line in np.flatnonzero(is_sparse & ~is_empty).tolist():
        patterns.setdefault(is_absent[line].tobytes(), []).append(line)
    for lines in patterns.values():
        there = ~is_absent[lines[0]]
        blocks.append(Block(tuple([labels[line] for line in lines]), ts[there], values[lines][:, there]))
    return blocks


def series(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
    """Return the label sets that satisfy the matchers and were sent in a time range (within half an hour), sorted."""
    index, _ = current()
    picked = _in_use(index, index.select(tuple(matchers)), start_ms, end_ms)
    return sorted({labels for _, rows in picked for labels in rows})


def label_names(matchers: Sequence[Matcher] = (), start_ms: int | None = None, end_ms: int | None = None) -> list[str]:
    """Return the sorted label names of the series that satisfy the matchers in a time range."""
    index, _ = current()
    picked = _in_use(index, index.select(tuple(matchers)), start_ms, end_ms)
    return sorted({name for _, rows in picked for labels in rows for name, _ in labels})


def label_values(
    name: str, matchers: Sequence[Matcher] = (), start_ms: int | None = None, end_ms: int | None = None
) -> list[str]:
    """Return the sorted values of one label among the series that satisfy the matchers in a time range."""
    index, _ = current()
    asked = (*matchers, Matcher("!=", name, ""))
    picked = _in_use(index, index.select(asked), start_ms, end_ms)
    return sorted({labels.get(name) for _, rows in picked for labels in rows})


def metric_names() -> list[str]:
    """Return the sorted names of all stored metrics."""
    index, _ = current()
    return sorted(index.all_names())


def _in_use(
    index: Index, picked: list[Picked], start_ms: int | None, end_ms: int | None
) -> list[tuple[int, tuple[Labels, ...]]]:
    if start_ms is None and end_ms is None:
        return [(pick.source_id, pick.labels) for pick in picked]
    used: dict[int, list[NDArray[np.int32]]] = {}
    rows = wire.execute(
        "select source_id, layout_id from store_source_layout"
        " where source_id = any(%s) and first_ms <= %s and last_ms >= %s",
        [
            [pick.source_id for pick in picked],
            end_ms if end_ms is not None else 1 << 62,
            (start_ms if start_ms is not None else 0) - NOTE_MS,
        ],
    )
    for source_id, layout_id in rows:
        if layout_id in index.layout_ids:
            used.setdefault(source_id, []).append(index.layout_ids[layout_id])
    found = []
    for pick in picked:
        if pick.source_id in used:
            there = np.isin(pick.key_ids, np.concatenate(used[pick.source_id]))
            rows_there = zip(pick.labels, there.tolist(), strict=True)
            found.append((pick.source_id, tuple([labels for labels, is_there in rows_there if is_there])))
    return found
