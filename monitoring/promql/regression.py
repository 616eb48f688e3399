"""deriv and predict_linear: least squares over windows, by running sums."""

from __future__ import annotations

import numpy as np

from .frames import FAR
from .rolling import TOLERANCE, difference, prefixed
from .values import Bools, Floats, Ints
from .windows import Windows, by_cells

_EPSILON = 2.3e-16
#: Slopes compare to 1e-9; upstream's own sums are not exact beyond that.
_ALLOWED = 100 * TOLERANCE


def linear(windows: Windows, ahead: Floats | None) -> tuple[Floats, Bools]:
    """Return the slope per second, or with ``ahead`` (steps,) seconds the value that far after the evaluation time.

    Prometheus, functions.go linearRegression: a constant window has slope 0 exactly (NaN when infinite).
    """
    shape = (len(windows.frame.values), windows.lo.shape[1])
    if not windows.frame.values.size:
        return np.zeros(shape), np.zeros(shape, np.bool_)
    slope, at_evaluation = _fit(windows)
    ok = np.broadcast_to(windows.count >= 2, shape)
    if ahead is None:
        return slope, ok
    with np.errstate(all="ignore"):
        return slope * ahead + at_evaluation, ok


def _centred_times(windows: Windows) -> tuple[Floats, Floats, Bools]:
    """Return seconds from each line's middle, (1, n) or (rows, n), that middle in ms, and which places are real."""
    frame = windows.frame
    lines = frame.ts if frame.part is None else frame.ts[frame.part]
    real = lines != FAR
    times = np.where(real, lines, lines[:, :1])
    middle = times[:, :1] + (times - times[:, :1]).sum(axis=1, keepdims=True) / real.sum(axis=1, keepdims=True)
    return np.where(real, (times - middle) / 1000.0, 0.0), middle, real


def _fit(windows: Windows) -> tuple[Floats, Floats]:
    """Return slope and value at the evaluation time, by running sums of values and times around their means.

    The rounding errors of a running sum add up like a random walk; eight of its standard deviations are allowed for.
    Cells where that is not far below the covariance are computed from their own samples.
    """
    values, count = windows.frame.values, np.maximum(windows.count, 1)
    with np.errstate(all="ignore"):
        x, middle_ms, real = _centred_times(windows)
        finite = np.isfinite(values).all(axis=1, keepdims=True)
        clean = values if finite.all() else np.where(np.isfinite(values), values, 0.0)
        shift = np.where(real, clean, 0.0).sum(axis=1, keepdims=True) / real.sum(axis=1, keepdims=True)
        # A constant series is to come out exactly; its mean would be off by a rounding.
        shift = np.where(
            (np.where(real, clean, clean[:, :1]) == clean[:, :1]).all(1, keepdims=True), clean[:, :1], shift
        )
        y = np.where(real, clean - shift, 0.0)
        products = prefixed(x * y)
        sum_x, sum_y = difference(windows, prefixed(x)), difference(windows, prefixed(y))
        together = sum_x * sum_y / count
        covariance = difference(windows, products) - together
        slope = covariance / (difference(windows, prefixed(x * x)) - sum_x * sum_x / count)
        to_evaluation = (windows.at - middle_ms) / 1000.0 - sum_x / count
        at_evaluation = sum_y / count + shift + slope * to_evaluation
        walk = 8 * np.sqrt(values.shape[1]) * np.abs(products).max(axis=1, keepdims=True)
        error = _EPSILON * (walk + 4 * np.abs(together))
        doubtful = ~(error <= _ALLOWED * np.abs(covariance)) | ~finite
    chosen = doubtful & (windows.count >= 2)
    if chosen.any():
        by_cells(windows, chosen, _least_squares, (slope, at_evaluation))
    return slope, at_evaluation


def _least_squares(values: Floats, real: Bools, times: Ints, at: Ints) -> tuple[Floats, Floats]:
    """Return slope and value at ``at`` of gathered windows, both (cells, 1)."""
    with np.errstate(all="ignore"):
        count = np.maximum(real.sum(axis=2), 1)
        start = times[..., :1]
        first = values[..., :1]
        x = np.where(real, (times - start) / 1000.0, 0.0)
        y = np.where(real, values - first, 0.0)
        middle_x, middle_y = x.sum(axis=2) / count, y.sum(axis=2) / count
        dx = np.where(real, x - middle_x[..., None], 0.0)
        dy = np.where(real, y - middle_y[..., None], 0.0)
        slope = (dx * dy).sum(axis=2) / (dx * dx).sum(axis=2)
        level = middle_y + first[..., 0]
        value = level + slope * ((at - start[..., 0]) / 1000.0 - middle_x)
        plain = ~np.isfinite(np.where(real, values, 0.0)).all(axis=2)
        if plain.any():
            raw_slope, raw_value = _raw_sums(values, real, times, at)
            slope, value = np.where(plain, raw_slope, slope), np.where(plain, raw_value, value)
        same = (np.where(real, values, first) == first).all(axis=2)
        infinite = np.isinf(first[..., 0])
        slope = np.where(same, np.where(infinite, np.nan, 0.0), slope)
        value = np.where(same, np.where(infinite, np.nan, first[..., 0]), value)
        return slope, value


def _raw_sums(values: Floats, real: Bools, times: Ints, at: Ints) -> tuple[Floats, Floats]:
    """Return slope and value from uncentred sums, which is how upstream lets infinities and NaN through."""
    count = np.maximum(real.sum(axis=2), 1)
    x = np.where(real, (times - at[..., None]) / 1000.0, 0.0)
    y = np.where(real, values, 0.0)
    sum_x, sum_y, sum_xy, sum_xx = (part.sum(axis=2) for part in (x, y, np.where(real, x * y, 0.0), x * x))
    slope = (sum_xy - sum_x * sum_y / count) / (sum_xx - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count
