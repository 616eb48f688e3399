"""Samples as text with times, line by line: Prometheus text, OpenMetrics and what `promtool tsdb dump` prints. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from ..promql.labels import NAME, Labels
from .keys import sample_key

#: Seconds of any century stay below it, milliseconds passed it in 1973.
SECONDS_BELOW = 1e11


class BadLine(ValueError):
    """A line that holds no sample with a time; the text names the line."""


def read_lines(lines: Iterable[str]) -> Iterator[tuple[str, float, int]]:
    """Yield (series text, value, time in ms) of each sample; raises BadLine.

    Times are milliseconds in Prometheus text and in dumps, seconds in OpenMetrics; their size tells them apart.
    """
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        try:
            yield _sample(line)
        except (ValueError, OverflowError) as error:
            raise BadLine(f"line {number}: no series, value and time in {line[:120]!r}") from error


def _sample(line: str) -> tuple[str, float, int]:
    if " # {" in line:
        line = line[: _end_of_series(line)] + line[_end_of_series(line) :].partition(" # ")[0]  # an exemplar
    key, value, time = line.rsplit(None, 2)
    if "{" in key and not key.endswith("}"):
        raise ValueError("a label value ends in the middle")
    seconds = float(time)
    if not math.isfinite(seconds):
        raise ValueError("not a time")
    return key, float(value), round(seconds * 1000) if abs(seconds) < SECONDS_BELOW else int(float(time))


def _end_of_series(line: str) -> int:
    """Return where the labels end: after the first closing brace that stands outside of quotes."""
    is_quoted = is_escaped = False
    for place, char in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif char == "\\" and is_quoted:
            is_escaped = True
        elif char == '"':
            is_quoted = not is_quoted
        elif char == "}" and not is_quoted:
            return place + 1
        elif char.isspace() and not is_quoted and "{" not in line[:place]:
            return place
    return len(line)


def sample_line(labels: Labels, at_ms: int, value: float) -> str:
    """Return one sample as OpenMetrics writes it, time in seconds."""
    pairs = labels.as_dict()
    name = pairs.pop(NAME, "")
    return f"{sample_key(name, pairs)} {format_value(value)} {at_ms / 1000:.3f}"


def format_value(value: float) -> str:
    """Return a value so that it is read back exactly; infinities and NaN as the formats want them."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
