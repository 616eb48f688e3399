"""How much one query may ask for, and the meter that holds it to that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import LimitError

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one query; every field may be raised or lowered by the caller.

    ``max_steps`` is Prometheus' 11,000 points a series (web/api/v1/api.go queryRange); ``max_samples`` its
    ``--query.max-samples``. The others are ours: a query shares a worker with other people's work. Each matrix on the
    way to the answer, as the answer itself, holds at most ``max_result_points`` cells (88 MB).
    """

    max_steps: int = 11_000
    max_samples: int = 50_000_000
    max_series: int = 200_000
    max_result_points: int = 11_000_000
    timeout_seconds: float = 120.0
    max_subquery_depth: int = 8


DEFAULT_LIMITS = Limits()

_REMEDIES = {
    "max_steps": "use a longer step or a shorter range, or raise max_steps",
    "max_samples": "select fewer series or a shorter range, or raise max_samples",
    "max_series": "add label matchers to the selectors, or raise max_series",
    "max_result_points": "aggregate, or use a longer step, or raise max_result_points",
    "timeout_seconds": "ask for less, or raise timeout_seconds",
    "max_subquery_depth": "nest fewer subqueries, or raise max_subquery_depth",
}


class Meter:
    """What one evaluation has used so far.

    ``clock`` is a monotonic clock in seconds, the one clock of this package: a deadline cannot be kept without one.
    It never enters an answer.
    """

    __slots__ = ("_clock", "_deadline", "_started", "limits", "samples")

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self.limits = limits
        self.samples = 0
        self._clock = clock
        self._started = clock()
        self._deadline = self._started + limits.timeout_seconds

    def wall_seconds(self) -> float:
        """Return the seconds since the evaluation began."""
        return self._clock() - self._started

    def tick(self) -> None:
        """Raise LimitError when the query has run out of time; called inside every long walk."""
        if self._clock() > self._deadline:
            self._raise("timeout_seconds", self.limits.timeout_seconds, None, "query took too long")

    def steps(self, count: int, what: str = "too many steps") -> None:
        """Raise LimitError for more steps than one series may have."""
        if count > self.limits.max_steps:
            self._raise("max_steps", self.limits.max_steps, count, what)

    def series(self, count: int) -> None:
        """Raise LimitError for a selector or a result with too many series."""
        if count > self.limits.max_series:
            self._raise("max_series", self.limits.max_series, count, "too many series")

    def read(self, count: int) -> None:
        """Count ``count`` samples as read; raise LimitError when the query has read too many."""
        self.samples += count
        if self.samples > self.limits.max_samples:
            self._raise("max_samples", self.limits.max_samples, self.samples, "query reads too many samples")

    def points(self, count: int) -> None:
        """Raise LimitError for a matrix (intermediate or final) of more than ``count`` allowed cells."""
        if count > self.limits.max_result_points:
            self._raise(
                "max_result_points", self.limits.max_result_points, count, "result (or a step to it) is too large"
            )

    def depth(self, count: int) -> None:
        """Raise LimitError for subqueries nested too deeply."""
        if count > self.limits.max_subquery_depth:
            self._raise("max_subquery_depth", self.limits.max_subquery_depth, count, "subqueries nested too deeply")

    @staticmethod
    def _raise(limit: str, allowed: float, asked: float | None, what: str) -> None:
        raise LimitError(limit, allowed, asked, what, _REMEDIES[limit])
