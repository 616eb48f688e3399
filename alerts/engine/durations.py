"""Durations as Prometheus writes them ("1h30m"), to and from seconds; hides the grammar.

The grammar is that of prometheus/common, model/time.go ParseDuration: whole numbers, units in falling order
y w d h m s ms, each at most once. A year has 365 days.
"""

import re

_UNIT_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_PATTERN = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _UNIT_MS))
# Years, weeks and days are printed only when nothing is left over, as Prometheus does: 90 minutes past a day is 25h30m.
_ONLY_WHOLE = frozenset({"y", "w", "d"})
# Go's time.Duration counts nanoseconds in an int64.
_MAX_MS = (2**63 - 1) // 1_000_000


def parse_duration(text: str) -> float:
    """Return the seconds that a Prometheus duration such as "1h30m" means; ValueError says what is wrong with it."""
    stripped = text.strip()
    if not stripped:
        raise ValueError('empty duration: write a number and a unit, for example "5m"')
    if stripped == "0":
        return 0.0
    match = _PATTERN.fullmatch(stripped)
    if match is None:
        raise ValueError(_complaint(stripped))
    total_ms = sum(int(count) * _UNIT_MS[unit] for unit, count in match.groupdict().items() if count is not None)
    if total_ms > _MAX_MS:
        raise ValueError(f'duration "{stripped}" is out of range: at most about 292 years')
    return total_ms / 1000


def format_duration(seconds: float) -> str:
    """Return seconds as the shortest Prometheus duration, to the millisecond: 5400 gives "1h30m", 0 gives "0s"."""
    left_ms = round(seconds * 1000)
    if left_ms < 0:
        raise ValueError(f"a duration cannot be negative: {seconds} seconds")
    if left_ms == 0:
        return "0s"
    parts = []
    for unit, unit_ms in _UNIT_MS.items():
        if unit in _ONLY_WHOLE and left_ms % unit_ms:
            continue
        count, left_ms = divmod(left_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _complaint(text: str) -> str:
    if text.startswith("-"):
        return f'duration "{text}" is negative: it must be 0 or more'
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return f'duration "{text}" has no unit: write for example "{text.split(".")[0]}s" or "{text.split(".")[0]}m"'
    if "." in text:
        return f'duration "{text}" has a fraction: write whole numbers, for example "1h30m" instead of "1.5h"'
    return f'"{text}" is not a duration: write whole numbers with y, w, d, h, m, s or ms in that order, as in "1h30m"'
