"""The notation of promtool's unit tests for series: `up{job="x"}` and `1 2x3 4+5x6 _ stale`; nothing else.

Source: Prometheus, promql/parser (ParseSeriesDesc) and docs/configuration/unit_testing_rules.md.
"""

from __future__ import annotations

import re

from monitoring.promql import NAME, STALE_NAN, Labels, ParseError, parse_matchers

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:Inf|inf|NaN|nan)"
_ITEM = re.compile(
    rf"(?P<start>{_NUMBER})(?:(?P<sign>[+-])(?P<step>{_NUMBER.replace('[+-]?', '')}))?(?:x(?P<times>[0-9]+))?"
)
_BLANK = re.compile(r"_(?:x(?P<times>[0-9]+))?")
# A typing error must not fill the memory.
MOST_SAMPLES = 10_000_000


class SeriesError(ValueError):
    """A series or its values that cannot be read; the text says where."""


def parse_series(text: str) -> Labels:
    """Return the label set that a text such as `up{job="x"}` names; an empty text is the empty set."""
    text = text.strip()
    match = _METRIC.match(text)
    name, rest = (match[0], text[match.end() :].strip()) if match else ("", text)
    if rest and not rest.startswith("{"):
        raise SeriesError(f'{text!r}: {rest!r} follows the name; write name{{label="value"}}')
    try:
        matchers = parse_matchers(rest) if rest.strip("{} ") else ()
    except ParseError as error:
        raise SeriesError(f"{text!r}: {error.message}") from error
    if rest and (not rest.endswith("}") or any(matcher.op != "=" for matcher in matchers)):
        raise SeriesError(f'{text!r} is no series; write name{{label="value"}}')
    pairs = {matcher.name: matcher.value for matcher in matchers}
    return Labels.of({**pairs, NAME: name} if name else pairs)


def parse_values(text: str) -> list[float | None]:
    """Return the values of a series, None where there is none, STALE_NAN where it ends."""
    if "{{" in text:
        raise SeriesError("native histograms are not supported; write float values")
    found: list[float | None] = []
    for word in text.split():
        found += _item(word)
        if len(found) > MOST_SAMPLES:
            raise SeriesError(f"more than {MOST_SAMPLES:,} values")
    return found


def _item(word: str) -> list[float | None]:
    if word == "stale":
        return [STALE_NAN]
    if blank := _BLANK.fullmatch(word):
        return [None] * _times(blank["times"] or "1")
    match = _ITEM.fullmatch(word)
    if match is None or (match["step"] and match["times"] is None):
        raise SeriesError(f"{word!r} is no value; write 5, 1x3, 1+2x3, _, _x3 or stale")
    value = float(match["start"])
    step = float(f"{match['sign']}{match['step']}") if match["step"] else 0.0
    found: list[float | None] = [value]
    for _ in range(_times(match["times"] or "0")):
        value += step  # added up as upstream does, rounding included
        found.append(value)
    return found


def _times(text: str) -> int:
    if len(text) > 8 or int(text) > MOST_SAMPLES:
        raise SeriesError(f"x{text}: more than {MOST_SAMPLES:,} values")
    return int(text)
