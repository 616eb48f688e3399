"""Engines for the PromQL script runner in the shared folder: ``promqltest.py --engine tests.promqltest_engine:Engine``.

``Engine`` asks our evaluator over series held in memory. An engine over another storage derives from it and gives
``append`` and ``select`` of its own; the translation of answers stays here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitoring import promql
from monitoring.promql import Block, Labels, Matcher, matches_all


class MemoryStore:
    """Series in memory; those that share their timestamps come out as one block."""

    def __init__(self) -> None:
        self._samples: dict[Labels, dict[int, float]] = {}
        self._blocks: list[Block] | None = None

    def append(self, labels: Labels, timestamps_ms: Sequence[int], values: Sequence[float]) -> None:
        """Add samples; a later one at the same time replaces an earlier."""
        self._samples.setdefault(labels, {}).update(zip(timestamps_ms, values, strict=True))
        self._blocks = None

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the matching series, whatever their times."""
        if self._blocks is None:
            self._blocks = self._grouped()
        out = []
        for block in self._blocks:
            rows = [row for row, labels in enumerate(block.labels) if matches_all(matchers, labels)]
            if rows:
                out.append(Block(tuple(block.labels[row] for row in rows), block.ts, block.values[rows]))
        return out

    def _grouped(self) -> list[Block]:
        alike: dict[tuple[int, ...], list[Labels]] = {}
        for labels, samples in self._samples.items():
            alike.setdefault(tuple(sorted(samples)), []).append(labels)
        blocks = []
        for times, group in alike.items():
            values = np.array([[self._samples[labels][time] for time in times] for labels in group], np.float64)
            blocks.append(Block(tuple(group), np.array(times, np.int64), values))
        return blocks


class Engine:
    """Our evaluator over a store in memory."""

    QueryError = promql.QueryError
    supports: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Drop all series."""
        self.store = MemoryStore()

    def append(self, labels: dict[str, str], timestamps_ms: list[int], values: list[float]) -> None:
        """Add samples of one series."""
        self.store.append(Labels.of(labels), timestamps_ms, values)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        """Return the matching series."""
        return self.store.select(matchers, start_ms, end_ms)

    def instant(self, expr: str, ts_ms: int) -> dict[str, object]:
        """Ask at one time."""
        return answer(promql.instant(expr, ts_ms, self.select))

    def range(self, expr: str, start_ms: int, end_ms: int, step_ms: int) -> dict[str, object]:
        """Ask over a range."""
        return answer(promql.range_(expr, start_ms, end_ms, step_ms, self.select))


def answer(result: promql.Result) -> dict[str, object]:
    """Return a result as the script runner wants it."""
    return {
        "type": result.type,
        "value": _value(result),
        "warnings": list(result.warnings),
        "infos": list(result.infos),
    }


def _value(result: promql.Result) -> object:
    if result.type == "scalar":
        return result.scalar
    if result.type == "string":
        return result.string
    names = [labels.as_dict() for labels in result.labels]
    if result.type == "vector":
        return list(zip(names, result.values.tolist(), strict=True))
    points = [result.points(row) for row in range(len(names))]
    return [
        (name, list(zip(ts.tolist(), vs.tolist(), strict=True))) for name, (ts, vs) in zip(names, points, strict=True)
    ]
