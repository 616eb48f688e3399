"""Every function by name, and those that are about vectors as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from . import histograms, info, mathematics, relabel
from . import nodes as n
from .annotations import refuse_native
from .errors import EvaluationError
from .evaluator import NO_LABELS, Evaluator, Value
from .labels import NAME, Labels
from .over_time import OVER_TIME
from .tables import Table
from .values import Floats
from .vectors import Vector

Function = Callable[[Evaluator, n.Call], Value]


def _elementwise(evaluator: Evaluator, call: n.Call) -> Value:
    vector = evaluator.vector(call.args[0])
    with np.errstate(all="ignore"):
        return vector.with_values(mathematics.ELEMENTWISE[call.func](vector.values))


def _round(evaluator: Evaluator, call: n.Call) -> Value:
    vector = evaluator.vector(call.args[0])
    to: Floats | float = evaluator.scalar(call.args[1])[None, :] if len(call.args) > 1 else 1.0
    return vector.with_values(mathematics.rounded(vector.values, to))


def _clamp(evaluator: Evaluator, call: n.Call) -> Value:
    vector = evaluator.vector(call.args[0])
    bounds = [evaluator.scalar(arg)[None, :] for arg in call.args[1:]]
    low: Floats | float = -np.inf if call.func == "clamp_max" else bounds[0]
    high: Floats | float = np.inf if call.func == "clamp_min" else bounds[-1]
    result = vector.with_values(mathematics.clamped(vector.values, low, high))
    if call.func != "clamp":
        return result
    return result.filtered(np.broadcast_to(~(bounds[1] < bounds[0]), result.values.shape))


def _date(evaluator: Evaluator, call: n.Call) -> Value:
    if not call.args:
        return Vector.single(mathematics.date_part(call.func, evaluator.at / 1000.0), NO_LABELS)
    vector = evaluator.vector(call.args[0])
    return vector.with_values(mathematics.date_part(call.func, vector.values))


def _time(evaluator: Evaluator, call: n.Call) -> Value:
    return evaluator.at / 1000.0


def _pi(evaluator: Evaluator, call: n.Call) -> Value:
    return np.full(evaluator.steps, math.pi)


def _bound(evaluator: Evaluator, call: n.Call) -> Value:
    bounds = evaluator.shared.plan.bounds
    milliseconds = {
        "start": bounds.start_ms,
        "end": bounds.end_ms,
        "step": bounds.step_ms,
        "range": bounds.end_ms - bounds.start_ms,
    }[call.func]
    return np.full(evaluator.steps, milliseconds / 1000.0)


def _larger(evaluator: Evaluator, call: n.Call) -> Value:
    left, right = (evaluator.scalar(arg) for arg in call.args)
    return np.asarray(np.maximum(left, right) if call.func == "max_of" else np.minimum(left, right))


def _scalar(evaluator: Evaluator, call: n.Call) -> Value:
    vector = evaluator.vector(call.args[0])
    if not len(vector):
        return np.full(evaluator.steps, np.nan)
    if len(vector) == 1 and vector.present is None:
        return np.array(vector.values[0])
    mask = vector.mask
    alone = np.where(mask, vector.values, 0.0).sum(axis=0)
    return np.where(mask.sum(axis=0) == 1, alone, np.nan)


def _vector(evaluator: Evaluator, call: n.Call) -> Value:
    return Vector.single(evaluator.scalar(call.args[0]), NO_LABELS)


def _timestamp(evaluator: Evaluator, call: n.Call) -> Value:
    inner = n.strip_parens(call.args[0])
    if isinstance(inner, n.VectorSelector):
        vector, times = evaluator.samples(inner)
        return vector.with_values(times / 1000.0)
    vector = evaluator.vector(inner)
    return vector.with_values(np.broadcast_to(evaluator.at / 1000.0, vector.values.shape))


def _absent(evaluator: Evaluator, call: n.Call) -> Value:
    if call.func == "absent":
        found = np.asarray(evaluator.vector(call.args[0]).mask.any(axis=0))
    else:
        found = evaluator.ranges(call.args[0]).any_present()
    table = Table.of([_absent_labels(call.args[0])])
    return Vector.single(np.ones(evaluator.steps), table, ~found).live()


def _absent_labels(node: n.Node) -> Labels:
    """Return the labels the absent series would have: those asked for by equality, once each."""
    inner = n.strip_parens(node)
    if isinstance(inner, n.MatrixSelector):
        inner = inner.vector
    if not isinstance(inner, n.VectorSelector):
        return Labels.of()
    wanted: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in inner.matchers:
        if matcher.name == NAME:
            continue
        if matcher.op == "=" and matcher.name not in seen:
            wanted[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            wanted.pop(matcher.name, None)
    return Labels.of(wanted)


def _sort(evaluator: Evaluator, call: n.Call) -> Value:
    vector = evaluator.vector(call.args[0])
    if not evaluator.shared.is_instant:
        evaluator.shared.notes.sort_in_range("sort", call)
    if evaluator.steps != 1 or not len(vector):
        return vector
    if call.func in ("sort", "sort_desc"):
        return relabel.sorted_by_value(vector, call.func == "sort_desc")
    names = [evaluator.string(arg) for arg in call.args[1:]]
    return relabel.sorted_by_label(vector, names, call.func == "sort_by_label_desc")


def _label_replace(evaluator: Evaluator, call: n.Call) -> Value:
    target, replacement, source, pattern = (evaluator.string(arg) for arg in call.args[1:])
    return relabel.replaced(evaluator.vector(call.args[0]), target, replacement, source, pattern)


def _label_join(evaluator: Evaluator, call: n.Call) -> Value:
    target, separator, *sources = (evaluator.string(arg) for arg in call.args[1:])
    return relabel.joined(evaluator.vector(call.args[0]), target, separator, sources)


def _native_only(evaluator: Evaluator, call: n.Call) -> Value:
    raise refuse_native(f"{call.func}()")


def _start_timestamp(evaluator: Evaluator, call: n.Call) -> Value:
    raise EvaluationError("start_timestamp() needs the start times of samples, which this portal does not store")


FUNCTIONS_BY_NAME: Mapping[str, Function] = {
    **OVER_TIME,
    **dict.fromkeys(mathematics.ELEMENTWISE, _elementwise),
    **dict.fromkeys(mathematics.DATE_PARTS, _date),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamp),
    **dict.fromkeys(("start", "end", "step", "range"), _bound),
    **dict.fromkeys(("max_of", "min_of"), _larger),
    **dict.fromkeys(("absent", "absent_over_time"), _absent),
    **dict.fromkeys(("sort", "sort_desc", "sort_by_label", "sort_by_label_desc"), _sort),
    **dict.fromkeys([f"histogram_{what}" for what in ("avg", "count", "sum", "stddev", "stdvar")], _native_only),
    "histogram_quantile": histograms.quantile,
    "histogram_quantiles": histograms.quantiles,
    "histogram_fraction": histograms.fraction,
    "info": info.info,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "pi": _pi,
    "round": _round,
    "scalar": _scalar,
    "start_timestamp": _start_timestamp,
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
}
