"""How numbers, spans and moments are written for people; static/js/units.js writes the same in the browser."""

from __future__ import annotations

import math
from datetime import datetime

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SHORT = ("", "k", "M", "G", "T", "P")
_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def number(value: float | None, unit: str = "short") -> str:
    """Return a value with its unit: "short", "percent" (0 to 100), "ratio", "bytes", "bytes/s", "seconds" or a suffix.

    None and NaN are a dash, so a page never shows "nan".
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    if unit == "percent":
        return f"{_trim(value, 1)} %"
    if unit == "ratio":
        return f"{_trim(value * 100, 1)} %"
    if unit in ("bytes", "bytes/s"):
        return _scaled(value, 1024.0, _BINARY, " ") + unit.removeprefix("bytes")
    if unit == "seconds":
        return span(value)
    short = _scaled(value, 1000.0, _SHORT, "")
    return short if unit in ("short", "") else f"{short} {unit}"


def _trim(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _scaled(value: float, step: float, names: tuple[str, ...], gap: str) -> str:
    size, place = abs(value), 0
    while size >= step and place < len(names) - 1:
        size, place = size / step, place + 1
    if place == 0 and 0 < size < 0.01:
        return f"{value:.2g}"
    text = _trim(math.copysign(size, value), 0 if size >= 100 else 1 if size >= 10 else 2)
    return f"{text}{gap if names[place] else ''}{names[place]}"


def span(seconds: float | None) -> str:
    """Return a length of time in its two largest units: "3 d 4 h", "12 min", "0.4 s", "8 ms"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    sign, rest = ("−" if seconds < 0 else ""), abs(seconds)
    if rest < 1:
        return f"{sign}{rest * 1000:.0f} ms" if rest else "0 s"
    if rest < 10:
        return f"{sign}{_trim(rest, 1)} s"
    rest = float(round(rest))
    for place, (size, name) in enumerate(_SPANS):
        if rest >= size:
            whole = f"{sign}{rest // size:.0f} {name}"
            finer = _SPANS[place + 1] if place + 1 < len(_SPANS) and rest // size < 10 else None
            more = (rest % size) // finer[0] if finer else 0
            return f"{whole} {more:.0f} {finer[1]}" if finer and more else whole
    return "0 s"


def age(moment: datetime | None, at: datetime) -> str:
    """Return how long ago `moment` was at `at`, as "12 s ago", "now", "in 5 min" or "never"."""
    if moment is None:
        return "never"
    seconds = (at - moment).total_seconds()
    if -1 < seconds < 1:
        return "now"
    rest = round(abs(seconds))
    words = span(rest - rest % 60 if rest > 60 else rest)  # nobody needs the seconds of an hour ago
    return f"{words} ago" if seconds > 0 else f"in {words}"
