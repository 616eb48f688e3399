"""Quantiles as Prometheus takes them (promql/quantile.go quantile): NaN sorts first, ranks are interpolated."""

from __future__ import annotations

import numpy as np

from .values import Bools, Floats, Ints
from .windows import Windows, by_gathering


def quantile(q: Floats, values: Floats, real: Bools | None) -> Floats:
    """Return the quantile along the last axis of ``values``, of those that are ``real`` (None: all).

    ``q`` broadcasts over the other axes. Below 0 it gives -Inf, above 1 +Inf, NaN gives NaN; a place between two
    values next to an infinity gives NaN, as upstream's arithmetic does.
    """
    count, ordered = _sorted(values, real)
    q = np.broadcast_to(q, ordered.shape[:-1])
    with np.errstate(all="ignore"):
        rank = q * (count - 1)
        usable = np.isfinite(rank)
        floor = np.where(usable, np.floor(rank), 0.0)
        last = ordered.shape[-1] - 1
        lower = np.clip(np.maximum(floor, 0.0), 0, last).astype(np.int64)
        upper = np.clip(np.minimum(count - 1, lower + 1), 0, last).astype(np.int64)
        weight = rank - floor
        low = np.take_along_axis(ordered, lower[..., None], -1)[..., 0]
        high = np.take_along_axis(ordered, upper[..., None], -1)[..., 0]
        result = low * (1 - weight) + high * weight
        result = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))
        return np.where(np.isnan(q) | (count == 0), np.nan, result)


def _sorted(values: Floats, real: Bools | None) -> tuple[Ints | int, Floats]:
    """Return how many values each line has, and the lines sorted with NaN first and unreal places last."""
    if real is None or real.all():
        count: Ints | int = values.shape[-1]
        ordered = values
    else:
        count = real.sum(axis=-1)
        ordered = np.where(real, values, np.inf)
    nans = np.isnan(ordered)
    if not nans.any():
        return count, np.sort(ordered, axis=-1)
    ordered = np.sort(np.where(nans, -np.inf, ordered), axis=-1)
    first = np.arange(values.shape[-1]) < nans.sum(axis=-1)[..., None]
    return count, np.where(first, np.nan, ordered)


def over_time(windows: Windows, q: Floats) -> tuple[Floats, Bools]:
    """Return the quantile ``q`` (steps,) of each window."""
    result = by_gathering(windows, lambda values, real, _, columns: quantile(q[columns], values, real))
    return result, np.broadcast_to(windows.count > 0, result.shape)


def median_deviations(windows: Windows) -> tuple[Floats, Bools]:
    """Return the median absolute deviation of each window."""
    half = np.array(0.5)

    def reduce(values: Floats, real: Bools, _: Ints, __: slice) -> Floats:
        with np.errstate(all="ignore"):
            return quantile(half, np.abs(values - quantile(half, values, real)[..., None]), real)

    result = by_gathering(windows, reduce)
    return result, np.broadcast_to(windows.count > 0, result.shape)


def extreme_times(windows: Windows, largest: bool) -> tuple[Floats, Bools]:
    """Return the time, in seconds, of the last largest or smallest sample of each window."""

    def reduce(values: Floats, real: Bools, times: Ints, _: slice) -> Floats:
        known = np.where(real, values, np.nan)
        extreme = (np.fmax if largest else np.fmin).reduce(known, axis=2)[..., None]
        hit = real & ((values == extreme) | np.isnan(extreme))
        last = values.shape[2] - 1 - np.argmax(hit[..., ::-1], axis=2)
        return np.asarray(np.take_along_axis(times, last[..., None], 2)[..., 0] / 1000.0)

    result = by_gathering(windows, reduce)
    return result, np.broadcast_to(windows.count > 0, result.shape)


def smoothed(windows: Windows, smoothing: Floats, trend: Floats) -> tuple[Floats, Bools]:
    """Return double exponential smoothing of each window (functions.go funcDoubleExponentialSmoothing)."""

    def reduce(values: Floats, real: Bools, _: Ints, columns: slice) -> Floats:
        sf, tf = smoothing[columns], trend[columns]
        if values.shape[2] < 2:
            return np.asarray(values[..., 0])
        with np.errstate(all="ignore"):
            before, level, slope = np.zeros(values.shape[:2]), values[..., 0], values[..., 1] - values[..., 0]
            for place in range(1, values.shape[2]):
                next_slope = slope if place == 1 else tf * (level - before) + (1 - tf) * slope
                next_level = sf * values[..., place] + (1 - sf) * (level + next_slope)
                known = real[..., place]
                before, level = np.where(known, level, before), np.where(known, next_level, level)
                slope = np.where(known, next_slope, slope)
        return level

    result = by_gathering(windows, reduce)
    return result, np.broadcast_to(windows.count >= 2, result.shape)
