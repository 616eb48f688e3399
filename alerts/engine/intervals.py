"""Time intervals: when a route may speak, in the wall time of a place.

Source of the rules: Alertmanager 0.25, timeinterval/timeinterval.go. Weekdays are counted from Sunday = 0, months from
January = 1, minutes of a day from 0 to 1440; ranges include both ends except for minutes, which exclude the end.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_FIELDS = ("times", "weekdays", "days_of_month", "months", "years", "location")

Range = tuple[int, int]


class IntervalError(ValueError):
    """A time interval that cannot be read; the message names the field and the value."""


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """All of the given fields must hold, each by any one of its ranges; no field at all is always (AT-5)."""

    times: tuple[Range, ...] = ()  # minutes of the day, start included, end excluded
    weekdays: tuple[Range, ...] = ()
    days_of_month: tuple[Range, ...] = ()  # negative ones count from the end of the month
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    location: str = "UTC"  # IANA name (AT-6)

    def contains(self, at: datetime) -> bool:
        """Whether `at`, an aware time, is inside the interval in the wall time of its location."""
        local = at.astimezone(zone(self.location))
        minute = local.hour * 60 + local.minute
        return (
            (not self.times or any(start <= minute < end for start, end in self.times))
            and _any_holds(self.weekdays, local.isoweekday() % 7)
            and _any_holds(self.months, local.month)
            and _any_holds(self.years, local.year)
            and (not self.days_of_month or _day_holds(self.days_of_month, local))
        )


@lru_cache(maxsize=256)
def known_zone(name: str) -> str:
    """`name` when it is an IANA time zone, else ""."""
    try:
        zone(name)
    except IntervalError:
        return ""
    return name


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name; raises IntervalError when there is none of that name."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise IntervalError(f"location: unknown time zone {name!r}; write an IANA name such as Europe/Zagreb") from e


def parse_interval(raw: Mapping[str, object]) -> TimeInterval:
    """The interval that a mapping in Alertmanager's YAML form spells; raises IntervalError."""
    unknown = sorted(set(raw) - set(_FIELDS))
    if unknown:
        raise IntervalError(f"unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    location = str(raw.get("location") or "UTC")
    zone(location)
    return TimeInterval(
        times=tuple(_parse_time(item) for item in _items(raw, "times")),
        weekdays=_ranges(raw, "weekdays", lambda text: _named("weekdays", text, WEEKDAYS, 0)),
        days_of_month=tuple(_parse_days(str(item)) for item in _items(raw, "days_of_month")),
        months=_ranges(raw, "months", lambda text: _named("months", text, MONTHS, 1)),
        years=_ranges(raw, "years", lambda text: _number("years", text)),
        location=location,
    )


def to_mapping(interval: TimeInterval) -> dict[str, object]:
    """The interval in Alertmanager's YAML form; `parse_interval` reads it back to an equal value."""
    raw: dict[str, object] = {}
    if interval.times:
        raw["times"] = [{"start_time": clock(start), "end_time": clock(end)} for start, end in interval.times]
    if interval.weekdays:
        raw["weekdays"] = [_span(r, lambda day: WEEKDAYS[day]) for r in interval.weekdays]
    if interval.days_of_month:
        raw["days_of_month"] = [_span(r, str) for r in interval.days_of_month]
    if interval.months:
        raw["months"] = [_span(r, lambda month: MONTHS[month - 1]) for r in interval.months]
    if interval.years:
        raw["years"] = [_span(r, str) for r in interval.years]
    if interval.location != "UTC":
        raw["location"] = interval.location
    return raw


def describe(interval: TimeInterval) -> str:
    """The interval in words, such as "Monday to Friday, 09:00–17:00 (Europe/Zagreb)"."""
    parts = [
        _in_words("", interval.weekdays, lambda day: WEEKDAYS[day].title()),
        _in_words("day ", interval.days_of_month, _day_in_words),
        _in_words("", interval.months, lambda month: MONTHS[month - 1].title()),
        _in_words("", interval.years, str),
        " and ".join(f"{clock(start)}–{clock(end)}" for start, end in interval.times),
    ]
    return f"{', '.join(part for part in parts if part) or 'always'} ({interval.location})"


def containing(names: Sequence[str], table: Mapping[str, Sequence[TimeInterval]], at: datetime) -> str | None:
    """The first of `names` with an interval that contains `at`; a name that is not in `table` contains nothing."""
    return next((name for name in names if any(one.contains(at) for one in table.get(name, ()))), None)


def clock(minute: int) -> str:
    """A minute of the day as HH:MM; 1440 is 24:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def parse_clock(text: str) -> int:
    """The minute of the day that HH:MM names, 24:00 included; raises IntervalError."""
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        raise IntervalError(f"times: {text!r} is not a time of day from 00:00 to 24:00")
    return int(found[1]) * 60 + int(found[2]) if found[1] else 24 * 60


def _any_holds(ranges: Sequence[Range], value: int) -> bool:
    return not ranges or any(first <= value <= last for first, last in ranges)


def _day_holds(ranges: Sequence[Range], local: datetime) -> bool:
    length = monthrange(local.year, local.month)[1]
    for first, last in ranges:
        begin = first if first > 0 else length + first + 1
        end = last if last > 0 else length + last + 1
        # A range that begins after the month's last day does not exist in it; one that merely ends there is cut.
        if begin <= length and max(begin, -length) <= local.day <= min(end, length):
            return True
    return False


def _items(raw: Mapping[str, object], name: str) -> Sequence[object]:
    value = raw.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise IntervalError(f"{name}: must be a list")
    return value


def _ranges(raw: Mapping[str, object], name: str, read: Callable[[str], int]) -> tuple[Range, ...]:
    return tuple(_parse_range(name, str(item), read) for item in _items(raw, name))


def _parse_range(name: str, text: str, read: Callable[[str], int]) -> Range:
    first, colon, last = text.strip().lower().partition(":")
    begin = read(first)
    end = read(last) if colon else begin
    if end < begin:
        raise IntervalError(f"{name}: {text!r} ends before it begins")
    return begin, end


def _named(field: str, text: str, names: Sequence[str], base: int) -> int:
    if text in names:
        return names.index(text) + base
    if field == "months" and text.isdigit() and 1 <= int(text) <= 12:
        return int(text)
    raise IntervalError(f"{field}: {text!r} is not one of {names[0]} to {names[-1]}")


def _number(field: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as e:
        raise IntervalError(f"{field}: {text!r} is not a whole number") from e


def _parse_days(text: str) -> Range:
    first, colon, last = text.strip().partition(":")
    begin = _number("days_of_month", first)
    end = _number("days_of_month", last) if colon else begin
    for day in (begin, end):
        if day == 0 or not -31 <= day <= 31:
            raise IntervalError(f"days_of_month: {day} is not a valid day of the month")
    if begin < 0 < end:
        raise IntervalError(f"days_of_month: {text!r} must end with a negative day since it begins with one")
    # Months differ in length, so only ranges that end too early in the longest month are refused here.
    if _in_longest(end) < _in_longest(begin):
        raise IntervalError(f"days_of_month: {text!r} ends before it begins")
    return begin, end


def _in_longest(day: int) -> int:
    return day if day > 0 else 31 + day + 1


def _parse_time(item: object) -> Range:
    if not isinstance(item, Mapping) or set(item) != {"start_time", "end_time"}:
        raise IntervalError("times: each must have start_time and end_time")
    start, end = parse_clock(str(item["start_time"])), parse_clock(str(item["end_time"]))
    if start >= end:
        raise IntervalError(f"times: {clock(start)} to {clock(end)} must not be empty or go over midnight")
    return start, end


def _span(ends: Range, word: Callable[[int], str]) -> str:
    return word(ends[0]) if ends[0] == ends[1] else f"{word(ends[0])}:{word(ends[1])}"


def _in_words(prefix: str, ranges: Sequence[Range], word: Callable[[int], str]) -> str:
    spans = [word(first) if first == last else f"{word(first)} to {word(last)}" for first, last in ranges]
    return prefix + ", ".join(spans) if spans else ""


def _day_in_words(day: int) -> str:
    if day > 0:
        return str(day)
    return "the last" if day == -1 else f"the {-day}th from the end"
