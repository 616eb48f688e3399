"""Times as people give them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from django.core.management.base import CommandError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])$")


def parse_time(text: str, now: datetime) -> datetime:
    """Return a time given as ISO 8601 (UTC when it names no zone), Unix seconds, `now` or an age such as `6h`."""
    if text == "now":
        return now
    if found := _AGO.match(text):
        return now - timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is no time; give 2026-11-22T09:00, Unix seconds, now, or an age as 6h") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_seconds(text: str) -> float:
    """Return a duration such as `15s`, `5m` or a number of seconds."""
    if found := _AGO.match(text):
        return float(found[1]) * _UNITS[found[2]]
    try:
        return float(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is no duration; give seconds, 15s, 5m, 6h, 15d") from error
