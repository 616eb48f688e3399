"""The time a page shows: a range up to now or two fixed ends, and the step that fits its width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitoring.charts import STEPS, Span
from monitoring.dashboards.macros import SCRAPE_SECONDS

RANGES = {
    "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "3h": 10800, "6h": 21600, "12h": 43200, "24h": 86400,
    "2d": 172800, "7d": 604800, "30d": 2592000,
}  # fmt: skip
DEFAULT_RANGE = "1h"
#: Up to here a step may be finer than the usual scrape: somebody looks closely, and some hosts collect more often.
FINE_SECONDS = 900
MAX_POINTS = 1200
MIN_POINTS = 30
DEFAULT_POINTS = 240


@dataclass(frozen=True)
class Window:
    """The time shown; `name` is a key of RANGES, or "custom" for two fixed ends. `problem` says what was ignored."""

    name: str
    start: datetime
    end: datetime
    problem: str = ""

    @property
    def is_fixed(self) -> bool:
        """Whether it stays where it is instead of following the clock."""
        return self.name == "custom"

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    def span(self, points: int) -> Span:
        """Return start, end and step of a query with at most `points` points, all on the grid of the step."""
        # Finer than samples come, a longer chart would only say everything twice.
        finest = SCRAPE_SECONDS if self.seconds > FINE_SECONDS else 0
        fitting = (step for step in STEPS if step >= finest and self.seconds / step <= points)
        return on_grid(self.start, self.end, next(fitting, STEPS[-1]))


def on_grid(start: datetime, end: datetime, step_seconds: int) -> Span:
    """Return a span whose ends lie on the grid of its step, so that a refresh moves whole steps."""
    last = math.floor(end.timestamp() / step_seconds) * step_seconds
    reach = math.ceil((end - start).total_seconds() / step_seconds) * step_seconds
    finish = datetime.fromtimestamp(last, tz=UTC)
    return Span(finish - timedelta(seconds=reach), finish, step_seconds)


def read_window(asked: Mapping[str, str], at: datetime, default: str = DEFAULT_RANGE) -> Window:
    """Return the time that an address asks for by `range`, or by `from` and `to`; the default where it makes no sense.

    `from` and `to`: ISO 8601 (UTC unless said otherwise) or milliseconds since the epoch.
    """
    name = asked.get("range", "")
    problem = ""
    if asked.get("from") and name not in RANGES:
        start, end = _moment(asked["from"]), _moment(asked.get("to", "")) or at
        if start is None:
            problem = f"{asked['from']!r} is no time; write 2026-03-04T12:00, in UTC."
        elif not timedelta(seconds=1) <= end - start <= timedelta(days=3660):
            problem = "The end must be after the start, and at most ten years after it."
        else:
            return Window("custom", start, end)
    name = name if name in RANGES else default if default in RANGES else DEFAULT_RANGE
    return Window(name, at - timedelta(seconds=RANGES[name]), at, problem)


def read_points(text: str) -> int:
    """Return how many points the reader's screen has room for, within MIN_POINTS and MAX_POINTS."""
    # isascii: isdigit alone takes digits of other scripts that int() may not read as the reader meant.
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else DEFAULT_POINTS
    return max(MIN_POINTS, min(wanted, MAX_POINTS))


def read_step(text: str, window: Window, points: int) -> Span:
    """Return the span with the step that somebody typed, such as "30s" or "5m"; the fitting one when it is none."""
    number, unit = text[:-1], text[-1:]
    sizes = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if number.isascii() and number.isdigit() and len(number) < 7 and int(number) and unit in sizes:
        return on_grid(window.start, window.end, int(number) * sizes[unit])
    return window.span(points)


def _moment(text: str) -> datetime | None:
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, tz=UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
