"""The strict reading of one line of an exposition: Prometheus' text format and OpenMetrics, with UTF-8 names.

Slow and exact; `exposition` asks it only for lines it has not seen. Grammar: Prometheus, model/textparse
(promlex.l, openmetricslex.l).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A label set beyond these is a mistake (a stack trace, a document); the series is left out, the rest is taken.
MAX_LABELS = 128
MAX_LABEL_NAME_CHARS = 256
MAX_LABEL_VALUE_CHARS = 4_096

TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
OPENMETRICS_TYPES = TYPES - {"untyped"} | {"unknown", "info", "stateset", "gaugehistogram"}

# Each loop takes a character in one way only, so that no text makes them try again.
_INSIDE = r'[^"\\\n]*(?:\\.[^"\\\n]*)*'
_STRING = rf'"({_INSIDE})"'
_BRACES = rf'\{{[^"}}]*(?:"{_INSIDE}"[^"}}]*)*\}}'
_SERIES = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)?[ \t]*({_BRACES})?")
_EXEMPLAR = re.compile(rf"[ \t]*({_BRACES})[ \t]+")
_PAIR = re.compile(rf"[ \t]*(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_STRING})[ \t]*=[ \t]*{_STRING}[ \t]*(,|$)")
_QUOTED = re.compile(rf"[ \t]*{_STRING}[ \t]*(,|$)")
_VALUE = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI][nN][fF](?:inity)?|[nN][aA][nN])")
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n", "\\": "\\", '"': '"'}
SHOWN_CHARS = 100


class Malformed(ValueError):
    """A text that is no exposition; `line` counts from 1 (0: the text as a whole)."""

    def __init__(self, line: int, reason: str) -> None:
        self.line, self.reason = line, reason
        super().__init__(f"line {line}: {reason}" if line else reason)


class Oversized(ValueError):
    """A series whose labels are beyond the limits."""


@dataclass(frozen=True, slots=True)
class Line:
    """One sample: the text of its series as written, its labels (without the name), value and own time if any."""

    key: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    at_ms: int | None
    has_exemplar: bool


def read_line(line: bytes, is_openmetrics: bool) -> Line:
    """Return the sample of a line that is neither empty nor a comment.

    Raises ValueError with the reason, Oversized when the series is readable but too large.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}: {line[:SHOWN_CHARS]!r}") from error
    found = _SERIES.match(text)
    if found is None or not found.end():
        raise ValueError(f"expected a metric name, got {_shown(text)}")
    name, labels = _series(found[1] or "", found[2], text)
    rest = text[found.end() :]
    if rest[:1] == "{" or not (found[2] or found[0].endswith((" ", "\t"))):
        raise ValueError(f"expected labels in braces or a value after {_shown(found[0])}, got {_shown(rest)}")
    sample, mark, exemplar = rest.partition(" # ")
    if mark:
        if not is_openmetrics:
            raise ValueError(f"exemplars are part of OpenMetrics only: {_shown(text)}")
        _check_exemplar(exemplar)
    words = _words(sample)
    if not words or len(words) > 2:
        raise ValueError(f"expected a value and at most a timestamp after {_shown(found[0])}, got {_shown(rest)}")
    value = read_value(words[0])
    at_ms = _time(words[1], is_openmetrics) if len(words) == 2 else None
    return Line(found[0].strip(), name, labels, value, at_ms, bool(mark))


def read_value(word: str) -> float:
    """Return a number as Prometheus writes it; raises ValueError for anything else Python would take."""
    if not _VALUE.fullmatch(word):
        raise ValueError(f"expected a number, got {_shown(word)}")
    return float(word)


def check_comment(line: bytes) -> None:
    """Raise ValueError for a TYPE that is none; other comments may say what they like."""
    words = line.split(None, 3)
    if len(words) < 3 or words[0] != b"#" or words[1] != b"TYPE":
        return
    kind = words[3].decode("utf-8", "replace").strip() if len(words) > 3 else ""
    if kind not in TYPES | OPENMETRICS_TYPES:
        raise ValueError(f"expected a metric type after {_shown(b' '.join(words[:3]).decode('utf-8', 'replace'))}, "
                         f"got {_shown(kind)}")  # fmt: skip


def key_labels(key: str) -> dict[str, str]:
    """Return the labels of a series text that was read before."""
    found = _SERIES.match(key)
    return dict(_pairs(found[2], key)[1]) if found and found[2] else {}


def _series(name: str, braces: str | None, text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    quoted, labels = _pairs(braces, text) if braces else ("", [])
    if name and quoted:
        raise ValueError(f"two metric names in {_shown(text)}")
    if not name and not quoted:
        raise ValueError(f"expected a metric name, got {_shown(text)}")
    if len({label for label, _ in labels}) != len(labels):
        raise ValueError(f"a label twice in {_shown(text)}")
    if len(labels) > MAX_LABELS:
        raise Oversized(f"{len(labels)} labels, {MAX_LABELS} are allowed: {_shown(text)}")
    for label, value in labels:
        if len(label) > MAX_LABEL_NAME_CHARS:
            raise Oversized(
                f"label name of {len(label):,} characters, {MAX_LABEL_NAME_CHARS} are allowed: {_shown(text)}"
            )
        if len(value) > MAX_LABEL_VALUE_CHARS:
            sizes = f"{len(value):,} characters, {MAX_LABEL_VALUE_CHARS:,} are allowed"
            raise Oversized(f"label {label} has {sizes}: {_shown(text)}")
    return name or quoted, tuple(labels)


def _pairs(braces: str, text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the quoted metric name ("" without one) and the labels inside braces."""
    body, position, quoted = braces[1:-1], 0, ""
    if found := _QUOTED.match(body):
        quoted, position = _unescaped(found[1]), found.end()
    labels = []
    while position < len(body) and body[position:].strip(" \t"):
        found = _PAIR.match(body, position)
        if found is None:
            raise ValueError(f'expected label="value", got {_shown(body[position:])} in {_shown(text)}')
        labels.append((found[1] or _unescaped(found[2] or ""), _unescaped(found[3])))
        position = found.end()
    return quoted, labels


def _check_exemplar(text: str) -> None:
    """Raise ValueError for an exemplar that is not `{labels} value [timestamp]`."""
    found = _EXEMPLAR.match(text)
    if found is None:
        raise ValueError(f"expected an exemplar's labels, got {_shown(text)}")
    _pairs(found[1], text)
    words = _words(text[found.end() :])
    if not words or len(words) > 2:
        raise ValueError(f"expected an exemplar's value, got {_shown(text[found.end() :])}")
    for word in words:
        read_value(word)


def _time(word: str, is_openmetrics: bool) -> int:
    """Return a sample's own time in epoch milliseconds: written so in the text format, in seconds in OpenMetrics."""
    if is_openmetrics:
        seconds = read_value(word)
        if not abs(seconds) < 1e15:
            raise ValueError(f"expected a timestamp in seconds, got {_shown(word)}")
        return round(seconds * 1000)
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        raise ValueError(f"expected a timestamp in milliseconds, got {_shown(word)}")
    return int(word)


def _words(text: str) -> list[str]:
    """Return what stands between blanks; other white space is none here."""
    return [word for word in text.replace("\t", " ").split(" ") if word]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _UNESCAPED.get(found[1], found[0]), text) if "\\" in text else text


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…")
