"""The questions to the store: samples of all tiers, and what label sets there are.

Data only moves downstream: row, block, chunk, day. Each tier is read by one statement, upstream first, so that a
sample that moves meanwhile is seen twice and never missed; doubles are dropped by time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import Labels
from ..promql.matchers import Matcher
from ..promql.values import Block, Floats, Ints
from . import tiers, wire
from .blocks import LabelRow, join
from .index import Bounds, Index, Picked, current
from .matrix import Piece, assemble
from .records import DAY_WINDOWS, WINDOW_MS
from .rows import NOTE_MS


def select(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
    """Return all series that satisfy the matchers with their samples in start_ms ≤ t ≤ end_ms (promql.Select)."""
    index, bounds = current()
    picked = index.select(tuple(matchers))
    if not picked or end_ms < start_ms:
        return []
    found = read(index, bounds, picked, start_ms, end_ms)
    return join(_matrix(pick, pieces, start_ms, end_ms) for pick, pieces in found)


def read(
    index: Index, bounds: Bounds, picked: list[Picked], start_ms: int, end_ms: int
) -> list[tuple[Picked, list[Piece]]]:
    """Return the pieces of all tiers for each picked source."""
    found = tiers.Found(index, picked)
    is_old = start_ms < bounds.floor_ms
    compacted_to = tiers.compacted_to(found) if is_old else 0
    if end_ms // WINDOW_MS >= compacted_to:
        tiers.read_rows(found, start_ms, end_ms)
        tiers.read_blocks(found, start_ms, end_ms, compacted_to)
    if is_old:
        low, high = start_ms // WINDOW_MS, min(end_ms, bounds.floor_ms) // WINDOW_MS
        tiers.read_chunks(found, "store_chunk", max(low, bounds.day_to), high)
        if low < bounds.day_to:
            tiers.read_chunks(found, "store_day", low // DAY_WINDOWS * DAY_WINDOWS, min(high, bounds.day_to))
    return [(pick, found.pieces[pick.source_id]) for pick in picked if found.pieces[pick.source_id]]


def _matrix(pick: Picked, pieces: list[Piece], start_ms: int, end_ms: int) -> tuple[LabelRow, Ints, Floats]:
    ts, values = assemble(pieces, len(pick.labels), pick.fill)
    inside = slice(int(np.searchsorted(ts, start_ms)), int(np.searchsorted(ts, end_ms, side="right")))
    return pick.labels, ts[inside], values[:, inside]


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
