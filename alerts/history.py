"""Stored history of an expression, read piece by piece at a rule's own interval.

Hides how large a piece may be so that a worker's memory and the query's limits hold, and keeps count of what was read,
how far history reaches and where it has gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from monitoring import promql, query
from monitoring.promql import LimitError, Limits

# Values held at a time: 8 MB of numbers, some times over while they are compared.
CELLS = 1_000_000
FIRST_STEPS, FEWEST_STEPS, MOST_STEPS = 240, 60, 10_000
# One piece must not take longer than this; a slow one is tried again in smaller pieces.
PIECE_LIMITS = Limits(timeout_seconds=60.0, max_series=20_000)
SHOWN_GAPS = 20


class Stopped(Exception):
    """The reading was ended before its time: too long, too many samples, or somebody stopped it."""


@dataclass(frozen=True)
class Span:
    """The time to look at, both ends on the grid of its step."""

    start: datetime
    end: datetime
    step_seconds: float

    @property
    def steps(self) -> int:
        """How many slots it has, both ends counted."""
        return round((self.end - self.start).total_seconds() / self.step_seconds) + 1

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start).total_seconds()

    def at(self, index: int) -> datetime:
        """The time of a slot."""
        return self.start + timedelta(seconds=index * self.step_seconds)


@dataclass
class Meter:
    """Counts what was read, and asks at every piece whether to go on: `watch` gets (share done, samples read).

    `watch` raises Stopped to end it. `share` maps the progress of one reading into that of the whole.
    """

    watch: Callable[[float, int], None]
    samples: int = 0
    base: float = 0.0
    share: float = 1.0

    def note(self, done: float, samples: int) -> None:
        """Note a piece; raises Stopped."""
        self.samples += samples
        self.watch(self.base + self.share * done, self.samples)


@dataclass
class Coverage:
    """Where history has any data: first and last slot with some, and the gaps between."""

    step_seconds: float
    first: datetime | None = None
    last: datetime | None = None
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)

    def take(self, answer: promql.Result) -> None:
        """Note the slots of a piece."""
        if not answer.present.size:
            return
        times = answer.ts[answer.present.any(axis=0)]
        if not len(times):
            return
        before = [] if self.last is None else [self.last.timestamp() * 1000]
        known = np.concatenate([np.array(before), times])
        for place in np.flatnonzero(np.diff(known) > 1500 * self.step_seconds).tolist():
            self.gaps.append((_moment(known[place]), _moment(known[place + 1])))
        self.first = self.first or _moment(times[0])
        self.last = _moment(times[-1])

    def longest_gaps(self) -> list[tuple[datetime, datetime]]:
        """The longest gaps, in order of time."""
        longest = sorted(self.gaps, key=lambda gap: gap[0] - gap[1])[:SHOWN_GAPS]
        return sorted(longest)

    @property
    def gap_seconds(self) -> float:
        """How long nothing was measured, between the first and the last slot."""
        return sum((last - first).total_seconds() - self.step_seconds for first, last in self.gaps)


def read(expr: promql.Query, span: Span, meter: Meter, offset_seconds: float = 0.0) -> Iterator[promql.Result]:
    """Yield the answers to an expression over a span in order; their times are the slots' own.

    `offset_seconds`: how much earlier than its slot the question is asked (a group's query offset). Raises QueryError,
    and Stopped when the meter's watch says so.
    """
    offset = timedelta(seconds=offset_seconds)
    begin, size = 0, FIRST_STEPS
    while begin < span.steps:
        count = min(size, span.steps - begin)
        start, end = span.at(begin) - offset, span.at(begin + count - 1) - offset
        try:
            answer = query.range_(expr, start, end, span.step_seconds, limits=PIECE_LIMITS)
        except LimitError:
            if size <= FEWEST_STEPS:
                raise
            size = max(FEWEST_STEPS, size // 4)
            continue
        answer.ts = answer.ts + round(offset_seconds * 1000)
        begin += count
        yield answer
        meter.note(begin / span.steps, answer.stats.samples)
        size = min(max(CELLS // max(len(answer.labels), 1), FEWEST_STEPS), MOST_STEPS, size * 8)


def aligned(start: datetime, end: datetime, step_seconds: float, slot: datetime) -> Span:
    """The span of whole steps within [start, end] on the grid that `slot` is on."""
    step = timedelta(seconds=step_seconds)
    last = slot + step * math.floor((end - slot) / step)
    count = max(0, math.floor((last - start) / step))
    return Span(last - step * count, last, step_seconds)


def any_data(expr: promql.Query) -> promql.Query:
    """An expression that has a value wherever any selector of `expr` finds something."""
    counts = [f"count({{{','.join(str(matcher) for matcher in selector.matchers)}}})" for selector in expr.selectors()]
    return promql.parse(" or ".join(counts) or "vector(1)")


def _moment(at_ms: float) -> datetime:
    return datetime.fromtimestamp(float(at_ms) / 1000, UTC)


def earliest(expr: promql.Query, at: datetime, most: timedelta) -> datetime | None:
    """The hour in which the first sample that an expression reads was stored, at most `most` before `at`."""
    selectors = [selector.matchers for selector in expr.selectors()]
    start = at - most

    def has_before(hours: int) -> bool:
        end = start + timedelta(hours=hours)
        return any(query.series(matchers, start, end) for matchers in selectors)

    low, high = 0, math.ceil(most.total_seconds() / 3600)
    if not has_before(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if has_before(middle) else (middle, high)
    return start + timedelta(hours=low)
