"""Aggregations over groups of series (Prometheus, promql/engine.go aggregation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import neumaier, quantiles
from .errors import EvaluationError
from .labels import Labels
from .limits import Meter
from .printer import number_text
from .rolling import TOLERANCE
from .tables import Table
from .values import Bools, Floats, Ints
from .vectors import Vector

_EPSILON = 2.3e-16


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A vector sorted so that the series of a group stand together.

    ``starts`` and ``ends`` (groups,) bound each group's rows; ``order`` tells where rows stood in the input;
    ``count`` (groups, steps) is how many of a group's series have a value.
    """

    table: Table
    drop: Bools
    vector: Vector
    starts: Ints
    ends: Ints
    order: Ints | None
    count: Ints

    def fold(self, operation: np.ufunc, cells: Floats) -> Floats:
        """Return ``operation`` over the rows of each group, (groups, steps)."""
        if len(self.starts) == len(cells):
            return cells.copy()
        # reduceat walks columns one by one; over few and wide groups a reduction each is several times faster.
        if cells.shape[1] == 1 or len(self.starts) * 8 > len(cells):
            return np.asarray(operation.reduceat(cells, self.starts, axis=0))
        out = np.empty((len(self.starts), cells.shape[1]))
        for group, (start, end) in enumerate(zip(self.starts.tolist(), self.ends.tolist(), strict=True)):
            operation.reduce(cells[start:end], axis=0, out=out[group])
        return out

    def spread(self, values: Floats) -> Floats:
        """Return one row per series from one row per group."""
        return np.repeat(values, self.ends - self.starts, axis=0)

    def result(self, values: Floats) -> Vector:
        """Return the vector of the groups."""
        present = self.count > 0
        return Vector(self.table, self.drop, values, None if present.all() else present)


def grouped(vector: Vector, by: bool, names: tuple[str, ...]) -> Groups:
    """Return the vector's series by group; it must have at least one series."""
    ids, table = vector.table.groups(by, frozenset(names))
    rising = bool((ids[1:] >= ids[:-1]).all())
    order = None if rising else np.argsort(ids, kind="stable")
    ordered = vector if order is None else vector.take(order)
    sizes = np.bincount(ids, minlength=len(table))
    ends = np.cumsum(sizes)
    starts = ends - sizes
    drop = np.logical_or.reduceat(ordered.drop, starts)
    if ordered.present is None:
        count = np.broadcast_to(sizes[:, None], (len(table), vector.steps))
    else:
        count = np.add.reduceat(ordered.present, starts, axis=0, dtype=np.int64)
    return Groups(table, drop, ordered, starts, ends, order, count)


def reduced(op: str, groups: Groups) -> Vector:
    """Return sum, avg, min, max, count, group, stddev or stdvar of each group."""
    with np.errstate(all="ignore"):
        if op == "count":
            return groups.result(groups.count.astype(np.float64))
        if op == "group":
            return groups.result(np.ones(groups.count.shape))
        if op in ("sum", "avg"):
            return groups.result(_sums(groups, op == "avg"))
        if op in ("min", "max"):
            cells = groups.vector.values
            if groups.vector.present is not None:
                cells = np.where(groups.vector.present, cells, np.nan)
            return groups.result(groups.fold(np.fmin if op == "min" else np.fmax, cells))
        variance = _variances(groups)
        return groups.result(np.sqrt(variance) if op == "stddev" else variance)


def _cells(groups: Groups) -> Floats:
    """Return the values with 0 where there is none."""
    vector = groups.vector
    return vector.values if vector.present is None else np.where(vector.present, vector.values, 0.0)


def _sums(groups: Groups, want_mean: bool) -> Floats:
    cells = _cells(groups)
    plain = groups.fold(np.add, cells)
    result = plain / groups.count if want_mean else plain
    largest = int(groups.count.max(initial=0))
    # Sums of values of one sign cannot cancel: their relative error is at most count times epsilon.
    if largest * _EPSILON < TOLERANCE and cells.min(initial=0.0) >= 0:
        doubtful = np.isinf(plain)
    else:
        size = groups.fold(np.add, np.abs(cells))
        doubtful = ~(size * largest * _EPSILON <= TOLERANCE * np.abs(plain)) & (size > 0)
        doubtful |= np.isinf(size)
    exactly = neumaier.means if want_mean else neumaier.sums
    present = groups.vector.present
    chosen = doubtful & (groups.count > 0)
    for group in np.flatnonzero(chosen.any(axis=1)):
        rows, steps = slice(int(groups.starts[group]), int(groups.ends[group])), np.flatnonzero(chosen[group])
        columns = cells[rows, steps].T
        real = np.ones(columns.shape, np.bool_) if present is None else present[rows, steps].T
        result[group, steps] = exactly(columns, real)
    return result


def _variances(groups: Groups) -> Floats:
    cells, present = _cells(groups), groups.vector.present
    level = groups.fold(np.add, cells) / groups.count
    away = cells - groups.spread(level)
    if present is not None:
        away = np.where(present, away, 0.0)
    # The mean is rounded; what is left of it is taken out by the second term.
    rest = groups.fold(np.add, away) / groups.count
    variance = groups.fold(np.add, away * away) / groups.count - rest * rest
    known = cells if present is None else np.where(present, cells, np.nan)
    same = groups.fold(np.fmax, known) == groups.fold(np.fmin, known)
    return np.where(same & np.isfinite(variance), 0.0, np.where(variance < 0, 0.0, variance))


#: Cells of groups sorted at once (float64: 4 MB).
_SORTED_CELLS = 524_288


def quantile(groups: Groups, q: Floats) -> Vector:
    """Return the quantile ``q`` (steps,) of each group; groups of one size are sorted together."""
    vector, out = groups.vector, np.empty(groups.count.shape)
    sizes = groups.ends - groups.starts
    for size in np.unique(sizes).tolist():
        alike = np.flatnonzero(sizes == size)
        many = max(1, _SORTED_CELLS // max(1, size * vector.steps))
        for start in range(0, len(alike), many):
            piece = alike[start : start + many]
            rows = groups.starts[piece][:, None] + np.arange(size)
            values = np.ascontiguousarray(np.swapaxes(vector.values[rows], 1, 2))
            real = None if vector.present is None else np.swapaxes(vector.present[rows], 1, 2)
            out[piece] = quantiles.quantile(q, values, real)
    return groups.result(out)


def count_values(groups: Groups, label: str, keep_label: bool, meter: Meter) -> Vector:
    """Return how many series of each group have each value, the value in ``label`` (as Go's 'f' format writes it).

    ``keep_label`` is false when the grouping takes the label away again.
    """
    vector = groups.vector
    rows, steps = np.nonzero(vector.mask)
    values, which = np.unique(vector.values[rows, steps], return_inverse=True)
    group = np.repeat(np.arange(len(groups.table)), groups.ends - groups.starts)[rows]
    texts = [plain_number(float(value)) for value in values]
    seen: dict[Labels, int] = {}
    pairs, pair_of = np.unique(group * len(values) + which.reshape(-1), return_inverse=True)
    meter.points(len(pairs) * vector.steps)
    target = np.empty(len(pairs), np.int64)
    for place, pair in enumerate(pairs.tolist()):
        labels = groups.table.row(pair // len(values))
        if keep_label:
            labels = labels.with_label(label, texts[pair % len(values)])
        target[place] = seen.setdefault(labels, len(seen))
    cell = target[pair_of.reshape(-1)] * vector.steps + steps
    counts = np.bincount(cell, minlength=len(seen) * vector.steps).reshape(len(seen), vector.steps)
    table = Table.of(list(seen))
    return Vector(table, np.zeros(len(seen), np.bool_), counts.astype(np.float64), counts > 0).live()


def plain_number(value: float) -> str:
    """Return a number without exponent, as Go's strconv.FormatFloat(v, 'f', -1, 64)."""
    if not np.isfinite(value):
        return number_text(value)
    return np.format_float_positional(value, trim="-")


def whole_numbers(k: Floats) -> Ints | None:
    """Return the parameter of topk, bottomk or limitk as integers, None when no step wants any; raise on nonsense."""
    if np.isnan(k).any():
        raise EvaluationError("Parameter value is NaN")
    if len(k) and k.max() < 1:
        return None
    for value, word in ((k.min(initial=0), "under"), (k.max(initial=0), "over")):
        if abs(value) >= 2.0**63:
            raise EvaluationError(f"Scalar value {number_text(float(value))} {word}flows int64")
    return np.trunc(k).astype(np.int64)


def ranked(groups: Groups, k: Ints, largest: bool) -> Vector:
    """Return the ``k`` (steps,) largest or smallest series of each group, ordered by value in an instant query."""
    vector = groups.vector
    keep = np.zeros(vector.values.shape, np.bool_)
    ranking: list[int] = []
    for start, end in zip(groups.starts.tolist(), groups.ends.tolist(), strict=True):
        present = None if vector.present is None else vector.present[start:end]
        if vector.steps > 1 and end - start <= k.min():
            keep[start:end] = True if present is None else present
            continue
        order, chosen = _best(vector.values[start:end], present, np.minimum(k, end - start), largest)
        np.put_along_axis(keep[start:end], order, chosen, 0)
        if vector.steps == 1:
            ranking.extend((start + order[:, 0][chosen[:, 0]]).tolist())
    if vector.steps == 1:
        best = vector.take(np.array(ranking, np.int64))
        return Vector(best.table, best.drop, best.values)
    return vector.filtered(keep)


def _best(values: Floats, present: Bools | None, k: Ints, largest: bool) -> tuple[Ints, Bools]:
    """Return the best rows of every step in order, (at most k, steps), and which of them count.

    NaN ranks after every number; what is not present ranks last and never counts.
    """
    key = -values if largest else values
    missing = np.isnan(key)
    bad = missing if present is None else missing | ~present
    most = max(1, int(k.max(initial=1)))
    if not bad.any():
        order = _first(key, most)
        return order, np.arange(len(order))[:, None] < k[None, :]
    rank = missing.astype(np.int8)
    if present is not None:
        rank[~present] = 2
    order = np.lexsort((np.where(bad, 0.0, key), rank), axis=0)[:most]
    chosen = np.arange(len(order))[:, None] < k[None, :]
    if present is not None:
        chosen &= np.take_along_axis(present, order, 0)
    return order, chosen


def _first(key: Floats, most: int) -> Ints:
    """Return the rows of the ``most`` smallest keys of each column, in order, earlier rows first among equals."""
    if most * 4 >= len(key):
        return np.argsort(key, axis=0, kind="stable")[:most]
    lines = np.ascontiguousarray(key.T)
    threshold = np.partition(lines, most - 1, axis=1)[:, most - 1 : most]
    # Rows at or below the k-th key; where more tie at it, the earliest are kept by the stable sort.
    order = np.zeros((most, len(lines)), np.int64)
    for column, (line, bound) in enumerate(zip(lines, threshold, strict=True)):
        near = np.flatnonzero(line <= bound)
        order[:, column] = near[np.argsort(line[near], kind="stable")[:most]]
    return order


def limited(groups: Groups, k: Ints) -> Vector:
    """Return the first ``k`` (steps,) series of each group."""
    mask = groups.vector.mask
    keep = np.zeros(mask.shape, np.bool_)
    for start, end in zip(groups.starts, groups.ends, strict=True):
        part = mask[start:end]
        keep[start:end] = part & (np.cumsum(part, axis=0) <= k[None, :])
    return groups.vector.filtered(keep)
