"""A slow PromQL for range functions and simple aggregations, one window and one float at a time.

Written from the documentation's definitions, without numpy and without a line of the evaluator, to judge it.
Series are dictionaries from time (ms) to value; None stands for no answer.
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise

LOOKBACK_MS = 300_000
Series = dict[int, float]


def is_stale(value: float) -> bool:
    """Tell the stale marker from other NaN."""
    return struct.pack("<d", value) == struct.pack("<Q", 0x7FF0000000000002)


def newest(series: Series, at_ms: int) -> float | None:
    """Return what an instant selector sees."""
    times = [time for time in series if at_ms - LOOKBACK_MS < time <= at_ms]
    if not times or is_stale(series[max(times)]):
        return None
    return series[max(times)]


def window(series: Series, at_ms: int, range_ms: int) -> list[tuple[int, float]]:
    """Return what a range selector sees, oldest first."""
    return [(t, series[t]) for t in sorted(series) if at_ms - range_ms < t <= at_ms and not is_stale(series[t])]


def _extrapolated(points: list[tuple[int, float]], at_ms: int, range_ms: int, counter: bool) -> float | None:
    if len(points) < 2:
        return None
    (first_ms, first), (last_ms, last) = points[0], points[-1]
    result = last - first
    if counter:
        for (_, before), (_, after) in pairwise(points):
            if after < before:
                result += before
    sampled = (last_ms - first_ms) / 1000
    average = sampled / (len(points) - 1)
    to_start = (first_ms - (at_ms - range_ms)) / 1000
    to_end = (at_ms - last_ms) / 1000
    if to_start >= average * 1.1:
        to_start = average / 2
    if counter and result > 0 and first >= 0:
        to_start = min(to_start, sampled * (first / result))
    if to_end >= average * 1.1:
        to_end = average / 2
    return result * (sampled + to_start + to_end) / sampled


def _quantile(q: float, values: list[float]) -> float:
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] * (1 - (rank - low)) + ordered[high] * (rank - low)


def _slope(points: list[tuple[int, float]]) -> float:
    xs = [(t - points[0][0]) / 1000 for t, _ in points]
    ys = [v for _, v in points]
    mx, my = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - mx) ** 2 for x in xs)
    return math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / spread


def over_time(name: str, points: list[tuple[int, float]], at_ms: int, range_ms: int) -> float | None:
    """Return the answer of a range function over one window of finite values."""
    values = [value for _, value in points]
    if name in ("rate", "increase", "delta"):
        answer = _extrapolated(points, at_ms, range_ms, name != "delta")
        return answer / (range_ms / 1000) if name == "rate" and answer is not None else answer
    if not points or (name in ("deriv", "irate", "idelta") and len(points) < 2):
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    pairs = list(pairwise(values))
    if name == "deriv":
        return _slope(points)
    if name in ("irate", "idelta"):
        (before_ms, before), (last_ms, last) = points[-2:]
        if name == "idelta":
            return last - before
        return (last if last < before else last - before) / ((last_ms - before_ms) / 1000)
    simple = {
        "count": float(len(values)),
        "present": 1.0,
        "last": values[-1],
        "first": values[0],
        "sum": math.fsum(values),
        "avg": mean,
        "min": min(values),
        "max": max(values),
        "stddev": math.sqrt(variance),
        "stdvar": variance,
        "changes": float(sum(a != b for a, b in pairs)),
        "resets": float(sum(b < a for a, b in pairs)),
        "quantile": _quantile(0.7, values),
        "mad": _quantile(0.5, [abs(value - _quantile(0.5, values)) for value in values]),
        "ts_of_max": max(t for t, v in points if v == max(values)) / 1000,
    }
    return simple[name.removesuffix("_over_time")]
