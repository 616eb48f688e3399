"""Alerts that cannot make up their mind: told once as flapping instead of as a stream of fired and resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.engine.message_words import span


@dataclass(frozen=True, slots=True)
class FlapSettings:
    """How many changes make an alert flap; two numbers, so that the flag itself does not flap."""

    window_seconds: float = 1800.0
    # Five times fired and resolved inside half an hour: below it, group_interval (5 min) damps well enough (IX-2).
    start_changes: int = 10
    stop_changes: int = 2
    # A burst is no habit yet: until it has lasted this long each change is told as Alertmanager would tell it.
    min_span_seconds: float = 120.0


DEFAULT_SETTINGS = FlapSettings()


@dataclass(frozen=True, slots=True)
class Flapping:
    """What the changes of one alert inside the window amount to."""

    is_flapping: bool
    changes: int  # inside the window
    calm_seconds: float | None  # since the last change, None when there was none
    words: str


def detect(
    changes: Sequence[datetime], at: datetime, settings: FlapSettings = DEFAULT_SETTINGS, *, was_flapping: bool = False
) -> Flapping:
    """Whether an alert flaps at `at`, given the times at which it fired or resolved, in any order.

    It begins with `start_changes` inside the window, the first of them `min_span_seconds` ago or more, and ends only
    when `stop_changes` or fewer are left in it.
    """
    opens = at - timedelta(seconds=settings.window_seconds)
    recent = [change for change in changes if opens < change <= at]
    count = len(recent)
    is_habit = bool(recent) and (at - min(recent)).total_seconds() >= settings.min_span_seconds
    is_flapping = count > settings.stop_changes if was_flapping else count >= settings.start_changes and is_habit
    calm = (at - max(recent)).total_seconds() if recent else None
    return Flapping(is_flapping, count, calm, describe(count, calm, settings) if is_flapping else "")


def describe(changes: int, calm_seconds: float | None, settings: FlapSettings = DEFAULT_SETTINGS) -> str:
    """The words for a flapping alert, such as "flapping: 12 changes in 30 min, the last 40 s ago"."""
    last = f", the last {span(calm_seconds)} ago" if calm_seconds is not None else ""
    return f"flapping: {changes} changes in {span(settings.window_seconds)}{last}"
