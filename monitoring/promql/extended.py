"""smoothed and anchored: windows that reach past their ends instead of extrapolating (Prometheus, PROM-52).

anchored takes the last sample at or before the window's start as the value there; smoothed draws a line between the
samples on either side of each end. Both look as far out as the lookback.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rates import between, falls_of
from .values import Bools, Floats, Ints
from .windows import Windows


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """Where the extended windows begin and end: sample indices as Frame.search shapes them, and the window times."""

    first: Ints
    last: Ints
    start_ms: Ints
    end_ms: Ints
    ok: Bools


def _ends(windows: Windows, lookback_ms: int, smooth: bool) -> _Ends:
    frame = windows.frame
    start, end = windows.ends - windows.range_ms, windows.ends
    lo = frame.search(start - lookback_ms, "right")
    hi = frame.search(end + lookback_ms if smooth else end, "right")
    first = np.maximum(lo, frame.search(start, "right") - 1)
    last = hi - 1
    if smooth:
        last = np.minimum(last, frame.search(end, "left"))
    ok = (hi > lo) & (frame.times(last) > start)
    return _Ends(first, last, start, end, ok)


def _line(windows: Windows, index: Ints, at_ms: Ints, counter: bool, left_edge: bool) -> Floats:
    """Return the value at ``at_ms`` on the line from the sample at ``index`` to the next.

    Where a counter falls in between, its fall is taken to happen at once: from zero, or on top of the old value.
    """
    frame = windows.frame
    before, after = frame.at(index), frame.at(index + 1)
    from_ms, to_ms = frame.times(index), frame.times(index + 1)
    with np.errstate(all="ignore"):
        if counter:
            fell = after < before
            if left_edge:
                before = np.where(fell, 0.0, before)
            else:
                after = np.where(fell, after + before, after)
        return np.asarray(before + (after - before) * (at_ms - from_ms) / (to_ms - from_ms))


def difference(windows: Windows, lookback_ms: int, smooth: bool, counter: bool, rate: bool) -> tuple[Floats, Bools]:
    """Return delta, increase or rate between the window's two ends (functions.go extendedRate)."""
    ends, frame = _ends(windows, lookback_ms, smooth), windows.frame
    left, right = frame.at(ends.first), frame.at(ends.last)
    inner_last = ends.last
    if smooth:
        outside = frame.times(ends.first) < ends.start_ms
        left = np.where(outside, _line(windows, ends.first, ends.start_ms, counter, left_edge=True), left)
        beyond = (frame.times(ends.last) > ends.end_ms) & (ends.last > 0)
        right = np.where(beyond, _line(windows, ends.last - 1, ends.end_ms, counter, left_edge=False), right)
        inner_last = np.where(beyond, ends.last - 1, ends.last)
    with np.errstate(all="ignore"):
        result = right - left
        if counter:
            result = result + _lost(windows, ends, inner_last, left, right, smooth)
        if rate:
            result = result / (windows.range_ms / 1000.0)
    return result, np.broadcast_to(ends.ok, result.shape)


def _lost(windows: Windows, ends: _Ends, inner_last: Ints, left: Floats, right: Floats, smooth: bool) -> Floats:
    """Return what a counter lost to resets between the two ends."""
    frame = windows.frame
    lost = falls_of(frame.values)
    inner_first = ends.first
    if not smooth:
        return between(lost, inner_first, inner_last + 1)
    # The sample before the start stands for the drawn value; the first sample inside is compared with that.
    outside = frame.times(ends.first) < ends.start_ms
    inner_first = np.where(outside, ends.first + 1, ends.first)
    has_inside = inner_first <= inner_last
    inside = np.where(has_inside, between(lost, inner_first, np.maximum(inner_last, inner_first) + 1), 0.0)
    first_inside, last_inside = frame.at(inner_first), frame.at(inner_last)
    at_start = np.where(has_inside & (first_inside < left), left, 0.0)
    at_end = np.where(has_inside & (right < last_inside), last_inside, 0.0)
    neither = np.where(~has_inside & (right < left), left, 0.0)
    return inside + at_start + at_end + neither


def counted(windows: Windows, lookback_ms: int, resets: bool) -> tuple[Floats, Bools]:
    """Return changes or resets of an anchored window, the step from the anchor included."""
    ends, values = _ends(windows, lookback_ms, smooth=False), windows.frame.values
    marks = np.zeros(values.shape)
    if values.shape[1] > 1:
        before, after = values[:, :-1], values[:, 1:]
        if resets:
            marks[:, 1:] = after < before
        else:
            marks[:, 1:] = (after != before) & ~(np.isnan(after) & np.isnan(before))
    result = between(marks, ends.first, ends.last + 1)
    return result, np.broadcast_to(ends.ok, result.shape)


def at_instant(windows: Windows, lookback_ms: int) -> tuple[Floats, Bools]:
    """Return the smoothed value at each time: on the line between the samples around it, else the last one."""
    frame, times = windows.frame, windows.ends
    lo = frame.search(times - lookback_ms, "right")
    here = frame.search(times, "right") - 1
    after = frame.search(times, "left")
    top = frame.search(times + lookback_ms, "right") - 1
    known = here >= lo
    exact = known & (frame.times(here) == times)
    has_after = after <= top
    value = np.where(
        exact | ~has_after, frame.at(here), _line(windows, np.maximum(here, 0), times, counter=False, left_edge=True)
    )
    value = np.where(known, value, frame.at(after))
    ok = known | (has_after & False)
    return value, np.broadcast_to(ok, value.shape)
