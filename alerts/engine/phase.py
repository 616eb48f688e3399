"""When in its interval a rule group is best evaluated: just after the samples it needs have come in.

A group evaluated at any stable offset is evaluated as Prometheus does it (PR-3); between the offsets lies how old the
samples are when they are looked at, up to a whole interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a scrape usually takes until its samples can be read: the request, the parsing, the commit.
LANDING_MS = 150
# Sources whose samples are expected so shortly before a slot, or still later, are waited for.
LATE_MS = 500
# A group moves only for so much of its interval: an irregular step is the price.
WORTH = 0.05
# More distinct offsets than this bring nothing new: the best of them is as good as any.
_MOST_CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class Beat:
    """Samples that come every `period_ms`, at `phase_ms` past its multiples."""

    period_ms: int
    phase_ms: int


@dataclass(frozen=True, slots=True)
class Phase:
    """The chosen offset in milliseconds, and the places of those beats whose samples come just before each slot.

    `wait_ms`: what samples wait for the next slot on average; None when no beat fits the interval.
    """

    offset_ms: int
    awaited: tuple[int, ...] = ()
    wait_ms: float | None = None


def choose(interval_ms: int, offset_ms: int, beats: Sequence[Beat]) -> Phase:
    """Return the offset at which the samples of `beats` wait least for a slot; `offset_ms` where that gains little.

    Beats whose period neither divides the interval nor is a multiple of it come at any time and do not count.
    """
    steps = np.array([_step(interval_ms, beat.period_ms) for beat in beats], dtype=np.int64)
    places = np.flatnonzero(steps)
    if not len(places):
        return Phase(offset_ms)
    steps = steps[places]
    phases = np.array([beat.phase_ms for beat in beats], dtype=np.int64)[places]
    candidates = np.unique((phases + LANDING_MS) % interval_ms)[:_MOST_CANDIDATES]
    waits = [_mean_wait(int(candidate), phases, steps) for candidate in candidates]
    best = int(np.argmin(waits))
    chosen, wait_ms = offset_ms, _mean_wait(offset_ms, phases, steps)
    if wait_ms - waits[best] > WORTH * interval_ms:
        chosen, wait_ms = int(candidates[best]), waits[best]
    is_close = (chosen - phases) % steps <= LANDING_MS + LATE_MS
    return Phase(chosen, tuple(places[is_close].tolist()), wait_ms)


def _step(interval_ms: int, period_ms: int) -> int:
    """After what time slot and sample stand to each other as before; 0 when that is never."""
    if interval_ms % period_ms == 0:
        return period_ms
    return interval_ms if period_ms % interval_ms == 0 else 0


def _mean_wait(offset_ms: int, phases: NDArray[np.int64], steps: NDArray[np.int64]) -> float:
    return float(((offset_ms - LANDING_MS - phases) % steps).mean())
