"""Quantiles and fractions of classic histograms: series with an ``le`` label (Prometheus, promql/quantile.go)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import nodes as n
from .annotations import Annotations
from .errors import EvaluationError
from .evaluator import Evaluator, Value
from .labels import NAME, Labels
from .printer import number_text
from .tables import Table
from .values import Bools, Floats, Ints
from .vectors import Vector, stacked

_LE = frozenset(("le",))
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf|infinity|nan)\Z", re.IGNORECASE)
#: Counts that differ by less are taken as equal: rounding of a rate, not a fall (quantile.go smallDeltaTolerance).
_SMALL_DELTA = 1e-12

#: From bounds (buckets,) and cumulative counts (groups, buckets, steps) and step columns to (groups, steps).
Estimate = Callable[[Floats, Floats, Ints], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Histograms with the same bounds: ``rows`` (groups, buckets) of the vector, ``groups`` their labels without le."""

    bounds: Floats
    rows: Ints
    groups: Table


def _bound(text: str) -> float | None:
    return float(text) if _NUMBER.match(text) else None


def _layouts(vector: Vector, notes: Annotations, node: n.Node) -> list[_Layout]:
    """Return the histograms among the series by their bounds; warn of series without a usable bound."""
    texts = vector.table.column("le")
    known = {text: _bound(text) for text in set(texts)}
    if None in known.values():
        for name, text in dict.fromkeys(zip(vector.table.column(NAME), texts, strict=True)):
            if known[text] is None:
                notes.bad_bucket_label(name, text, node)
    rows = np.array([row for row, text in enumerate(texts) if known[text] is not None], np.int64)
    if not len(rows):
        return []
    bounds = np.array([known[texts[row]] for row in rows.tolist()], np.float64)
    bare = vector.table.without(_LE)
    ids = bare.ids[rows]
    order = np.lexsort((bounds, ids))
    rows, bounds, ids = rows[order], bounds[order], ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    ends = np.append(starts[1:], len(ids))
    alike: dict[bytes, list[int]] = {}
    for group, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        alike.setdefault(bounds[start:end].tobytes(), []).append(group)
    out = []
    for key, groups in alike.items():
        matrix = np.stack([rows[starts[group] : ends[group]] for group in groups])
        out.append(_Layout(np.frombuffer(key), matrix, bare.take(matrix[:, 0])))
    return out


def _estimated(vector: Vector, layouts: list[_Layout], estimate: Estimate) -> Vector:
    """Return one series per histogram."""
    steps = np.arange(vector.steps)
    out = []
    for layout in layouts:
        counts = vector.values[layout.rows]
        present = None if vector.present is None else vector.present[layout.rows]
        distinct = len(np.unique(layout.bounds)) == len(layout.bounds)
        drop = np.ones(len(layout.rows), np.bool_)
        if distinct and (present is None or present.all()):
            out.append(Vector(layout.groups, drop, estimate(layout.bounds, counts, steps)))
            continue
        mask = np.ones(counts.shape, np.bool_) if present is None else present
        values = np.stack([_ragged(layout.bounds, c, m, estimate) for c, m in zip(counts, mask, strict=True)])
        out.append(Vector(layout.groups, drop, values, np.asarray(mask.any(axis=1))))
    return stacked(out, vector.steps).live()


def _ragged(bounds: Floats, counts: Floats, mask: Bools, estimate: Estimate) -> Floats:
    """Return the estimate of one histogram whose set of buckets changes from step to step."""
    out = np.full(counts.shape[1], np.nan)
    patterns, which = np.unique(mask, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if not pattern.any():
            continue
        columns = np.flatnonzero(which.reshape(-1) == number)
        edges, place = np.unique(bounds[pattern], return_inverse=True)
        merged = np.zeros((len(edges), len(columns)))
        np.add.at(merged, place.reshape(-1), counts[pattern][:, columns])  # "1" and "1.0" are one bucket
        out[columns] = estimate(edges, merged[None], columns)[0]
    return out


def _monotonic(counts: Floats) -> tuple[Floats, Bools]:
    """Return counts that never fall, and for which histograms (groups,) a real fall was removed."""
    forced = np.zeros(len(counts), np.bool_)
    if not (np.diff(counts, axis=1) < 0).any() and not _has_small_steps(counts):
        return counts, forced
    out = counts.copy()
    before = out[:, 0]
    for bucket in range(1, out.shape[1]):
        now = out[:, bucket]
        near = _nearly_equal(before, now)
        fell = (now < before) & ~near
        forced |= fell.any(axis=1)
        out[:, bucket] = np.where(near | fell, before, now)
        before = out[:, bucket]
    return out, forced


def _nearly_equal(a: Floats, b: Floats) -> Bools:
    size = np.abs(a) + np.abs(b)
    close: Bools = (a != b) & (a != 0) & (b != 0) & (np.abs(a - b) / size < _SMALL_DELTA)
    return close


def _has_small_steps(counts: Floats) -> bool:
    return bool(_nearly_equal(counts[:, :-1], counts[:, 1:]).any())


def _bucket_quantile(q: Floats, bounds: Floats, counts: Floats) -> tuple[Floats, Bools]:
    """Return the quantile ``q`` (steps,) of each histogram, and which counts had to be forced to rise."""
    groups, buckets, steps = counts.shape
    forced = np.zeros(groups, np.bool_)
    with np.errstate(all="ignore"):
        if buckets < 2 or bounds[-1] != np.inf:
            result = np.full((groups, steps), np.nan)
        else:
            counts, forced = _monotonic(counts)
            result = _interpolated(q, bounds, counts)
        result = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))
        return np.where(np.isnan(q), np.nan, result), forced


def _interpolated(q: Floats, bounds: Floats, counts: Floats) -> Floats:
    observations = counts[:, -1]
    rank = q * observations
    bucket = (counts[:, :-1] < rank[:, None]).sum(axis=1)
    last = len(bounds) - 1
    below = np.maximum(bucket - 1, 0)
    start = np.where(bucket > 0, bounds[below], 0.0)
    under = np.where(bucket > 0, np.take_along_axis(counts, below[:, None], 1)[:, 0], 0.0)
    upto = np.take_along_axis(counts, bucket[:, None], 1)[:, 0]
    result = start + (bounds[bucket] - start) * ((rank - under) / (upto - under))
    if bounds[0] <= 0:
        result = np.where(bucket == 0, bounds[0], result)
    result = np.where(bucket == last, bounds[last - 1], result)
    return np.where((observations == 0) | np.isnan(rank), np.nan, result)


def _bucket_fraction(lower: Floats, upper: Floats, bounds: Floats, counts: Floats) -> Floats:
    """Return the fraction of observations between two bounds (steps,) for each histogram."""
    if bounds[-1] != np.inf:
        return np.full((counts.shape[0], counts.shape[2]), np.nan)
    with np.errstate(all="ignore"):
        total = counts[:, -1]
        result = (_rank(upper, bounds, counts) - _rank(lower, bounds, counts)) / total
        result = np.where(lower >= upper, 0.0, result)
        return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, result)


def _rank(value: Floats, bounds: Floats, counts: Floats) -> Floats:
    """Return how many observations lie below ``value`` (steps,), interpolated within its bucket."""
    total = counts[:, -1]
    bucket = np.searchsorted(bounds, value, "right")
    bucket = np.minimum(bucket, len(bounds) - 1)
    below = np.maximum(bucket - 1, 0)
    under = np.where(bucket > 0, np.take_along_axis(counts, np.broadcast_to(below, total.shape)[:, None], 1)[:, 0], 0.0)
    upto = np.take_along_axis(counts, np.broadcast_to(bucket, total.shape)[:, None], 1)[:, 0]
    # The first bucket begins at 0 when its bound is positive, else nowhere.
    start = np.where(bucket > 0, bounds[below], 0.0 if bounds[0] > 0 else -np.inf)
    inside = under + (upto - under) * (value - start) / (bounds[bucket] - start)
    result = np.where(np.isneginf(start), upto, inside)
    result = np.where(start >= value, under, result)
    result = np.where(np.isposinf(value), total, result)
    return np.where(result > total, total, result)


def _warn_of(q: Floats, node: n.Node, notes: Annotations) -> None:
    for value in np.unique(q[~((q >= 0) & (q <= 1))]):
        notes.invalid_quantile(float(value), node)


def _quantile_of(evaluator: Evaluator, vector: Vector, layouts: list[_Layout], q: Floats, node: n.Node) -> Vector:
    notes = evaluator.shared.notes
    forced_any = [False]

    def estimate(bounds: Floats, counts: Floats, columns: Ints) -> Floats:
        result, forced = _bucket_quantile(q[columns], bounds, counts)
        forced_any[0] |= bool(forced.any())
        return result

    result = _estimated(vector, layouts, estimate)
    if forced_any[0]:
        for name in dict.fromkeys(vector.table.column(NAME)):
            notes.forced_monotonicity(name, "", node)
    return result


def quantile(evaluator: Evaluator, call: n.Call) -> Value:
    """Evaluate histogram_quantile(q, buckets)."""
    q, vector = evaluator.scalar(call.args[0]), evaluator.vector(call.args[1])
    layouts = _layouts(vector, evaluator.shared.notes, call.args[1])
    _warn_of(q, call.args[0], evaluator.shared.notes)
    return _quantile_of(evaluator, vector, layouts, q, call.args[1])


def quantiles(evaluator: Evaluator, call: n.Call) -> Value:
    """Evaluate histogram_quantiles(buckets, label, q, ...): each quantile with its q in the label."""
    vector, label = evaluator.vector(call.args[0]), evaluator.string(call.args[1])
    if not label:
        raise EvaluationError("invalid label name in histogram_quantiles()")
    layouts = _layouts(vector, evaluator.shared.notes, call.args[0])
    if any(layout.groups.row(group).get(label) for layout in layouts for group in range(len(layout.groups))):
        raise EvaluationError(f'label "{label}" of histogram_quantiles() is already a label of its argument')
    out: list[Vector] = []
    for arg in call.args[2:]:
        q = evaluator.scalar(arg)
        _warn_of(q, arg, evaluator.shared.notes)
        found = _quantile_of(evaluator, vector, layouts, q, call.args[0])
        evaluator.shared.meter.points(found.values.size * len(np.unique(q)))
        out.extend(_labelled(found, label, q))
    return stacked(out, evaluator.steps)


def _labelled(vector: Vector, label: str, q: Floats) -> list[Vector]:
    """Return the vector with the quantile in a label; a quantile that changes over time makes several series."""
    out = []
    for value in np.unique(q):
        steps = np.isnan(q) if np.isnan(value) else q == value
        rows: list[Labels] = [row.with_label(label, _open_metrics(float(value))) for row in vector.table.labels()]
        present = None if steps.all() else vector.mask & steps
        out.append(Vector(Table.of(rows), vector.drop, vector.values, vector.present if present is None else present))
    return out


def _open_metrics(value: float) -> str:
    """Return a float as OpenMetrics writes it: 1.0, 0.25, NaN (labels.FormatOpenMetricsFloat)."""
    text = number_text(value)
    return text if any(char in text for char in ".eNI") else text + ".0"


def fraction(evaluator: Evaluator, call: n.Call) -> Value:
    """Evaluate histogram_fraction(lower, upper, buckets)."""
    lower, upper = evaluator.scalar(call.args[0]), evaluator.scalar(call.args[1])
    vector = evaluator.vector(call.args[2])
    layouts = _layouts(vector, evaluator.shared.notes, call.args[2])
    return _estimated(
        vector,
        layouts,
        lambda bounds, counts, columns: _bucket_fraction(lower[columns], upper[columns], bounds, counts),
    )
