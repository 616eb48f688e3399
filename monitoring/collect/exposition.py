"""The fast reading of what a target says: a scrape looks almost like the one before.

Text before the last space of a line identifies the line; a process remembers each it has read strictly once. While
nothing but numbers changes, only lines that differ from the last scrape's are read (about half of a node_exporter's);
else each line is looked up; what nobody has seen goes through `openmetrics`. A line with its own timestamp or an
exemplar is never remembered, so it is always read strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne

import numpy as np
from numpy.typing import NDArray

from .openmetrics import Malformed, Oversized, check_comment, read_line, read_value

#: Texts remembered per process, about 300 bytes each; one more and the memory starts anew.
MAX_REMEMBERED = 500_000
#: Prometheus gives every NaN of a target these bits (value.NormalNaN), so that none can pass for a stale marker.
NORMAL_NAN = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]
_COMMENT, _REJECTED = "#", ""


@dataclass(frozen=True, slots=True)
class OwnTime:
    """A sample that brings its own time."""

    key: str
    value: float
    at_ms: int


@dataclass(frozen=True, slots=True)
class Exposition:
    """The samples of one scrape.

    `values`: float64 (len(keys),). `keys` is the very same object while nothing but numbers changes. `samples` counts
    all lines with a sample, `repeated` those whose series had come before in the text, `added` the series that the
    scrape before did not have. `warning` tells of series that were left out.
    """

    keys: tuple[str, ...]
    values: NDArray[np.float64]
    own: Sequence[OwnTime]
    samples: int
    added: int
    repeated: int = 0
    warning: str = ""


@dataclass(slots=True)
class _Last:
    """The scrape before: its lines, what stands before the last space of each, and which value each line gave.

    `places`: index into `values` per line, -1 for comments. `heads` are the texts that `_memory` keeps, so they cost
    eight bytes each.
    """

    lines: list[bytes]
    heads: list[bytes]
    places: NDArray[np.intp]
    values: NDArray[np.float64]
    keys: tuple[str, ...]
    samples: int


class _Memory:
    """Lines this process has read strictly: text before the number → (the same text, its series)."""

    def __init__(self) -> None:
        self.lines: dict[bytes, tuple[bytes, str]] = {}
        # Lines that give a metric its type: these are judged by their end, which `lines` leaves out.
        self.types: set[bytes] = set()

    def keep_types(self, lines: list[bytes]) -> None:
        """Remember sound lines with types."""
        if len(self.types) >= MAX_REMEMBERED:
            self.types = set()
        self.types.update(lines)

    def keep(self, head: bytes, key: str) -> None:
        """Remember a line; comments and rejected series have marks for a key."""
        if len(self.lines) >= MAX_REMEMBERED:
            self.lines = {}
        self.lines[head] = head, key


_memory = _Memory()


class Parser:
    """Reads one scrape of a target after the other."""

    def __init__(self, sample_limit: int, honor_timestamps: bool = True) -> None:
        self.sample_limit = sample_limit
        self.honor_timestamps = honor_timestamps
        self._last: _Last | None = None
        self._last_keys: tuple[str, ...] = ()

    def read(self, body: bytes, is_openmetrics: bool) -> Exposition:
        """Return the samples of an exposition; raises Malformed with the line, also for too many samples."""
        lines = body.split(b"\n")
        if not lines[-1]:
            lines.pop()
        if is_openmetrics and (not lines or lines.pop() != b"# EOF"):
            raise Malformed(0, "OpenMetrics without # EOF at its end: the text was cut off")
        return self._changed_only(lines) or _LineByLine(self, is_openmetrics).read(lines)

    def _changed_only(self, lines: list[bytes]) -> Exposition | None:
        """Read only the lines that differ from the last scrape's; None when more than numbers has changed."""
        last = self._last
        if last is None or len(lines) != len(last.lines):
            return None
        changed = list(compress(range(len(lines)), map(ne, lines, last.lines)))
        parts = [lines[number].rpartition(b" ") for number in changed]
        if [part[0] for part in parts] != [last.heads[number] for number in changed]:
            return None
        numbers, places = _numbers([part[2] for part in parts]), last.places[changed]
        if numbers is None or (places < 0).any():
            return None
        values = last.values.copy()
        values[places] = numbers
        last.lines, last.values = lines, values
        return Exposition(last.keys, values, (), last.samples, 0)

    def learn(self, keys: tuple[str, ...], series: frozenset[str]) -> tuple[tuple[str, ...], int]:
        """Return the series and how many are new; the last scrape's object where they are equal.

        Whoever stores them then has nothing to compare.
        """
        if keys == self._last_keys:
            return self._last_keys, 0
        added = len(series.difference(self._last_keys))
        self._last_keys = keys
        return keys, added

    def remember(self, last: _Last | None) -> None:
        """Keep what the next scrape will be compared with."""
        self._last = last


def _numbers(texts: list[bytes]) -> NDArray[np.float64] | None:
    """Return the numbers of some texts, None when one is not a number as Prometheus writes it."""
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    joined = b" ".join(texts)
    if b"_" in joined or b"\r" in joined:  # Python reads 1_000 and 1\r as numbers
        return None
    return _normal(values)


def _normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values[np.isnan(values)] = NORMAL_NAN
    return values


class _LineByLine:
    """One reading of a text whose lines have changed."""

    def __init__(self, parser: Parser, is_openmetrics: bool) -> None:
        self.parser, self.is_openmetrics = parser, is_openmetrics
        self.keys: list[str] = []
        self.values: list[float] = []
        self.own: list[OwnTime] = []
        self.rejected, self.first_rejected = 0, ""
        self.can_repeat = True  # whether the same heads again mean the same series

    def read(self, lines: list[bytes]) -> Exposition:
        self._check_types(lines)
        known = _memory.lines
        parts = [line.rpartition(b" ") for line in lines]
        found = [known.get(part[0]) for part in parts]
        if None not in found and (exposition := self._all_known(lines, parts, found)):  # type: ignore[arg-type]
            return exposition
        heads: list[bytes] = []
        is_sample: list[bool] = []
        looked_up: list[tuple[int, bytes]] = []
        number, text = 0, b""
        try:
            for number, (part, remembered) in enumerate(zip(parts, found, strict=True), 1):
                head, _, text = part
                if remembered is None:
                    key = self._strictly(part)
                else:
                    head, key = remembered
                    if key is not _COMMENT:
                        self.keys.append(key)
                        self.values.append(float(text))
                        looked_up.append((number, text))
                heads.append(head)
                is_sample.append(key is not _COMMENT and key is not _REJECTED)
        except ValueError as error:
            raise Malformed(number, _reason(error, text)) from error
        _check_numbers(looked_up)
        return self._finish(lines, heads, is_sample, np.array(self.values, np.float64))

    def _all_known(
        self, lines: list[bytes], parts: list[tuple[bytes, bytes, bytes]], found: list[tuple[bytes, str]]
    ) -> Exposition | None:
        """Read a text of which each line has been seen before, in another order or number; None if a number is none."""
        is_sample = [key is not _COMMENT for _, key in found]
        values = _numbers([part[2] for part in compress(parts, is_sample)])
        if values is None:
            return None
        self.keys = [key for _, key in compress(found, is_sample)]
        return self._finish(lines, [head for head, _ in found], is_sample, values)

    def _check_types(self, lines: list[bytes]) -> None:
        new = [line for line in lines if line[:7] == b"# TYPE " and line not in _memory.types]
        for line in new:
            try:
                check_comment(line)
            except ValueError as error:
                raise Malformed(lines.index(line) + 1, str(error)) from error
        _memory.keep_types(new)

    def _strictly(self, part: tuple[bytes, bytes, bytes]) -> str:
        """Read a line nobody has seen; return its series, or a mark when it gives no sample at the scrape's time."""
        head, space, text = part
        line = head + space + text
        if not line:
            if self.is_openmetrics:
                raise ValueError("an empty line, which OpenMetrics does not allow")
            return _COMMENT
        if line.startswith(b"#"):
            if head and head != b"#":
                _memory.keep(head, _COMMENT)
            return _COMMENT
        try:
            found = read_line(line, self.is_openmetrics)
        except Oversized as error:
            self.rejected += 1
            self.first_rejected = self.first_rejected or str(error)
            self.can_repeat = False
            return _REJECTED
        if found.at_ms is not None and self.parser.honor_timestamps:
            self.own.append(OwnTime(found.key, float(_normal(np.array([found.value]))[0]), found.at_ms))
            self.can_repeat = False
            return _REJECTED
        self.keys.append(found.key)
        self.values.append(found.value)
        if found.at_ms is None and not found.has_exemplar and space:
            _memory.keep(head, found.key)
        else:
            self.can_repeat = False
        return found.key

    def _finish(
        self, lines: list[bytes], heads: list[bytes], is_sample: list[bool], numbers: NDArray[np.float64]
    ) -> Exposition:
        samples = len(self.keys) + len(self.own) + self.rejected
        if samples > self.parser.sample_limit:
            raise Malformed(0, f"{samples:,} samples; {self.parser.sample_limit:,} are allowed for this target")
        series = frozenset(self.keys)
        repeated = len(self.keys) - len(series)
        keys, values = self._once(numbers) if repeated else (tuple(self.keys), numbers)
        keys, added = self.parser.learn(keys, series)
        values = _normal(values)
        warnings = []
        if repeated:
            warnings.append(f"{repeated:,} samples of series that had come before in the text were dropped")
        if self.rejected:
            warnings.append(f"{self.rejected:,} series were left out: {self.first_rejected}")
        last = None
        if self.can_repeat and not repeated:
            places = np.where(is_sample, np.cumsum(is_sample) - 1, -1)
            last = _Last(lines, heads, places, values, keys, samples)
        self.parser.remember(last)
        return Exposition(keys, values, self.own, samples, added, repeated, "; ".join(warnings))

    def _once(self, values: NDArray[np.float64]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return series and values without those that come again; the first wins, as in Prometheus."""
        first: dict[str, int] = {}
        for place, key in enumerate(self.keys):
            first.setdefault(key, place)
        return tuple(first), values[list(first.values())]


def _check_numbers(texts: list[tuple[int, bytes]]) -> None:
    """Refuse what only Python takes for a number, with its line."""
    for number, text in texts:
        if b"_" in text or b"\r" in text:
            raise Malformed(number, _reason(ValueError(), text))


def _reason(error: ValueError, text: bytes) -> str:
    """Return what is wrong in our words; the look-up path fails with Python's own message about the number."""
    message = str(error)
    if message and not message.startswith("could not convert"):
        return message
    try:
        read_value(text.decode("utf-8", "replace"))
    except ValueError as plain:
        return str(plain)
    return f"expected a number, got {text[:100]!r}"
