"""Times and durations as Go templates see them: layouts by example date, and the methods worth calling.

Hides Go's time package: format.go (layouts) and time.go (Duration.String).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds; prints as Go does, 1h30m0s."""

    ns: int

    def __bool__(self) -> bool:
        """Return whether it is not zero."""
        return self.ns != 0

    def __str__(self) -> str:
        """Return Go's text form."""
        size = abs(self.ns)
        sign = "-" if self.ns < 0 else ""
        if size == 0:
            return "0s"
        for unit, unit_ns in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
            if size < unit_ns * 1_000:
                return f"{sign}{_decimal(size, unit_ns)}{unit}"
        minutes, rest_ns = divmod(size, 60 * _NS)
        seconds = f"{_decimal(rest_ns, _NS)}s"
        hours, minutes_left = divmod(minutes, 60)
        if hours:
            return f"{sign}{hours}h{minutes_left}m{seconds}"
        return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _decimal(size: int, unit: int) -> str:
    whole, rest = divmod(size, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """A moment in UTC, in milliseconds since 1970."""

    ms: int

    @property
    def moment(self) -> datetime:
        """The moment as an aware datetime; OverflowError outside the years 1 to 9999."""
        return _EPOCH + timedelta(milliseconds=self.ms)

    def __str__(self) -> str:
        """Return Go's text form, 2006-01-02 15:04:05.999999999 -0700 MST."""
        return format_time(self, "2006-01-02 15:04:05.999999999 -0700 MST")


_MONTHS: tuple[str, ...] = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS: tuple[str, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|Z07:00|Z0700|-07:00|-0700|-07|[.,](?:0+|9+)(?!\d)|_2|__2|002|01|02|03|04|05|06|15"
    r"|PM|pm|1|2|3|4|5"
)
_ELEMENTS: dict[str, Callable[[datetime], str]] = {
    "January": lambda t: _MONTHS[t.month - 1],
    "Jan": lambda t: _MONTHS[t.month - 1][:3],
    "Monday": lambda t: _DAYS[t.weekday()],
    "Mon": lambda t: _DAYS[t.weekday()][:3],
    "MST": lambda _: "UTC",
    "2006": lambda t: f"{t.year:04d}",
    "06": lambda t: f"{t.year % 100:02d}",
    "01": lambda t: f"{t.month:02d}",
    "1": lambda t: str(t.month),
    "02": lambda t: f"{t.day:02d}",
    "_2": lambda t: f"{t.day:2d}",
    "2": lambda t: str(t.day),
    "002": lambda t: f"{t.timetuple().tm_yday:03d}",
    "__2": lambda t: f"{t.timetuple().tm_yday:3d}",
    "15": lambda t: f"{t.hour:02d}",
    "03": lambda t: f"{(t.hour + 11) % 12 + 1:02d}",
    "3": lambda t: str((t.hour + 11) % 12 + 1),
    "04": lambda t: f"{t.minute:02d}",
    "4": lambda t: str(t.minute),
    "05": lambda t: f"{t.second:02d}",
    "5": lambda t: str(t.second),
    "PM": lambda t: "AM" if t.hour < 12 else "PM",
    "pm": lambda t: "am" if t.hour < 12 else "pm",
    "Z07:00": lambda _: "Z",
    "Z0700": lambda _: "Z",
    "-07:00": lambda _: "+00:00",
    "-0700": lambda _: "+0000",
    "-07": lambda _: "+00",
}


def format_time(time: Time, layout: str) -> str:
    """Return a time in a Go layout, which shows the parts of Mon Jan 2 15:04:05 MST 2006."""
    moment = time.moment

    def part(match: re.Match[str]) -> str:
        word = match.group()
        if word[0] not in ".,":
            return _ELEMENTS[word](moment)
        digits = f"{moment.microsecond:06d}000"[: len(word) - 1]
        if word[1] == "9":
            digits = digits.rstrip("0")
        return word[0] + digits if digits else ""

    return _LAYOUT.sub(part, layout)


Method = tuple[tuple[str, ...], Callable[..., object]]

# Name -> (kinds of the parameters, function). Only these can be called from a template.
TIME_METHODS: dict[str, Method] = {
    "Format": (("string",), format_time),
    "String": ((), str),
    "Unix": ((), lambda time: time.ms // 1000),
    "UnixMilli": ((), lambda time: time.ms),
    "UnixNano": ((), lambda time: time.ms * 1_000_000),
    "Add": (("duration",), lambda time, span: Time(time.ms + span.ns // 1_000_000)),
    "Sub": (("time",), lambda time, other: Duration((time.ms - other.ms) * 1_000_000)),
    "Before": (("time",), lambda time, other: time.ms < other.ms),
    "After": (("time",), lambda time, other: time.ms > other.ms),
    "Equal": (("time",), lambda time, other: time.ms == other.ms),
    "UTC": ((), lambda time: time),
    "Year": ((), lambda time: time.moment.year),
    "Month": ((), lambda time: _MONTHS[time.moment.month - 1]),
    "Day": ((), lambda time: time.moment.day),
    "YearDay": ((), lambda time: time.moment.timetuple().tm_yday),
    "Weekday": ((), lambda time: _DAYS[time.moment.weekday()]),
    "Hour": ((), lambda time: time.moment.hour),
    "Minute": ((), lambda time: time.moment.minute),
    "Second": ((), lambda time: time.moment.second),
}
DURATION_METHODS: dict[str, Method] = {
    "String": ((), str),
    "Hours": ((), lambda span: span.ns / (3600 * _NS)),
    "Minutes": ((), lambda span: span.ns / (60 * _NS)),
    "Seconds": ((), lambda span: span.ns / _NS),
    "Milliseconds": ((), lambda span: span.ns // 1_000_000),
    "Microseconds": ((), lambda span: span.ns // 1_000),
    "Nanoseconds": ((), lambda span: span.ns),
}
