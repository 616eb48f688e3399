"""The parameters of a request to the HTTP API, read as Prometheus reads them (web/api/v1/api.go, parseTime …)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.http import HttpRequest, QueryDict

from .promql import Matcher, ParseError
from .promql.lex import duration_ms
from .promql.parse import parse_selector_text

Value = TypeVar("Value")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What clients send for "from the beginning" and "to the end": minTimeFormatted and maxTimeFormatted upstream.
_UNBOUNDED = ("-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

#: A duration is int64 nanoseconds upstream.
MAX_SECONDS = 2**63 / 1e9


class BadData(ValueError):
    """A parameter that cannot be used; the text is meant for the caller."""


class Params:
    """The parameters of one request: those of the body before those of the address, as Go's FormValue."""

    def __init__(self, request: HttpRequest) -> None:
        self._sources = (request.POST, request.GET) if request.method == "POST" else (request.GET,)

    def text(self, name: str, default: str = "") -> str:
        """Return the first value of a parameter."""
        for source in self._sources:
            if name in source:
                return _first(source, name)
        return default

    def texts(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [value for source in self._sources for value in source.getlist(name)]

    def time(self, name: str, default: datetime) -> datetime:
        """Return a time (seconds or RFC 3339) in milliseconds' precision; raises BadData."""
        return self._read(name, parse_time) or default

    def time_or_none(self, name: str) -> datetime | None:
        """Return a time, None when it is not given or stands for no bound; raises BadData."""
        return None if self.text(name) in _UNBOUNDED else self._read(name, parse_time)

    def seconds(self, name: str) -> float | None:
        """Return a duration (seconds or 1h30m) in seconds, None when it is not given; raises BadData."""
        return self._read(name, parse_duration)

    def limit(self, name: str = "limit") -> int:
        """Return how many results are wanted at most, 0 for all; raises BadData."""
        text = self.text(name)
        if not text:
            return 0
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise BadData(f'invalid parameter "{name}": cannot parse "{text}" to a number')
        if int(text) < 0:
            raise BadData(f'invalid parameter "{name}": {name} must be non-negative')
        return int(text)

    def selectors(self, is_required: bool = False) -> list[tuple[Matcher, ...]]:
        """Return the matchers of each match[]; raises BadData, also for a selector that would select everything."""
        given = self.texts("match[]")
        if is_required and not given:
            raise BadData("no match[] parameter provided")
        return [_selector(text) for text in given]

    def span(self) -> tuple[datetime | None, datetime | None]:
        """Return start and end, None where there is no bound; raises BadData."""
        start, end = self.time_or_none("start"), self.time_or_none("end")
        if start is not None and end is not None and end < start:
            raise BadData('invalid parameter "end": end timestamp must not be before start time')
        return start, end

    def _read(self, name: str, parse: Callable[[str], Value]) -> Value | None:
        text = self.text(name)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise BadData(f'invalid parameter "{name}": {error}') from error


def _first(source: QueryDict, name: str) -> str:
    values = source.getlist(name)
    return values[0] if values else ""


def parse_time(text: str) -> datetime:
    """Return the time that seconds since the epoch or RFC 3339 name; raises ValueError."""
    problem = f'cannot parse "{text[:100]}" to a valid timestamp'
    try:
        if _FLOAT.fullmatch(text):
            return _EPOCH + timedelta(milliseconds=round(float(text) * 1000))
        found = _RFC3339.fullmatch(text)
        if found is None:
            raise ValueError(problem)
        nanoseconds = int((found[2] or "").ljust(9, "0"))
        whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).astimezone(UTC)
        return whole + timedelta(milliseconds=nanoseconds // 1_000_000)
    except (ValueError, OverflowError) as error:
        raise ValueError(problem) from error


def parse_duration(text: str) -> float:
    """Return the seconds that a number or 1h30m names; raises ValueError."""
    problem = f'cannot parse "{text[:100]}" to a valid duration'
    is_number = _FLOAT.fullmatch(text) is not None
    try:
        milliseconds = float(text) * 1000 if is_number else duration_ms(text)
        seconds = None if milliseconds is None else milliseconds / 1000
    except (ValueError, OverflowError) as error:  # too many digits for Python's int or float
        raise ValueError(problem) from error
    if seconds is None:
        raise ValueError(problem)
    if abs(seconds) >= MAX_SECONDS:
        raise ValueError(f"{problem}. It overflows int64")
    return seconds


def _selector(text: str) -> tuple[Matcher, ...]:
    try:
        matchers = parse_selector_text(text)
    except ParseError as error:
        raise BadData(f'invalid parameter "match[]": {error}') from error
    if all(matcher.matches("") for matcher in matchers):
        raise BadData('invalid parameter "match[]": match[] must contain at least one non-empty matcher')
    return matchers
