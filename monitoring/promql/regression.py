"""deriv and predict_linear: least squares over windows, by running sums."""

from __future__ import annotations

import numpy as np

from .rolling import TOLERANCE, difference, prefixed
from .values import Bools, Floats, Ints
from .windows import Windows, by_gathering

_EPSILON = 2.3e-16


def linear(windows: Windows, ahead: Floats | None) -> tuple[Floats, Bools]:
    """Return the slope per second, or with ``ahead`` (steps,) seconds the value that far after the evaluation time.

    Prometheus, functions.go linearRegression: a constant window has slope 0 exactly (NaN when infinite).
    """
    slope, at_evaluation = _fit(windows)
    ok = np.broadcast_to(windows.count >= 2, slope.shape)
    if ahead is None:
        return slope, ok
    with np.errstate(all="ignore"):
        return slope * ahead + at_evaluation, ok


def _fit(windows: Windows) -> tuple[Floats, Floats]:
    """Return slope and value at the evaluation time."""
    frame = windows.frame
    if frame.part is not None or not frame.values.size or not np.isfinite(frame.values).all():
        return _gathered_fit(windows)
    values, count = frame.values, np.maximum(windows.count, 1)
    origin = int(frame.ts[0, 0])
    shift = values[:, :1]
    with np.errstate(all="ignore"):
        x = ((frame.ts - origin) / 1000.0)[0]
        x -= x.mean()
        y = values - shift

        products = prefixed(y * x)
        sum_x, sum_xx = (difference(windows, prefixed(line[None, :])) for line in (x, x * x))
        sum_y, sum_xy = difference(windows, prefixed(y)), difference(windows, products)
        covariance = sum_xy - sum_x * sum_y / count
        variance = sum_xx - sum_x * sum_x / count
        slope = covariance / variance
        middle_x = sum_x / count
        level = sum_y / count + shift
        to_evaluation = (windows.at - origin) / 1000.0 - ((frame.ts - origin) / 1000.0)[0].mean() - middle_x
        at_evaluation = level + slope * to_evaluation
        error = _EPSILON * (
            values.shape[1] * np.abs(products).max(axis=1, keepdims=True) + 4 * np.abs(sum_x * sum_y / count)
        )
        doubtful = ~((error <= TOLERANCE * 100 * np.abs(covariance)) | (error == 0))
    rows = np.flatnonzero((doubtful & (windows.count >= 2)).any(axis=1))
    if len(rows):
        piece = type(frame)(frame.ts, values[rows])
        exact = _gathered_fit(Windows(piece, windows.lo, windows.hi, windows.ends, windows.at, windows.range_ms))
        slope[rows], at_evaluation[rows] = exact
    return slope, at_evaluation


def _gathered_fit(windows: Windows) -> tuple[Floats, Floats]:
    slope = by_gathering(windows, lambda v, real, t, columns: _least_squares(v, real, t, windows.at[columns])[0])
    value = by_gathering(windows, lambda v, real, t, columns: _least_squares(v, real, t, windows.at[columns])[1])
    return slope, value


def _least_squares(values: Floats, real: Bools, times: Ints, at: Ints) -> tuple[Floats, Floats]:
    """Return slope and value at ``at`` (steps,), both (rows, steps)."""
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
    x = np.where(real, (times - at[:, None]) / 1000.0, 0.0)
    y = np.where(real, values, 0.0)
    sum_x, sum_y, sum_xy, sum_xx = (part.sum(axis=2) for part in (x, y, np.where(real, x * y, 0.0), x * x))
    slope = (sum_xy - sum_x * sum_y / count) / (sum_xx - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count
