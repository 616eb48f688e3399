"""Sums, means, deviations and extremes over long windows without touching each window's samples again.

A sum over a window is the difference of two running sums. Its error is bounded by the running sums' size; where the
bound is not far below the result, the window is summed the slow way, as Prometheus does it (Neumaier).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import neumaier
from .values import Bools, Floats, Ints
from .windows import Windows, by_cells

#: Relative error allowed to a shortcut. Tests upstream compare to 1e-6; two engines should agree to 1e-9.
TOLERANCE = 1e-11
_EPSILON = 2.3e-16


def prefixed(values: Floats) -> Floats:
    """Return running sums with a leading zero: sum of [lo, hi) is out[hi] - out[lo]."""
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


def difference(windows: Windows, running: Floats) -> Floats:
    """Return the sum over each window from running sums as ``prefixed`` returns them."""
    return windows.frame.pick(running, windows.hi) - windows.frame.pick(running, windows.lo)


def _reached(windows: Windows) -> tuple[Floats, Windows]:
    """Return the part of the values that windows reach, and the windows counted from its start."""
    left, right = int(windows.lo.min(initial=0)), int(windows.hi.max(initial=0))
    frame = windows.frame
    if left == 0 and right >= frame.values.shape[1]:
        return frame.values, windows
    ts = frame.ts[:, left:right]
    inner = type(frame)(ts, frame.values[:, left:right], frame.part)
    return inner.values, replace(windows, frame=inner, lo=windows.lo - left, hi=windows.hi - left)


def sums(windows: Windows, want_mean: bool) -> tuple[Floats, Bools]:
    """Return sum or mean of each window."""
    values, windows = _reached(windows)
    count, ok = windows.count, windows.count > 0
    if not values.size:
        return np.zeros(windows.lo.shape), np.broadcast_to(ok, windows.lo.shape)
    finite = np.isfinite(values).all()
    clean = values if finite else np.where(np.isfinite(values), values, 0.0)
    # Measured from the row's first value a constant series sums exactly, and a level does not drown its changes.
    shift = clean[:, :1]
    with np.errstate(all="ignore"):
        running = prefixed(clean - shift)
        part = difference(windows, running)
        error = _EPSILON * values.shape[1] * np.abs(running).max(axis=1, keepdims=True)
        whole = part + count * shift
        result = shift + part / np.maximum(count, 1) if want_mean else whole
        doubtful = ok & (count > 1) & ~((error <= TOLERANCE * np.abs(whole)) | (error == 0))
    if (count == 1).any():  # one sample is its own sum, to the last bit
        result = np.where(count == 1, windows.first, result)
    if not finite:
        special = _special(windows, values)
        doubtful = doubtful & (special == 0)
        result = np.where(special != 0, special, result)
    if doubtful.any():
        exactly = neumaier.means if want_mean else neumaier.sums
        by_cells(windows, doubtful, lambda v, real, times, at: (exactly(v, real),), (result,))
    return result, np.broadcast_to(ok, result.shape)


def _special(windows: Windows, values: Floats) -> Floats:
    """Return NaN or an infinity where a window's sum is one, 0 elsewhere."""
    rises = difference(windows, prefixed((values == np.inf).astype(np.float64))) > 0
    falls = difference(windows, prefixed((values == -np.inf).astype(np.float64))) > 0
    nans = difference(windows, prefixed(np.isnan(values).astype(np.float64))) > 0
    signed = np.where(rises, np.inf, np.where(falls, -np.inf, 0.0))
    return np.where(nans | (rises & falls), np.nan, signed)


def deviations(windows: Windows, root: bool) -> tuple[Floats, Bools]:
    """Return variance, or with ``root`` standard deviation, of each window (population, as upstream)."""
    values, windows = _reached(windows)
    count, ok = windows.count, windows.count > 0
    if not values.size:
        return np.zeros(windows.lo.shape), np.broadcast_to(ok, windows.lo.shape)
    finite = np.isfinite(values).all()
    clean = values if finite else np.where(np.isfinite(values), values, 0.0)
    with np.errstate(all="ignore"):
        middle = clean.mean(axis=1, keepdims=True)
        # Around a whole number the sums over whole numbers are exact, and equal windows have equal deviations.
        middle = np.where((clean == np.rint(clean)).all(axis=1, keepdims=True), np.rint(middle), middle)
        moved = clean - middle
        squares = prefixed(moved * moved)
        many = np.maximum(count, 1)
        square = difference(windows, squares)
        level = difference(windows, prefixed(moved))
        result = (many * square - level * level) / (many * many)
        error = _EPSILON * values.shape[1] * squares[:, -1:] / many
        doubtful = ok & ~((error <= TOLERANCE * result) | (squares[:, -1:] == 0))
    if doubtful.any():
        by_cells(windows, doubtful, _two_passes, (result,))
    if not finite:
        result = np.where(_special(windows, values) != 0, np.nan, result)
    result = np.where(count == 1, np.where(np.isfinite(result), 0.0, result), result)
    return np.sqrt(result) if root else result, np.broadcast_to(ok, result.shape)


def _two_passes(values: Floats, real: Bools, times: Ints, at: Ints) -> tuple[Floats]:
    with np.errstate(all="ignore"):
        shift = values[..., :1]
        moved = np.where(real, values - shift, 0.0)
        count = np.maximum(real.sum(axis=2), 1)
        moved -= np.where(real, moved.sum(axis=2)[..., None] / count[..., None], 0.0)
        return (np.asarray((moved * moved).sum(axis=2) / count),)


def extremes(windows: Windows, largest: bool) -> tuple[Floats, Bools]:
    """Return the smallest or largest value of each window, NaN only when all are.

    By doubling: level k holds the extreme of 2^k values from each place; a window is covered by two of them.
    """
    values, windows = _reached(windows)
    pick_of = np.fmax if largest else np.fmin
    count = windows.count
    shape = (len(values), windows.lo.shape[1])
    result = np.full(shape, np.nan)
    longest = int(count.max(initial=0))
    if not longest:
        return result, np.zeros(shape, np.bool_)
    levels = np.where(count > 0, np.frexp(np.maximum(count, 1))[1] - 1, -1)
    level = values
    for power in range(int(levels.max()) + 1):
        if power:
            half = 1 << (power - 1)
            level = pick_of(level[:, :-half], level[:, half:])
        here = levels == power
        if here.any():
            _cover(windows, level, 1 << power, here, pick_of, result)
    return result, np.broadcast_to(count > 0, shape)


def _cover(windows: Windows, level: Floats, width: int, here: Bools, pick_of: np.ufunc, result: Floats) -> None:
    pick = windows.frame.pick
    if windows.frame.part is None:
        columns = np.flatnonzero(here[0])
        left, right = windows.lo[:, columns], windows.hi[:, columns] - width
        covered = pick_of(pick(level, left), pick(level, right))
        if len(columns) == result.shape[1]:
            result[:] = covered
        else:
            result[:, columns] = covered
        return
    covered = pick_of(pick(level, windows.lo), pick(level, windows.hi - width))
    np.copyto(result, covered, where=here)
