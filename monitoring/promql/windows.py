"""Range vectors: for each series and step the samples of a window, and the walk of a function over them.

Ranges are left-open, (t - range, t] (Prometheus 3). A window is never copied out as a whole: functions get the index
of its first sample and of the one past its last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .frames import Frame, Selection
from .limits import Meter
from .values import Bools, Floats, Ints
from .vectors import Vector


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The windows of one frame: samples ``lo`` to ``hi`` (exclusive), (1, steps) or (rows, steps) as in Frame.

    ``ends`` (steps,) are the window ends, ``at`` (steps,) the evaluation times (they differ by offset and @), both ms.
    """

    frame: Frame
    lo: Ints
    hi: Ints
    ends: Ints
    at: Ints
    range_ms: int
    meter: Meter

    @property
    def count(self) -> Ints:
        """How many samples each window holds."""
        return self.hi - self.lo

    @property
    def first(self) -> Floats:
        """The oldest value of each window; arbitrary where the window is empty."""
        return self.frame.at(self.lo)

    @property
    def last(self) -> Floats:
        """The newest value of each window; arbitrary where the window is empty."""
        return self.frame.at(self.hi - 1)

    @property
    def first_ms(self) -> Ints:
        """The time of the oldest sample, ms."""
        return self.frame.times(self.lo)

    @property
    def last_ms(self) -> Ints:
        """The time of the newest sample, ms."""
        return self.frame.times(self.hi - 1)


#: A function over windows: values and presence, each (rows, steps) or something that broadcasts to it.
Over = Callable[[Windows], tuple[Floats, Bools]]


@dataclass(frozen=True, slots=True, eq=False)
class RangeVector:
    """A range selector or subquery, not yet reduced by a function.

    ``invariant`` says that an @ fixes the windows: all steps are alike.
    """

    source: Selection
    drop: Bools
    ends: Ints
    at: Ints
    range_ms: int
    invariant: bool = False

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.ends)

    def reduce(self, over: Over, meter: Meter, keep_name: bool = False) -> Vector:
        """Return the vector of ``over`` applied to every window of every series."""
        rows, steps = len(self.source.table), self.steps
        meter.points(rows * steps)
        values, present = np.zeros((rows, steps)), np.zeros((rows, steps), np.bool_)
        for index, frame in self.source.frames:
            self._walk(frame, over, meter, values, present, index)
        drop = self.drop if keep_name else np.ones(rows, np.bool_)
        return Vector(self.source.table, drop, values, present).live()

    def _walk(self, frame: Frame, over: Over, meter: Meter, values: Floats, present: Bools, index: Ints | None) -> None:
        starts = self.ends - self.range_ms
        whole: tuple[Ints, Ints] | None = None
        if frame.shared:
            lo, hi = frame.search(starts, "right"), frame.search(self.ends, "right")
            whole = lo, hi
        for rows, chunk in frame.chunks(self.steps):
            meter.tick()
            clean = chunk.without_stale()
            if whole is not None and clean is chunk:
                lo, hi = whole
            else:
                lo, hi = clean.search(starts, "right"), clean.search(self.ends, "right")
            windows = Windows(clean, lo, hi, self.ends, self.at, self.range_ms, meter)
            target = rows if index is None else index[rows]
            values[target], present[target] = over(windows)

    def any_present(self) -> Bools:
        """Return at which steps (steps,) any series has a sample."""
        found = np.zeros(self.steps, np.bool_)
        starts = self.ends - self.range_ms
        for _, frame in self.source.frames:
            clean = frame.without_stale()
            lo, hi = clean.search(starts, "right"), clean.search(self.ends, "right")
            found |= (hi > lo).any(axis=0) & bool(len(clean.values))
        return found


def gathered(windows: Windows, rows: slice, columns: slice) -> tuple[Floats, Bools, Ints]:
    """Return some windows copied out: values (rows, steps, k), which of them are real, and their times in ms.

    k is the longest window. For the functions that need every sample, and for the cells where a shortcut fails.
    """
    frame = windows.frame
    lo, count = windows.lo[:, columns], windows.count[:, columns]
    if frame.part is not None:
        lo, count = lo[rows], count[rows]
    longest = int(count.max(initial=0))
    offsets = np.arange(longest)
    index = np.minimum(lo[..., None] + offsets, max(frame.values.shape[1] - 1, 0))
    real = offsets < count[..., None]
    if frame.part is None:
        values = frame.values[rows][:, index[0]]
        return values, np.broadcast_to(real, values.shape), np.broadcast_to(frame.ts[0][index], values.shape)
    flat = index.reshape(len(index), -1)
    values = np.take_along_axis(frame.values[rows], flat, 1).reshape(index.shape)
    times = frame.ts[frame.part[rows][:, None], flat].reshape(index.shape)
    return values, real, times


#: Cells a gathered window may hold at once (float64: 4 MB), whatever range and step were asked for.
_GATHER_CELLS = 524_288

#: Reduces gathered windows to (rows, steps): values, real, times in ms, and which steps they are.
Reduce = Callable[[Floats, Bools, Ints, slice], Floats]


def by_gathering(windows: Windows, reduce: Reduce) -> Floats:
    """Return ``reduce`` of the gathered windows, (rows, steps), a few rows and steps at a time."""
    rows, steps = len(windows.frame.values), windows.lo.shape[1]
    out = np.full((rows, steps), np.nan)
    longest = int(windows.count.max(initial=0))
    if not longest:
        return out
    wide = max(1, min(steps, _GATHER_CELLS // longest))
    many = max(1, _GATHER_CELLS // (wide * longest))
    for start in range(0, rows, many):
        for left in range(0, steps, wide):
            piece, columns = slice(start, min(start + many, rows)), slice(left, min(left + wide, steps))
            windows.meter.tick()
            values, real, times = gathered(windows, piece, columns)
            if values.shape[2]:
                out[piece, columns] = reduce(values, real, times, columns)
    return out


#: Reduces cells, each (1, k) of (cells, 1, k): values, real, times in ms, evaluation times (cells, 1) ms.
CellReduce = Callable[[Floats, Bools, Ints, Ints], tuple[Floats, ...]]


def by_cells(windows: Windows, chosen: Bools, reduce: CellReduce, results: tuple[Floats, ...]) -> None:
    """Replace the ``chosen`` cells of the results, all (rows, steps), by ``reduce`` of their windows copied out."""
    rows, steps = np.nonzero(np.broadcast_to(chosen, results[0].shape))
    frame = windows.frame
    lines = rows if frame.part is not None else np.zeros(len(rows), np.int64)
    lo, count = windows.lo[lines, steps], windows.count[lines, steps]
    many = max(1, _GATHER_CELLS // max(1, int(count.max(initial=1))))
    last = max(frame.values.shape[1] - 1, 0)
    for start in range(0, len(rows), many):
        piece = slice(start, start + many)
        windows.meter.tick()
        offsets = np.arange(int(count[piece].max(initial=0)))
        if not len(offsets):
            continue
        index = np.minimum(lo[piece, None] + offsets, last)
        real = (offsets < count[piece, None])[:, None, :]
        values = frame.values[rows[piece, None], index][:, None, :]
        part = 0 if frame.part is None else frame.part[rows[piece, None]]
        times = frame.ts[part, index][:, None, :]
        for result, cells in zip(results, reduce(values, real, times, windows.at[steps[piece], None]), strict=True):
            result[rows[piece], steps[piece]] = cells[:, 0]
