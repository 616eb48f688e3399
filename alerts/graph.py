"""A question over time as columns for the browser's charts.

Hides: how steps are chosen, and that only so many lines can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from alerts.engine.units import Quantity, Unit
from monitoring import query
from monitoring.promql import NAME, Labels, Limits, Query

# More lines than this are a ball of wool; those with the highest peaks are kept and the rest is counted.
MAX_SERIES = 10
# Points of a line: what an evaluation every 15 s needs in an hour.
POINTS = 240
# Steps that put points on round times.
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_FIRST = {"host": 0, "model_name": 1, "model_version": 2}
# What static/js/units.js calls each quantity.
_UNITS = {
    Quantity.BYTES: "bytes", Quantity.SECONDS: "seconds", Quantity.RATIO: "ratio", Quantity.PERCENT: "percent",
    Quantity.CELSIUS: "°C", Quantity.WATTS: "W", Quantity.HERTZ: "Hz", Quantity.JOULES: "J",
}  # fmt: skip


def step_of(seconds: float, points: int = POINTS) -> int:
    """The smallest round step, in seconds, that covers `seconds` with at most `points` points."""
    return next((step for step in _STEPS if seconds / step <= points), _STEPS[-1])


def columns(
    expr: str | Query,
    start: datetime,
    end: datetime,
    *,
    limits: Limits | None = None,
    keep: int = MAX_SERIES,
    of: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The answer to `expr` from start to end: {"x": [unix seconds], "series": [{"name", "values"}], "note"?}.

    A point without a sample is None. `of` keeps only series whose every label has the value that `of` gives it.
    Raises QueryError.
    """
    step = step_of((end - start).total_seconds())
    # Whole steps, so that a later look at the same time shows the same points.
    last = math.floor(end.timestamp() / step) * step
    count = max(1, math.ceil((end - start).total_seconds() / step))
    finish = datetime.fromtimestamp(last, UTC)
    answer = query.range_(expr, finish - timedelta(seconds=count * step), finish, step, limits=limits)
    values = np.where(answer.present & np.isfinite(answer.values), answer.values, np.nan)
    rows = np.flatnonzero(np.isfinite(values).any(axis=1)) if values.size else np.empty(0, dtype=int)
    if of is not None:
        rows = np.array([row for row in rows.tolist() if _is_of(answer.labels[row], of)], dtype=int)
    shown = rows if len(rows) <= keep else np.sort(rows[np.argsort(-np.nanmax(values[rows], axis=1))[:keep]])
    names = names_of([answer.labels[row] for row in shown]) if len(shown) else []
    found: dict[str, Any] = {
        "x": [int(at) // 1000 for at in answer.ts],
        "series": [
            {"name": name, "values": [None if math.isnan(one) else one for one in values[row].tolist()]}
            for name, row in zip(names, shown.tolist(), strict=True)
        ],
    }
    if len(rows) > len(shown):
        found["note"] = f"{len(shown)} of {len(rows)} series, those with the highest values"
    return found


def _is_of(labels: Labels, of: Mapping[str, str]) -> bool:
    return all(of.get(name) == value for name, value in labels if name != NAME)


def names_of(rows: Sequence[Labels]) -> list[str]:
    """What tells each series from the others: the labels they do not share, all of them where that says nothing."""
    plain = [telling(labels) for labels in rows]
    shared = set(plain[0].items()).intersection(*(set(one.items()) for one in plain[1:])) if len(plain) > 1 else set()
    return [
        ", ".join(f"{name}={value}" for name, value in one.items() if (name, value) not in shared)
        or ", ".join(f"{name}={value}" for name, value in one.items())
        or labels.get(NAME)
        or "value"
        for one, labels in zip(plain, rows, strict=True)
    ]


def telling(labels: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The labels worth a place on a line, host and model first: no metric name, no value twice (instance)."""
    names: dict[str, str] = {}
    for name, value in sorted(labels, key=lambda pair: (_FIRST.get(pair[0], len(_FIRST)), pair[0])):
        if name != NAME:
            names.setdefault(value, name)
    return {name: value for value, name in names.items()}


def unit_name(unit: Unit) -> str:
    """The unit as the browser's charts call it."""
    name = _UNITS.get(unit.quantity, "short")
    if not unit.is_rate:
        return name
    return {"bytes": "bytes/s", "short": "/s"}.get(name, "short")
