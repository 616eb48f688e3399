"""Silences: what one covers and when, how people may change it, and what it would do before it is saved.

Source of the rules: Alertmanager 0.25, silence/silence.go. Recurrence is the portal's own: a silence that repeats in
the wall time of a place, so that Sunday 02:00 stays Sunday 02:00 when the clocks change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from alerts.engine.intervals import WEEKDAYS, clock, zone
from alerts.engine.matching import MatcherIndex, format_matchers, matches_all
from monitoring.promql import Labels, Matcher

SilenceState = Literal["pending", "active", "expired"]
# A preview that covers more of what fires now than this asks the person to look again (PAGES, silence form).
WIDE_RATIO = 0.2
_MAX_WINDOW_SECONDS = 7 * 86_400
# Values no real label has: a matcher that accepts both accepts anything that is not empty.
_PROBES = ("\x01alphaq-probe", "\x01other 93")


class InvalidSilence(ValueError):
    """A silence that cannot be kept; `problems` holds one sentence for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep `problems` and show them all."""
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A window that opens on certain weekdays (0 is Sunday; none means every day) at a wall time, for a while."""

    start_minute: int  # of the day, in `location`
    duration_seconds: float
    weekdays: tuple[int, ...] = ()
    location: str = "UTC"

    def opens_on(self, day: date) -> bool:
        """Whether a window opens on the local date `day`."""
        return not self.weekdays or day.isoweekday() % 7 in self.weekdays

    def window_of(self, day: date) -> Window:
        """The window that opens on the local date `day`; a wall time the clocks skip moves on by the skipped hour."""
        naive = datetime.combine(day, time(self.start_minute // 60, self.start_minute % 60))
        opens = naive.replace(tzinfo=zone(self.location)).astimezone(UTC)
        return Window(opens, opens + timedelta(seconds=self.duration_seconds))

    def windows_from(self, at: datetime) -> Iterator[Window]:
        """Windows that have not ended at `at`, in order, without end: take as many as are wanted."""
        if self.weekdays and not any(0 <= weekday <= 6 for weekday in self.weekdays):
            return  # no day has such a number: without this the search below would not end
        back = timedelta(days=1 + int(self.duration_seconds // 86_400))
        day = at.astimezone(zone(self.location)).date() - back
        while True:
            if self.opens_on(day):
                window = self.window_of(day)
                if window.ends_at > at:
                    yield window
            day += timedelta(days=1)

    def describe(self) -> str:
        """The recurrence in words, such as "every Sunday at 02:00 for 2 h (Europe/Zagreb)"."""
        days = " and ".join(WEEKDAYS[day].title() for day in sorted(self.weekdays)) or "day"
        hours = f"{self.duration_seconds / 3600:g} h"
        return f"every {days} at {clock(self.start_minute)} for {hours} ({self.location})"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, its end excluded."""

    starts_at: datetime
    ends_at: datetime

    def contains(self, at: datetime) -> bool:
        """Whether `at` is inside."""
        return self.starts_at <= at < self.ends_at


@dataclass(frozen=True, slots=True)
class Silence:
    """A promise to say nothing about the alerts that all matchers mean, from start to end (AS-1)."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    author: str = ""
    comment: str = ""
    recurrence: Recurrence | None = None

    def state(self, at: datetime) -> SilenceState:
        """Pending before the start, expired from the end on, else active; a recurring one is active between windows."""
        if at < self.starts_at:
            return "pending"
        return "active" if at < self.ends_at else "expired"

    def window(self, at: datetime) -> Window | None:
        """The span around `at` in which it silences, None when it does not do so now."""
        if self.state(at) != "active":
            return None
        if self.recurrence is None:
            return Window(self.starts_at, self.ends_at)
        first = next(self.recurrence.windows_from(at), None)
        return self._cut(first) if first is not None and first.contains(at) else None

    def next_windows(self, at: datetime, count: int = 5) -> tuple[Window, ...]:
        """Up to `count` spans that end after `at`, the current one first."""
        if self.recurrence is None:
            return (Window(self.starts_at, self.ends_at),) if at < self.ends_at else ()
        found: list[Window] = []
        for window in self.recurrence.windows_from(max(at, self.starts_at)):
            if len(found) == count or window.starts_at >= self.ends_at:
                break
            found.append(self._cut(window))
        return tuple(found)

    def _cut(self, window: Window) -> Window:
        return Window(max(window.starts_at, self.starts_at), min(window.ends_at, self.ends_at))


class SilenceIndex:
    """The silences that hold at one moment, asked which of them cover a label set."""

    def __init__(self, silences: Iterable[Silence], at: datetime) -> None:
        """Index those of `silences` that silence at `at`."""
        holding = [(silence, silence.window(at)) for silence in silences]
        self._held = [(silence, window) for silence, window in holding if window is not None]
        self._index = MatcherIndex([silence.matchers for silence, _ in self._held])

    def covering(self, labels: Labels) -> tuple[tuple[Silence, Window], ...]:
        """The silences that cover `labels`, with the window that holds now, in the given order."""
        return tuple(self._held[position] for position in self._index.matching(labels))

    def may_cover(self, known: Mapping[str, str]) -> bool:
        """Whether a silence may cover a label set of which only these labels are known."""
        return next(self._index.reaching(known), None) is not None


def check_silence(silence: Silence, at: datetime, *, refuse_all: bool = True) -> Silence:
    """The silence ready to be kept, a start in the past moved to `at`; raises InvalidSilence with every fault (AS-2).

    The words are upstream's where it has some, since clients look for them.
    `refuse_all` also refuses matchers that hold for every alert, such as alertname=~".+", which upstream lets pass.
    """
    started = replace(silence, starts_at=max(silence.starts_at, at))
    problems = list(_faults(silence, at))
    if silence.matchers and refuse_all and not problems and covers_everything(silence.matchers):
        problems.append(f"{format_matchers(silence.matchers)} would silence every alert: name an alert, host or model")
    if problems:
        raise InvalidSilence(problems)
    return started


def _faults(silence: Silence, at: datetime) -> Iterator[str]:
    if not silence.matchers:
        yield "at least one matcher is required"
    elif all(matcher.matches("") for matcher in silence.matchers):
        yield "at least one matcher must not match the empty string: this would silence every alert"
    if silence.ends_at <= silence.starts_at:
        yield "start time must be before end time"
    if silence.ends_at <= at:
        yield "end time can't be in the past"
    if silence.recurrence is not None:
        yield from _recurrence_faults(silence.recurrence)


def _recurrence_faults(recurrence: Recurrence) -> Iterator[str]:
    if not 0 < recurrence.duration_seconds <= _MAX_WINDOW_SECONDS:
        yield "a recurring window must be longer than nothing and at most 7 days"
    if not 0 <= recurrence.start_minute < 1440:
        yield "a recurring window must start between 00:00 and 23:59"
    if any(not 0 <= day <= 6 for day in recurrence.weekdays):
        yield "weekdays are numbered 0 (Sunday) to 6 (Saturday)"


def covers_everything(matchers: Sequence[Matcher]) -> bool:
    """Whether `matchers` hold for every alert there can be; every alert has an alertname, other labels may lack."""
    return all(_accepts_every_alert(matcher) for matcher in matchers)


def _accepts_every_alert(matcher: Matcher) -> bool:
    is_always_there = matcher.name == "alertname"
    if matcher.op == "!=" and is_always_there:
        return matcher.value == ""
    # What a negative matcher excludes it excludes on purpose, however little it is.
    return matcher.op == "=~" and all(map(matcher.matches, _PROBES)) and (is_always_there or matcher.matches(""))


def can_update(old: Silence, new: Silence, at: datetime) -> bool:
    """Whether `old` may become `new` and keep its id; otherwise it is expired and a new one made (AS-7)."""
    if set(old.matchers) != set(new.matchers) or old.recurrence != new.recurrence:
        return False
    state = old.state(at)
    if state == "active":
        return old.starts_at == new.starts_at and new.ends_at >= at
    return state == "pending" and new.starts_at >= at


def expire(silence: Silence, at: datetime) -> Silence:
    """The silence ended at `at`; a pending one starts and ends there, an expired one stays as it is (AS-8)."""
    state = silence.state(at)
    if state == "expired":
        return silence
    return replace(silence, starts_at=at if state == "pending" else silence.starts_at, ends_at=at)


def ends_soon(silence: Silence, at: datetime, within_seconds: float) -> bool:
    """Whether an active silence ends inside the next `within_seconds`, so that its owner can be told."""
    return silence.state(at) == "active" and silence.ends_at - at <= timedelta(seconds=within_seconds)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a silence would do to the alerts there are now."""

    matched: tuple[Labels, ...]
    total: int
    windows: tuple[Window, ...]
    warnings: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """The share of all alerts it would silence, 0 to 1."""
        return len(self.matched) / self.total if self.total else 0.0


def preview(silence: Silence, alerts: Collection[Labels], at: datetime) -> Preview:
    """What `silence` would do to `alerts`, with a warning for each sign that it is wider than it was meant."""
    matched = tuple(labels for labels in alerts if matches_all(silence.matchers, labels))
    warnings = []
    if len(matched) > 1 and len(matched) > WIDE_RATIO * len(alerts):
        warnings.append(f"it covers {len(matched)} of {len(alerts)} alerts")
    if {matcher.name for matcher in silence.matchers} == {"alertname"}:
        warnings.append("it names only the alert: every host and model is silenced for it")
    if not matched and alerts:
        warnings.append("it covers no alert that there is now")
    return Preview(matched, len(alerts), silence.next_windows(at), tuple(warnings))
