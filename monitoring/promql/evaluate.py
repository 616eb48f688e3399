"""The two questions one can ask: what is it now, and what was it over a range."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from . import nodes as n
from .annotations import Annotations
from .errors import EvaluationError
from .evaluator import Evaluator, Shared, Value, as_vector
from .functions import FUNCTIONS_BY_NAME
from .limits import DEFAULT_LIMITS, Clock, Limits, Meter
from .plan import Bounds, plan
from .query import Query, parse
from .values import Floats, Ints, RawSeries, Result, Select, Stats
from .vectors import Vector
from .windows import RangeVector

#: Evaluation times must leave room for ranges and offsets in int64 milliseconds.
_FARTHEST_MS = 1 << 60


def instant(
    query: Query | str,
    at_ms: int,
    select: Select,
    limits: Limits = DEFAULT_LIMITS,
    clock: Clock = time.monotonic,
) -> Result:
    """Return the answer to a query at one time (ms since the epoch).

    Raises ParseError, EvaluationError or LimitError. ``clock`` is only for the time limit.
    """
    query = parse(query) if isinstance(query, str) else query
    return _guarded(lambda: _instant(query, _Run(query, at_ms, at_ms, 0, select, limits, clock)))


def range_(
    query: Query | str,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    select: Select,
    limits: Limits = DEFAULT_LIMITS,
    clock: Clock = time.monotonic,
) -> Result:
    """Return the answer to a query at every step from start_ms to end_ms, both included when the step meets the end.

    Raises ParseError, EvaluationError or LimitError.
    """
    query = parse(query) if isinstance(query, str) else query
    if query.type not in (n.SCALAR, n.VECTOR):
        kind = n.DOCUMENTED[query.type]
        raise EvaluationError(f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector')
    if step_ms <= 0:
        raise EvaluationError("zero or negative query resolution step widths are not accepted")
    if end_ms < start_ms:
        raise EvaluationError("end timestamp must not be before start time")
    return _guarded(lambda: _range(query, _Run(query, start_ms, end_ms, step_ms, select, limits, clock)))


def _guarded(run: Callable[[], Result]) -> Result:
    try:
        with np.errstate(all="ignore"):  # NaN and infinities are values here, not accidents
            return run()
    except RecursionError as error:
        raise EvaluationError("expression is nested too deeply") from error
    except MemoryError as error:
        raise EvaluationError("query needs more memory than there is; ask for less") from error


class _Run:
    """One evaluation: its steps and what its parts share."""

    def __init__(
        self, query: Query, start_ms: int, end_ms: int, step_ms: int, select: Select, limits: Limits, clock: Clock
    ) -> None:
        if max(abs(start_ms), abs(end_ms)) > _FARTHEST_MS:
            raise EvaluationError("time out of range")
        meter = Meter(limits, clock)
        steps = (end_ms - start_ms) // step_ms + 1 if step_ms else 1
        meter.steps(steps)
        self.at: Ints = start_ms + np.arange(steps, dtype=np.int64) * step_ms
        made = plan(query, Bounds(start_ms, end_ms, step_ms), meter)
        notes = Annotations(query.text)
        self.shared = Shared(made, select, meter, notes, step_ms == 0, made.merged(), FUNCTIONS_BY_NAME)
        self.evaluator = Evaluator(self.shared, self.at)

    def result(self, kind: str, vector: Vector, values: Floats | None = None) -> Result:
        """Return a result with everything but its strings and raw series."""
        shared = self.shared
        return Result(
            kind,
            list(vector.table.labels()),
            self.at,
            np.array(vector.values if values is None else values),  # a copy: storage may lie underneath
            np.array(vector.mask),
            warnings=shared.notes.warnings,
            infos=shared.notes.infos,
            stats=Stats(shared.meter.samples, shared.series, shared.meter.wall_seconds()),
        )


def _instant(query: Query, run: _Run) -> Result:
    nothing = Vector.empty(1)
    if query.type == n.MATRIX:
        result = run.result("matrix", nothing)
        result.raw = _raw(run.evaluator.ranges(query.root), run)
        result.labels = [series.labels for series in result.raw]
        result.stats = Stats(run.shared.meter.samples, run.shared.series, run.shared.meter.wall_seconds())
        result.warnings, result.infos = run.shared.notes.warnings, run.shared.notes.infos
        return result
    value = run.evaluator.value(query.root)
    if isinstance(value, str):
        result = run.result("string", nothing)
        result.string = value
        return result
    if not isinstance(value, Vector):
        return run.result("scalar", nothing, value)
    vector = value.live().cleaned()
    return run.result("vector", vector, vector.values[:, 0])


def _raw(ranges: RangeVector, run: _Run) -> list[RawSeries]:
    """Return the samples of every series in the window at the one step of an instant query, sorted by labels."""
    table = ranges.source.table
    out: list[RawSeries] = []
    starts = ranges.ends - ranges.range_ms
    for index, frame in ranges.source.frames:
        clean = frame.without_stale()
        lo, hi = clean.search(starts, "right"), clean.search(ranges.ends, "right")
        for row in range(len(clean.values)):
            line = 0 if clean.part is None else row
            window = slice(int(lo[line, 0]), int(hi[line, 0]))
            if window.stop > window.start:
                labels = table.row(row if index is None else int(index[row]))
                stamps = clean.ts[0 if clean.part is None else int(clean.part[row]), window]
                out.append(RawSeries(labels, stamps.copy(), clean.values[row, window].copy()))
    run.shared.meter.points(sum(len(series.ts) for series in out))
    return sorted(out, key=lambda series: series.labels.pairs)


def _range(query: Query, run: _Run) -> Result:
    value: Value = run.evaluator.value(query.root)
    vector = as_vector(value).live().cleaned()
    order = by_labels(vector)
    if order is not None:
        vector = vector.take(order)
    run.shared.meter.points(vector.values.size)
    return run.result("matrix", vector)


def by_labels(vector: Vector) -> Ints | None:
    """Return the rows of a vector in the order of their labels, None when they already are."""
    root = vector.table.root

    def ranks() -> Ints:
        order = sorted(range(len(root.rows)), key=lambda row: root.rows[row].pairs)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return places

    places = root.keep("ranks", ranks)
    if vector.table.index is not None:
        places = places[vector.table.index]
    if bool((places[1:] > places[:-1]).all()):
        return None
    return np.argsort(places, kind="stable")
