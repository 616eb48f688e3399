"""Summation as Prometheus does it (promql/functions.go kahanSumInc, Neumaier's variant of Kahan).

Not exact summation: tests upstream expect this very error. Vectorised over many sums at once, the walk is along the
last axis.
"""

from __future__ import annotations

import numpy as np

from .values import Bools, Floats


def _step(value: Floats, total: Floats, lost: Floats) -> tuple[Floats, Floats]:
    new = total + value
    bigger = np.abs(total) >= np.abs(value)
    rest = np.where(bigger, (total - new) + value, (value - new) + total)
    return new, np.where(np.isinf(new), 0.0, lost + rest)


def sums(values: Floats, real: Bools) -> Floats:
    """Return the sums along the last axis of what is ``real``."""
    total, lost = np.zeros(values.shape[:-1]), np.zeros(values.shape[:-1])
    with np.errstate(all="ignore"):
        for place in range(values.shape[-1]):
            new, rest = _step(values[..., place], total, lost)
            known = real[..., place]
            total, lost = np.where(known, new, total), np.where(known, rest, lost)
        return np.where(np.isinf(total), total, total + lost)


def means(values: Floats, real: Bools) -> Floats:
    """Return the means along the last axis; where a sum overflows it goes on as an incremental mean, as upstream."""
    total, lost = np.zeros(values.shape[:-1]), np.zeros(values.shape[:-1])
    incremental = np.zeros(values.shape[:-1], np.bool_)
    count = np.zeros(values.shape[:-1])
    with np.errstate(all="ignore"):
        for place in range(values.shape[-1]):
            known, value = real[..., place], values[..., place]
            count = count + known
            new, rest = _step(value, total, lost)
            turning = known & ~incremental & np.isinf(new) & (count > 1)
            before = np.maximum(count - 1, 1)
            total, lost = np.where(turning, total / before, total), np.where(turning, lost / before, lost)
            incremental = incremental | turning
            share = (count - 1) / np.maximum(count, 1)
            mean, mean_rest = _step(value / np.maximum(count, 1), share * total, share * lost)
            total = np.where(known, np.where(incremental, mean, new), total)
            lost = np.where(known, np.where(incremental, mean_rest, rest), lost)
        many = np.maximum(count, 1)
        return np.where(incremental, total + lost, total / many + lost / many)
