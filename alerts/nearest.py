"""The series of an answer that matter most beside their limits: those past one first, then the nearest to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alerts.engine import thresholds
from alerts.engine.threshold_explain import describe_limit
from alerts.engine.thresholds import Threshold as Limit
from alerts.engine.units import PLAIN, Unit, format_value
from alerts.graph import names_of
from monitoring.promql import Labels

SHOWN = 8
Past = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SeriesNow:
    """One series: its labels, its value and the limit next to it in words, whether it is past that limit."""

    labels: str
    value: str
    limit: str = ""
    severity: str = ""
    is_past: bool = False


def excess_of(values: np.ndarray, limit: Limit) -> np.ndarray:
    """How far each value is past the limit, negative on the good side; NaN is the farthest away."""
    value, upper = limit.value, limit.value if limit.upper is None else limit.upper
    match limit.operator:
        case thresholds.Operator.GREATER | thresholds.Operator.GREATER_EQUAL:
            past = values - value
        case thresholds.Operator.LESS | thresholds.Operator.LESS_EQUAL:
            past = value - values
        case thresholds.Operator.OUTSIDE:
            past = np.maximum(values - upper, value - values)
        case thresholds.Operator.INSIDE:
            past = np.minimum(upper - values, values - value)
        case thresholds.Operator.EQUAL:
            past = -np.abs(values - value)
        case _:
            past = np.abs(values - value)
    return np.where(np.isnan(past), -np.inf, past)


def nearest(
    labels: Sequence[Labels], values: np.ndarray, resolution: thresholds.Resolution, past: Past, unit: Unit = PLAIN
) -> tuple[list[SeriesNow], int]:
    """The series past a limit or nearest to one, each beside the limit that matters most; and how many more."""
    count = len(values)
    if not count or not resolution.rows:
        return plain(labels, values, unit)
    best = np.full(count, -np.inf)
    chosen = np.full(count, thresholds.NO_ROW)
    is_past = np.zeros(count, dtype=bool)
    for severity in resolution.severities:
        for index in np.unique(resolution.winners[severity]):
            if index == thresholds.NO_ROW:
                continue
            where = np.flatnonzero(resolution.winners[severity] == index)
            over = past[severity][where]
            excess = excess_of(values[where], resolution.rows[index])
            # Past a limit beats near one; of two limits that are passed the farther one is the worse severity.
            better = (over & ~is_past[where]) | ((over == is_past[where]) & _beats(excess, best[where], over))
            best[where[better]], chosen[where[better]] = excess[better], index
            is_past[where[better]] = over[better]
    order = np.lexsort((-best, ~is_past))[:SHOWN]
    names = _names(labels, order)
    shown = []
    for place, name in zip(order.tolist(), names, strict=True):
        row = resolution.rows[chosen[place]] if chosen[place] != thresholds.NO_ROW else None
        limit = f"{row.severity} {describe_limit(row, unit)}".strip() if row else "no limit"
        value = format_value(float(values[place]), unit)
        shown.append(SeriesNow(name, value, limit, row.severity if row else "", bool(is_past[place])))
    return shown, max(0, count - len(shown))


def _beats(excess: np.ndarray, best: np.ndarray, over: np.ndarray) -> np.ndarray:
    # Among passed limits the one passed by less is the stricter one; among the others the nearest comes first.
    return np.where(over, (excess < best), (excess > best)) | ~np.isfinite(best)


def plain(
    labels: Sequence[Labels], values: np.ndarray, unit: Unit = PLAIN, *, is_past: bool = False
) -> tuple[list[SeriesNow], int]:
    """The series with the highest values, for a question that has no limits; and how many more there are."""
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")[:SHOWN]
    shown = [
        SeriesNow(name, format_value(float(values[place]), unit), is_past=is_past)
        for place, name in zip(order.tolist(), _names(labels, order), strict=True)
    ]
    return shown, max(0, len(values) - len(shown))


def _names(labels: Sequence[Labels], order: np.ndarray) -> list[str]:
    """What tells the shown series from each other; a single one with all its labels."""
    return names_of([labels[place] for place in order.tolist()])
