"""Pieces of one source's samples, and how they become one dense matrix of series and times. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..promql.values import Floats, Ints
from .codec import Packed, unpack_lines

Lines = NDArray[np.intp]


@dataclass(slots=True, eq=False)
class Piece:
    """Samples at some times: dense values, packed series, or both.

    ``lines``: which lines of the matrix the rows of ``values`` are. ``packed``: (line, bytes) of compressed series.
    A line that is in neither has no sample at these times. ``rank``: of two samples at one time the lower one counts;
    what is further downstream was there first.
    """

    ts: Ints
    lines: Lines | None = None
    values: Floats | None = None
    packed: list[tuple[int, Packed]] = field(default_factory=list)
    rank: int = 0

    def write(self, out: Floats, fill: float) -> None:
        """Write the piece into its part of the matrix, (lines, times)."""
        if self.values is not None and self.lines is not None:
            out[self.lines] = self.values
        unpack_lines(self.packed, out, fill)


def assemble(pieces: Sequence[Piece], lines: int, fill: float) -> tuple[Ints, Floats]:
    """Return times (n,), strictly increasing, and values (lines, n); raises CorruptChunk.

    Of two samples of a series at one time the one of the lower rank counts, unless it is only ``fill``.
    """
    ordered = sorted((piece for piece in pieces if len(piece.ts)), key=lambda piece: int(piece.ts[0]))
    if not ordered:
        return np.empty(0, np.int64), np.empty((lines, 0))
    ts = np.concatenate([piece.ts for piece in ordered])
    values = np.full((lines, len(ts)), fill)
    position = 0
    for piece in ordered:
        piece.write(values[:, position : position + len(piece.ts)], fill)
        position += len(piece.ts)
    if (ts[1:] > ts[:-1]).all():
        return ts, values
    ranks = np.concatenate([np.full(len(piece.ts), piece.rank) for piece in ordered])
    return _merged(ts, values, np.lexsort((ranks, ts)), fill)


def _merged(ts: Ints, values: Floats, order: Lines, fill: float) -> tuple[Ints, Floats]:
    ts, values = ts[order], values[:, order]
    is_first = np.concatenate([[True], ts[1:] > ts[:-1]])
    group = np.cumsum(is_first) - 1
    merged = np.ascontiguousarray(values[:, is_first])
    bits, fill_bits = merged.view(np.int64), np.float64(fill).view(np.int64)
    for column in np.flatnonzero(~is_first).tolist():
        target = group[column]
        is_open = bits[:, target] == fill_bits
        merged[is_open, target] = values[is_open, column]
    return ts[is_first], merged
