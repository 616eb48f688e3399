"""Summation as Prometheus does it (promql/functions.go kahanSumInc, Neumaier's variant of Kahan).

Not exact summation: tests upstream expect this very error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .values import Floats


def _step(value: float, total_: float, lost: float) -> tuple[float, float]:
    new = total_ + value
    if math.isinf(new):
        return new, 0.0
    if abs(total_) >= abs(value):
        return new, lost + ((total_ - new) + value)
    return new, lost + ((value - new) + total_)


def compensated(values: Iterable[float]) -> tuple[float, float]:
    """Return the running sum and the compensation lost to rounding; their sum is the result."""
    total_, lost = 0.0, 0.0
    for value in values:
        total_, lost = _step(value, total_, lost)
    return total_, lost


def total(values: Floats) -> float:
    """Return the sum of a window."""
    total_, lost = compensated(values.tolist())
    return total_ if math.isinf(total_) else total_ + lost


def mean(values: Floats) -> float:
    """Return the mean of a window; when the sum overflows it goes on as an incremental mean (functions.go)."""
    numbers: list[float] = values.tolist()
    total_, lost = numbers[0], 0.0
    for count, value in enumerate(numbers[1:], 2):
        new, new_lost = _step(value, total_, lost)
        if math.isinf(new):
            return _incremental(numbers, count, total_, lost)
        total_, lost = new, new_lost
    return total_ / len(numbers) + lost / len(numbers)


def _incremental(numbers: list[float], start: int, total_: float, lost: float) -> float:
    average, lost = total_ / (start - 1), lost / (start - 1)
    for count in range(start, len(numbers) + 1):
        share = (count - 1) / count
        average, lost = _step(numbers[count - 1] / count, share * average, share * lost)
    return average + lost
