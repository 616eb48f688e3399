"""info(): the labels of info metrics added to other series (Prometheus, promql/info.go)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import nodes as n
from .errors import EvaluationError
from .evaluator import Evaluator, Value, newest_of
from .labels import NAME, Labels
from .limits import Meter
from .matchers import Matcher, matches_all
from .plan import Bounds, Requirement
from .query import LOOKBACK_MS
from .tables import Table
from .values import Bools, Ints
from .vectors import Vector

#: Labels that say which target a series is from; they join a series to its info series.
IDENTIFYING = ("instance", "job")
_DEFAULT = Matcher("=", NAME, "target_info")


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """For one target and one info metric: which info series holds at each step (steps,), -1 where none does."""

    series: Ints


def info(evaluator: Evaluator, call: n.Call) -> Value:
    """Evaluate info(vector, {matchers})."""
    base = evaluator.vector(call.args[0])
    given = call.args[1].matchers if len(call.args) > 1 and isinstance(call.args[1], n.VectorSelector) else ()
    names = tuple(matcher for matcher in given if matcher.name == NAME) or (_DEFAULT,)
    data = tuple(matcher for matcher in given if matcher.name != NAME)
    if not len(base):
        return base
    times = _reference_times(call.args[0], evaluator.at, evaluator.shared.plan.bounds)
    need = Requirement((*names, *data), int(times.min()) - LOOKBACK_MS, int(times.max()))
    found = evaluator.shared.fetch(need)
    _, present, stamps = newest_of(found, times)
    rows = found.table.labels()
    choices = _choices(rows, present, stamps)
    return _enriched(base, names, data, rows, choices, evaluator.shared.meter)


def _reference_times(node: n.Node, at: Ints, bounds: Bounds) -> Ints:
    """Return the times (steps,) at which the argument's first selector looks, @ and offset on the way included."""
    path: list[n.VectorSelector | n.Subquery] = []
    while True:
        if isinstance(node, n.VectorSelector | n.Subquery):
            path.append(node)
        children = [child for child in node.children() if any(isinstance(x, n.VectorSelector) for x in n.walk(child))]
        if not children:
            break
        node = children[0]
    times = at
    for part in path:
        fixed = bounds.fixed(part.at)
        times = (times if fixed is None else np.full(len(at), fixed, np.int64)) - bounds.milliseconds(part.offset)
    return times


def _target(labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name) for name in IDENTIFYING)


def _choices(rows: Sequence[Labels], present: Bools, stamps: Ints) -> dict[tuple[str, ...], dict[str, _Choice]]:
    """Return by target and info metric which info series holds at each step: the one with the newest sample."""
    grouped: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for row, labels in enumerate(rows):
        grouped.setdefault(_target(labels), {}).setdefault(labels.get(NAME), []).append(row)
    out: dict[tuple[str, ...], dict[str, _Choice]] = {}
    for target, metrics in grouped.items():
        out[target] = {name: _newest(rows, np.array(group), present, stamps) for name, group in metrics.items()}
    return out


def _newest(rows: Sequence[Labels], group: Ints, present: Bools, stamps: Ints) -> _Choice:
    times = np.where(present[group], stamps[group], np.iinfo(np.int64).min)
    best = times.max(axis=0)
    known = present[group].any(axis=0)
    ties = ((times == best) & present[group]).sum(axis=0) > 1
    if ties.any():
        step = int(np.flatnonzero(ties)[0])
        first, second = group[np.flatnonzero(times[:, step] == best[step])[:2]]
        raise EvaluationError(
            f"found duplicate series for info metric: existing {rows[first]} @ {best[step]}, "
            f"new {rows[second]} @ {best[step]}"
        )
    return _Choice(np.where(known, group[times.argmax(axis=0)], -1))


def _enriched(
    base: Vector,
    names: tuple[Matcher, ...],
    data: tuple[Matcher, ...],
    rows: Sequence[Labels],
    choices: dict[tuple[str, ...], dict[str, _Choice]],
    meter: Meter,
) -> Vector:
    wanted = frozenset(matcher.name for matcher in data)
    may_miss = all(matcher.matches("") for matcher in data)
    labels: list[Labels] = []
    source: list[int] = []
    masks: list[Bools] = []
    everywhere = np.ones(base.steps, np.bool_)
    for row, own in enumerate(base.table.labels()):
        mask = everywhere if base.present is None else base.present[row]
        metrics = choices.get(_target(own), {})
        if own.get(NAME) and matches_all(names, Labels.of({NAME: own.get(NAME)})):
            metrics, keep = {}, True
        else:
            keep = may_miss
        for steps, chosen in _stretches(list(metrics.values()), base.steps):
            if not chosen and not keep:
                continue
            labels.append(_with_info(own, [rows[place] for place in chosen], wanted))
            source.append(row)
            masks.append(mask & steps)
        meter.points(len(labels) * base.steps)
    if not labels:
        return Vector.empty(base.steps)
    index = np.array(source, np.int64)
    return Vector(Table.of(labels), base.drop[index], base.values[index], np.stack(masks)).live()


def _stretches(choices: list[_Choice], steps: int) -> list[tuple[Bools, list[int]]]:
    """Return for each combination of info series the steps at which it holds."""
    if not choices:
        return [(np.ones(steps, np.bool_), [])]
    combinations, which = np.unique(np.stack([choice.series for choice in choices]), axis=1, return_inverse=True)
    return [
        (which.reshape(-1) == number, [int(place) for place in column if place >= 0])
        for number, column in enumerate(combinations.T)
    ]


def _with_info(own: Labels, infos: list[Labels], wanted: frozenset[str]) -> Labels:
    added: dict[str, str] = {}
    for labels in infos:
        for name, value in labels:
            if name == NAME or (wanted and name not in wanted):
                continue
            if added.setdefault(name, value) != value:
                raise EvaluationError(f"conflicting label: {name}")
    return Labels.of({**added, **own.as_dict()})
