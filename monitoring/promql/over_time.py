"""The functions of range vectors, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import extended, nodes, quantiles, rates, regression, rolling
from .errors import EvaluationError
from .evaluator import Evaluator, Value
from .labels import NAME
from .query import LOOKBACK_MS
from .values import Bools, Floats
from .vectors import Vector
from .windows import Over, Windows

_Answer = tuple[Floats, Bools]


def _counted(windows: Windows) -> _Answer:
    return windows.count.astype(np.float64), windows.count > 0


def _present(windows: Windows) -> _Answer:
    return np.ones(windows.count.shape), windows.count > 0


def _last(windows: Windows) -> _Answer:
    return windows.last, windows.count > 0


def _first(windows: Windows) -> _Answer:
    return windows.first, windows.count > 0


#: Functions that need nothing but the windows.
PLAIN: dict[str, Over] = {
    "rate": lambda w: rates.extrapolated(w, counter=True, rate=True),
    "increase": lambda w: rates.extrapolated(w, counter=True, rate=False),
    "delta": lambda w: rates.extrapolated(w, counter=False, rate=False),
    "irate": lambda w: rates.instant_difference(w, counter=True),
    "idelta": lambda w: rates.instant_difference(w, counter=False),
    "changes": lambda w: rates.counted(w, resets=False),
    "resets": lambda w: rates.counted(w, resets=True),
    "deriv": lambda w: regression.linear(w, None),
    "count_over_time": _counted,
    "present_over_time": _present,
    "last_over_time": _last,
    "first_over_time": _first,
    "sum_over_time": lambda w: rolling.sums(w, want_mean=False),
    "avg_over_time": lambda w: rolling.sums(w, want_mean=True),
    "min_over_time": lambda w: rolling.extremes(w, largest=False),
    "max_over_time": lambda w: rolling.extremes(w, largest=True),
    "stddev_over_time": lambda w: rolling.deviations(w, root=True),
    "stdvar_over_time": lambda w: rolling.deviations(w, root=False),
    "mad_over_time": quantiles.median_deviations,
    "ts_of_first_over_time": lambda w: (w.first_ms / 1000.0, w.count > 0),
    "ts_of_last_over_time": lambda w: (w.last_ms / 1000.0, w.count > 0),
    "ts_of_min_over_time": lambda w: quantiles.extreme_times(w, largest=False),
    "ts_of_max_over_time": lambda w: quantiles.extreme_times(w, largest=True),
}
_KEEPS_NAME = frozenset(("last_over_time", "first_over_time"))
_COUNTERS = frozenset(("rate", "increase"))
_COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")


def _extended(func: str, mode: str) -> Over:
    """Return the smoothed or anchored form of a function."""
    if func in ("changes", "resets"):
        return lambda windows: extended.counted(windows, LOOKBACK_MS, func == "resets")
    smooth, counter, rate = mode == "smoothed", func != "delta", func == "rate"
    return lambda windows: extended.difference(windows, LOOKBACK_MS, smooth, counter, rate)


def _mode(node: nodes.Node) -> str:
    inner = nodes.strip_parens(node)
    return inner.vector.mode if isinstance(inner, nodes.MatrixSelector) else ""


def plain(evaluator: Evaluator, call: nodes.Call) -> Value:
    """Evaluate a function whose one argument is a range."""
    mode = _mode(call.args[0])
    over = _extended(call.func, mode) if mode else PLAIN[call.func]
    meter = evaluator.shared.meter
    vector = evaluator.ranges(call.args[0]).reduce(over, meter, keep_name=call.func in _KEEPS_NAME)
    if call.func in _COUNTERS:
        _remark_on_counters(evaluator, call, vector)
    return vector


def _remark_on_counters(evaluator: Evaluator, call: nodes.Call, vector: Vector) -> None:
    """Remark where what is rated does not look like a counter (engine.go, PossibleNonCounterInfo)."""
    notes = evaluator.shared.notes
    table = vector.table
    kinds = table.column("__type__")
    for name, kind in dict.fromkeys(zip(table.column(NAME), kinds, strict=True)):
        if kind:
            if kind not in ("counter", "histogram"):
                notes.not_counter_by_type(name, kind, call.args[0])
        elif name and not name.endswith(_COUNTER_ENDINGS):
            notes.possible_non_counter(name, call.args[0])


def predict_linear(evaluator: Evaluator, call: nodes.Call) -> Value:
    """Evaluate predict_linear(range, seconds)."""
    ahead = evaluator.scalar(call.args[1])
    return evaluator.ranges(call.args[0]).reduce(lambda w: regression.linear(w, ahead), evaluator.shared.meter)


def quantile_over_time(evaluator: Evaluator, call: nodes.Call) -> Value:
    """Evaluate quantile_over_time(q, range)."""
    q = evaluator.scalar(call.args[0])
    vector = evaluator.ranges(call.args[1]).reduce(lambda w: quantiles.over_time(w, q), evaluator.shared.meter)
    if len(vector):
        for value in np.unique(q[~((q >= 0) & (q <= 1))]):
            evaluator.shared.notes.invalid_quantile(float(value), call.args[0])
    return vector


def smoothing(evaluator: Evaluator, call: nodes.Call) -> Value:
    """Evaluate double_exponential_smoothing(range, smoothing factor, trend factor)."""
    factors = [evaluator.scalar(arg) for arg in call.args[1:]]
    for factor, name in zip(factors, ("smoothing", "trend"), strict=True):
        bad = factor[~((factor > 0) & (factor < 1))]
        if len(bad):
            raise EvaluationError(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {bad[0]:g}")
    ranges = evaluator.ranges(call.args[0])
    return ranges.reduce(lambda w: quantiles.smoothed(w, factors[0], factors[1]), evaluator.shared.meter)


#: Every function of range vectors.
OVER_TIME: dict[str, Callable[[Evaluator, nodes.Call], Value]] = {
    **dict.fromkeys(PLAIN, plain),
    "predict_linear": predict_linear,
    "quantile_over_time": quantile_over_time,
    "double_exponential_smoothing": smoothing,
}
