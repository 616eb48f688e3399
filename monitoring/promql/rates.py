"""rate, increase, delta and their kin: differences over windows (Prometheus, promql/functions.go)."""

from __future__ import annotations

import numpy as np

from .values import Bools, Floats, Ints
from .windows import Windows


def extrapolated(windows: Windows, counter: bool, rate: bool) -> tuple[Floats, Bools]:
    """Return delta, increase or rate extrapolated to the ends of the window (functions.go extrapolatedRate).

    A counter's resets are added back and it is not extrapolated below zero. Needs two samples.
    """
    first, last = windows.first, windows.last
    first_ms, last_ms = windows.first_ms, windows.last_ms
    with np.errstate(all="ignore"):
        result = last - first
        if counter:
            result = _with_resets(windows, result)
        sampled = (last_ms - first_ms) / 1000.0
        average = sampled / np.maximum(windows.count - 1, 1)
        threshold = average * 1.1
        to_start = (first_ms - (windows.ends - windows.range_ms)) / 1000.0
        to_end = (windows.ends - last_ms) / 1000.0
        to_start = np.where(to_start >= threshold, average / 2, to_start)
        to_end = np.where(to_end >= threshold, average / 2, to_end)
        if counter:
            to_zero = sampled * (first / result)
            # NaN compares false: without a rise or with a negative start there is no zero to stop at.
            stops = (result > 0) & (first >= 0) & (to_zero < to_start)
            if stops.any():
                to_start = np.where(stops, to_zero, to_start)
        factor = (sampled + to_start + to_end) / sampled
        if rate:
            factor = factor / (windows.range_ms / 1000.0)
        return result * factor, windows.count >= 2


def _with_resets(windows: Windows, result: Floats) -> Floats:
    """Add to each difference the values at which the counter fell back."""
    frame = windows.frame
    left, right = int(windows.lo.min(initial=0)), int(windows.hi.max(initial=0))
    values = frame.values[:, left:right]
    if values.shape[1] < 2:
        return result
    rows = np.flatnonzero((values[:, 1:] < values[:, :-1]).any(axis=1))
    if not len(rows):
        return result
    lost = falls_of(values[rows])
    lo, hi = windows.lo - left, windows.hi - left
    if frame.part is not None:
        lo, hi = lo[rows], hi[rows]
    result = np.broadcast_to(result, (len(frame.values), windows.lo.shape[1])).copy()
    result[rows] += between(lost, lo, hi)
    return result


def falls_of(values: Floats) -> Floats:
    """Return (rows, n): at each sample the value lost when a counter fell to it, else 0."""
    lost = np.zeros(values.shape)
    before = values[:, :-1]
    np.copyto(lost[:, 1:], before, where=values[:, 1:] < before)
    return lost


def between(lost: Floats, lo: Ints, hi: Ints) -> Floats:
    """Return the sum of ``lost`` after the first and up to the last sample of each window."""
    last = lost.shape[1] - 1
    lo = np.broadcast_to(np.clip(lo, 0, last), (len(lost), lo.shape[1]))
    hi = np.broadcast_to(np.clip(hi - 1, 0, last), (len(lost), hi.shape[1]))
    if np.isfinite(lost).all():
        total = np.cumsum(lost, axis=1)
        return np.asarray(np.take_along_axis(total, hi, 1) - np.take_along_axis(total, lo, 1))
    # An infinite counter that falls: a running sum would carry the infinity into every later window.
    out = np.empty(lo.shape)
    for row in range(len(lost)):
        out[row] = [lost[row, a + 1 : b + 1].sum() for a, b in zip(lo[row].tolist(), hi[row].tolist(), strict=True)]
    return out


def instant_difference(windows: Windows, counter: bool) -> tuple[Floats, Bools]:
    """Return the difference of the last two samples (idelta), or with ``counter`` their rate (irate)."""
    frame = windows.frame
    before, last = frame.at(windows.hi - 2), windows.last
    elapsed = windows.last_ms - frame.times(windows.hi - 2)
    with np.errstate(all="ignore"):
        result = last - before
        if counter:
            result = np.where(last < before, last, result) / (elapsed / 1000.0)
    return result, (windows.count >= 2) & (elapsed != 0)


def counted(windows: Windows, resets: bool) -> tuple[Floats, Bools]:
    """Return how often values fell (resets) or changed; NaN after NaN is no change."""
    values = windows.frame.values
    marks = np.zeros(values.shape, np.int64)
    if values.shape[1] > 1:
        before, after = values[:, :-1], values[:, 1:]
        if resets:
            marks[:, 1:] = after < before
        else:
            marks[:, 1:] = (after != before) & ~(np.isnan(after) & np.isnan(before))
    total = np.cumsum(marks, axis=1).astype(np.float64)
    pick = windows.frame.pick
    return pick(total, windows.hi - 1) - pick(total, windows.lo), windows.count > 0
