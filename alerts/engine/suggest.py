"""Which limit fits a history: how often each candidate would have fired, and where the usual marks lie.

Counts are those of the state machine for a plain limit (PA-4 to PA-9): a series fires when it was past the limit for
the hold time, and is quiet again when it is not, after the time it keeps firing. Slots without data count as neither,
as under the policy "keep"; 15 minutes of them end what had not fired yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alerts.engine.alert_state import RESOLVED_RETENTION

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
WEEK_SECONDS = 7 * 86_400.0
SPREADS = 4.0  # how many median absolute deviations from the median are unusual
_QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.965, 0.975, 0.985, 0.99, 0.995, 0.998, 0.999, 0.9995, 1.0)
_EVENLY = 24
_REFINE = 12


@dataclass(frozen=True)
class Past:
    """The values of a history: (series, slots) with NaN where nothing was measured, and the first slot's time.

    values are turned round (negated) for a limit that is a floor, so that past a limit always means above it.
    """

    values: Floats
    start_seconds: float
    step_seconds: float

    @property
    def weeks(self) -> float:
        """How many weeks the slots with any data make."""
        slots = int((~np.isnan(self.values)).any(axis=0).sum()) if self.values.size else 0
        return slots * self.step_seconds / WEEK_SECONDS


@dataclass(frozen=True)
class Terms:
    """How a candidate is counted: seconds it must hold and keeps firing; whether the limit itself is past."""

    hold_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    is_inclusive: bool = False


def firings(past: Past, limit: float, terms: Terms) -> int:
    """How many episodes all series together would have had with this limit."""
    over = past.values >= limit if terms.is_inclusive else past.values > limit
    there = ~np.isnan(past.values)
    return sum(
        _of_series(row[known], np.flatnonzero(known), past, terms)
        for row, known in zip(over, there, strict=True)
        if row.any()
    )


def _of_series(over: Bools, slots: NDArray[np.int64], past: Past, terms: Terms) -> int:
    """Episodes of one series; over: whether each of its samples is past the limit, slots: when they were taken."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], over.astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]  # runs of samples past the limit, end excluded
    fired = _held(starts, ends, slots, past, terms)
    if terms.keep_firing_seconds <= 0:
        return int(fired.sum())
    count, quiet_from = 0, -1
    for start, end, has_held in zip(starts.tolist(), ends.tolist(), fired.tolist(), strict=True):
        # It keeps firing from the first good sample on; a run that begins before that time is over goes on with it.
        quiet_slots = slots[start] - 1 - slots[quiet_from]
        goes_on = quiet_from >= 0 and quiet_slots * past.step_seconds < terms.keep_firing_seconds
        if goes_on or has_held:
            count += not goes_on
            quiet_from = end
        else:
            quiet_from = -1
    return count


def _held(
    starts: NDArray[np.int64], ends: NDArray[np.int64], slots: NDArray[np.int64], past: Past, terms: Terms
) -> Bools:
    """Which runs lasted for the hold time; slots without data do not count, and too many of them in a row restart."""
    needed = terms.hold_seconds
    held = (ends - starts - 1) * past.step_seconds >= needed
    longest = RESOLVED_RETENTION.total_seconds()
    breaks = np.flatnonzero((np.diff(slots) - 2) * past.step_seconds > longest) + 1  # the first sample after a long gap
    if not len(breaks):
        return held
    for place in np.flatnonzero(
        held & (np.searchsorted(breaks, starts, "right") < np.searchsorted(breaks, ends, "left"))
    ):
        inside = breaks[(breaks > starts[place]) & (breaks < ends[place])]
        edges = np.concatenate(([starts[place]], inside, [ends[place]]))
        held[place] = bool(((np.diff(edges) - 1) * past.step_seconds >= needed).any())
    return held


@dataclass(frozen=True)
class Curve:
    """Episodes per week at each candidate, candidates rising, and the past values they were counted on."""

    limits: Floats
    per_week: Floats

    def points(self) -> list[tuple[float, float]]:
        """(limit, episodes per week)."""
        return list(zip(self.limits.tolist(), self.per_week.tolist(), strict=True))


def curve(past: Past, terms: Terms, tick: Callable[[float], None] = lambda done: None) -> Curve:
    """Count the candidates: quantiles of all values, closest at the top, and even steps between.

    `tick` is called with the share done.
    """
    known = past.values[~np.isnan(past.values)]
    marks = np.quantile(known, _QUANTILES)
    limits = np.unique(np.concatenate([marks, np.linspace(marks[0], marks[-1], _EVENLY)]))
    counts = []
    for place, limit in enumerate(limits.tolist()):
        counts.append(firings(past, limit, terms))
        tick((place + 1) / len(limits))
    return Curve(limits, np.array(counts) / max(past.weeks, 1e-9))


def lowest_for(past: Past, found: Curve, terms: Terms, per_week: float) -> float | None:
    """The lowest limit from which on no candidate fires more often than `per_week`; None when the highest still does.

    Looked for between two candidates by halving, since counts between them are not known.
    """
    quiet = found.per_week <= per_week
    if not quiet[-1]:
        return None
    loud = np.flatnonzero(~quiet)
    if not len(loud):
        return float(found.limits[0])
    low, high = float(found.limits[loud[-1]]), float(found.limits[loud[-1] + 1])
    for _ in range(_REFINE):
        middle = (low + high) / 2
        if firings(past, middle, terms) / max(past.weeks, 1e-9) <= per_week:
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True)
class HourMark:
    """The hour of the week (0 is Monday 00:00 UTC) whose usual values reach highest, and how high."""

    hour: int
    limit: float


def usual_by_hour(past: Past) -> HourMark | None:
    """The highest of median + 4 · MAD over the hours of the week: nothing usual at any hour is past it.

    The median absolute deviation is used as it is, without the factor that makes it a standard deviation.
    """
    slots = past.values.shape[1]
    hours = _hours_of_week(past.start_seconds, past.step_seconds, slots)
    best: HourMark | None = None
    for hour in np.unique(hours).tolist():
        values = past.values[:, hours == hour]
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        middle = float(np.median(values))
        limit = middle + SPREADS * float(np.median(np.abs(values - middle)))
        if best is None or limit > best.limit:
            best = HourMark(int(hour), limit)
    return best


def _hours_of_week(start_seconds: float, step_seconds: float, slots: int) -> NDArray[np.int64]:
    times = (start_seconds + np.arange(slots) * step_seconds) // 3600
    # 1970-01-01 was a Thursday, three days after a Monday.
    return (times.astype(np.int64) + 72) % 168


def nice(value: float, is_up: bool = True) -> float:
    """A number of three digits next to `value` on the side where it fires less: above for a ceiling."""
    if value == 0 or not np.isfinite(value):
        return value
    power = 10.0 ** (np.floor(np.log10(abs(value))) - 2)
    scaled = value / power
    # A value that is already a round number stays, whatever its last bit says.
    near = np.round(scaled)
    whole = near if abs(scaled - near) < 1e-6 else (np.ceil(scaled) if is_up else np.floor(scaled))
    return float(f"{whole * power:.12g}")


def quantile(past: Past, share: float) -> float:
    """The value that so large a share of all values does not pass."""
    return float(np.nanquantile(past.values, share))
