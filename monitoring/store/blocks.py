"""From matrices of single sources to the blocks that PromQL reads.

Sources that are read at the same times become one block, series without a sample are left out, and the store's own
mark for absence never leaves. Label tuples stay the same objects from read to read: PromQL keeps its work on them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import Labels
from ..promql.values import STALE_BITS, Block, Floats, Ints
from .records import ABSENT_BITS

LabelRow = tuple[Labels, ...]
MAX_ROWS = 20_000
#: Above this size joining costs more (copying values) than it saves (work per block).
MAX_JOINED_VALUES = 20_000


class _LabelRows:
    """Joined and shortened label tuples, each made once; the parts are kept so that their ids stay theirs."""

    def __init__(self) -> None:
        self._rows: dict[object, tuple[object, LabelRow]] = {}
        self._lock = Lock()

    def join(self, parts: Sequence[LabelRow]) -> LabelRow:
        """Return several tuples as one; nothing when they have a label set in common."""
        return self._kept(tuple([id(part) for part in parts]), tuple(parts), lambda: _joined(parts))

    def some(self, row: LabelRow, is_wanted: NDArray[np.bool_]) -> LabelRow:
        """Return the labels of the wanted lines."""
        wanted = is_wanted.tolist()
        return self._kept(
            (id(row), is_wanted.tobytes()),
            row,
            lambda: tuple([labels for labels, keep in zip(row, wanted, strict=True) if keep]),
        )

    def _kept(self, key: object, parts: object, make: Callable[[], LabelRow]) -> LabelRow:
        known = self._rows.get(key)
        if known is None:
            with self._lock:
                if len(self._rows) > MAX_ROWS:
                    self._rows.clear()
                known = self._rows.setdefault(key, (parts, make()))
        return known[1]


def _joined(parts: Sequence[LabelRow]) -> LabelRow:
    row = tuple(itertools.chain.from_iterable(parts))
    return row if len(set(row)) == len(row) else ()


_label_rows = _LabelRows()


def join(matrices: Iterable[tuple[LabelRow, Ints, Floats]]) -> list[Block]:
    """Return blocks of the matrices (labels, times, values), those of equal times joined."""
    groups: dict[object, list[tuple[LabelRow, Ints, Floats]]] = {}
    for labels, ts, values in matrices:
        if len(ts):
            key: object = ts.tobytes() if values.size <= MAX_JOINED_VALUES else id(values)
            groups.setdefault(key, []).append((labels, ts, values))
    blocks: list[Block] = []
    for group in groups.values():
        joined = _label_rows.join([each[0] for each in group]) if len(group) > 1 else ()
        if joined:
            blocks += _tidy(joined, group[0][1], np.concatenate([each[2] for each in group]))
        else:  # alone, or two sources that send the same series
            for labels, ts, values in group:
                blocks += _tidy(labels, ts, values)
    return blocks


def _tidy(labels: LabelRow, ts: Ints, values: Floats) -> list[Block]:
    with np.errstate(all="ignore"):
        total = values.sum()
    if np.isfinite(total):  # one pass has shown that nothing is NaN: neither stale nor absent
        return [Block(labels, ts, values)]
    bits = values.view(np.uint64)
    is_sparse = (bits == ABSENT_BITS).any(axis=1)
    doubtful = np.flatnonzero(is_sparse | (bits[:, 0] == STALE_BITS))
    if not len(doubtful):
        return [Block(labels, ts, values)]
    is_empty = np.zeros(len(labels), bool)
    is_empty[doubtful] = ((bits[doubtful] == STALE_BITS) | (bits[doubtful] == ABSENT_BITS)).all(axis=1)
    # A marker alone is no reason to keep a line, except where it came from a partial source: there it was sent.
    is_empty &= ~is_sparse | (bits == ABSENT_BITS).all(axis=1)
    dense = ~is_empty & ~is_sparse
    blocks = []
    if dense.all():
        return [Block(labels, ts, values)]
    if dense.any():
        blocks.append(Block(_label_rows.some(labels, dense), ts, values[dense]))
    return blocks + _sparse(labels, ts, values, bits != ABSENT_BITS, is_sparse & ~is_empty)


def _sparse(
    labels: LabelRow, ts: Ints, values: Floats, is_there: NDArray[np.bool_], lines: NDArray[np.bool_]
) -> list[Block]:
    """Return lines with absent samples, one block for those that have samples at the same times."""
    patterns: dict[bytes, list[int]] = {}
    for line in np.flatnonzero(lines).tolist():
        patterns.setdefault(is_there[line].tobytes(), []).append(line)
    blocks = []
    for alike in patterns.values():
        wanted = np.zeros(len(labels), bool)
        wanted[alike] = True
        there = is_there[alike[0]]
        blocks.append(Block(_label_rows.some(labels, wanted), ts[there], values[alike][:, there]))
    return blocks
