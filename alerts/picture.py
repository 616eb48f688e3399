"""The values of many series over a long time as few points for a chart, so that no peak is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alerts.graph import names_of
from alerts.history import Span
from monitoring import promql
from monitoring.promql import Labels

POINTS = 600
SHOWN = 10
# More series than this are not remembered; a chart shows ten.
MOST_SERIES = 2000


class Picture:
    """Collects the pieces of one history: per series and point the worst value, the lowest when `is_low`."""

    def __init__(self, span: Span, *, is_low: bool = False) -> None:
        self._span = span
        self._steps = max(1, -(-span.steps // POINTS))  # slots a point
        self._count = -(-span.steps // self._steps)
        self._worst: Callable[..., np.ndarray] = np.fmin if is_low else np.fmax
        self._sign = -1.0 if is_low else 1.0
        self._points: dict[Labels, np.ndarray] = {}
        self._left_out: set[Labels] = set()

    def take(self, answer: promql.Result) -> None:
        """Note a piece of history."""
        if not answer.present.size:
            return
        values = np.where(answer.present & np.isfinite(answer.values), answer.values, np.nan)
        begin = (answer.ts / 1000 - self._span.start.timestamp()) / self._span.step_seconds
        points = np.rint(begin).astype(np.int64) // self._steps
        first = np.flatnonzero(np.diff(points, prepend=-1))
        worst = np.fmin if self._sign < 0 else np.fmax
        found = worst.reduceat(values, first, axis=1)
        places = points[first]
        for labels, row in zip(answer.labels, found, strict=True):
            line = self._points.get(labels)
            if line is None:
                if len(self._points) >= MOST_SERIES:
                    self._left_out.add(labels)
                    continue
                line = self._points[labels] = np.full(self._count, np.nan)
            line[places] = self._worst(line[places], row)

    def columns(self, episodes: Mapping[Labels, int]) -> dict[str, Any]:
        """{"x", "series", "note"?} for static/js/chart.js; series with most of `episodes` first, then the worst."""
        rows = [labels for labels, line in self._points.items() if np.isfinite(line).any()]
        rank = {
            labels: (-episodes.get(labels, 0), -float(np.nanmax(self._sign * self._points[labels]))) for labels in rows
        }
        shown = sorted(sorted(rows, key=lambda labels: rank[labels])[:SHOWN], key=str)
        start, width = self._span.start.timestamp(), self._steps * self._span.step_seconds
        found: dict[str, Any] = {
            "x": [round(start + place * width) for place in range(self._count)],
            "series": [
                {"name": name, "values": [None if value != value else float(f"{value:.6g}") for value in line]}
                for name, line in zip(
                    names_of(shown) if shown else (), (self._points[labels].tolist() for labels in shown), strict=True
                )
            ],
        }
        total = len(rows) + len(self._left_out)
        if total > len(shown):
            found["note"] = f"{len(shown)} of {total} series, those with the most episodes and the worst values"
        return found
