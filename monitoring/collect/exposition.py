"""The fast reading of what a target says: a scrape looks almost like the one before.

Text before the last space of a line identifies the line; a process remembers each it has read strictly once. While
little but numbers changes, only lines that differ from the last scrape's are read, and the few that came or went; else
each line is looked up; what nobody has seen goes through `openmetrics`. A line with its own timestamp or an exemplar is
never remembered, so it is always read strictly.
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
#: So many places of a text may have got or lost lines, and so many lines at each, before all of them are looked up.
MAX_SHIFTS, MAX_SHIFTED_LINES = 12, 8
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
    """The scrape before: its lines, what stands before the last space of each, and their series and values.

    `before`: intp (len(lines) + 1,), how many samples the lines before each give: a line that gives one gives
    `keys[before[line]]`. `values`: float64 (len(keys),). Heads are objects shared by the whole process; a list of them
    costs eight bytes each.
    """

    lines: list[bytes]
    heads: list[bytes]
    before: NDArray[np.intp]
    values: NDArray[np.float64]
    keys: tuple[str, ...]


@dataclass(slots=True)
class _Difference:
    """How a text differs from the one before.

    `runs`: (first line, first line of the text before, length) of lines that stand in both, numbers aside. `changed`:
    lines within runs whose numbers differ; `numbers`: their texts.
    """

    runs: list[tuple[int, int, int]]
    changed: list[int]
    numbers: list[bytes]


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
        """Read only the lines that differ from the last scrape's; None when too much has changed, or something odd."""
        last = self._last
        difference = _difference(lines, last) if last else None
        if last is None or difference is None:
            return None
        is_same = len(lines) == len(last.lines) and difference.runs == [(0, 0, len(lines))]
        now = last if is_same else _shifted(lines, last, difference.runs)
        numbers, added = _numbers(difference.numbers), 0
        if now is None or numbers is None or len(now.keys) > self.sample_limit:
            return None
        changed = np.array(difference.changed, np.intp)
        places = now.before[changed]
        if (now.before[changed + 1] == places).any():
            return None  # a comment says something else
        if is_same:
            now.lines, now.values = lines, last.values.copy()
        else:
            series = frozenset(now.keys)
            if len(series) < len(now.keys):
                return None  # one series twice
            now.keys, added = self.learn(now.keys, series)
            self._last = now
        now.values[places] = numbers
        return Exposition(now.keys, now.values, (), len(now.keys), added)

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


def _difference(lines: list[bytes], last: _Last) -> _Difference | None:
    """How the lines differ from the last ones; None when too many have come and gone."""
    found = _Difference([], [], [])
    line, old = 0, 0
    while True:
        common = min(len(lines) - line, len(last.lines) - old)
        end = line + common
        for number in compress(range(line, end), map(ne, lines[line:], last.lines[old:])):
            head, _, text = lines[number].rpartition(b" ")
            if head != last.heads[number - line + old]:
                end = number
                break
            found.changed.append(number)
            found.numbers.append(text)
        if end > line:
            found.runs.append((line, old, end - line))
        line, old = end, old + end - line
        if line == len(lines) and old == len(last.lines):
            return found
        step = _shift(lines[line : line + MAX_SHIFTED_LINES + 1], last.heads[old : old + MAX_SHIFTED_LINES + 1])
        if step is None or len(found.runs) > MAX_SHIFTS:
            return None
        line, old = line + step[0], old + step[1]


def _shift(lines: list[bytes], old_heads: list[bytes]) -> tuple[int, int] | None:
    """How many lines came and how many went where two texts part; the end of a text matches the end of the other."""
    heads = [line.rpartition(b" ")[0] for line in lines]
    here: list[bytes | None] = heads + [None] * (len(heads) <= MAX_SHIFTED_LINES)
    there: list[bytes | None] = old_heads + [None] * (len(old_heads) <= MAX_SHIFTED_LINES)
    for step in range(1, MAX_SHIFTED_LINES + 1):
        for came, went in ((step, 0), (0, step), (step, step)):
            if came < len(here) and went < len(there) and here[came] == there[went]:
                return came, went
    return None


def _shifted(lines: list[bytes], last: _Last, runs: list[tuple[int, int, int]]) -> _Last | None:
    """What to keep of lines of which some are new: the values are the last ones where there are any.

    None when one is new to this process.
    """
    heads: list[bytes] = []
    is_sample: list[NDArray[np.bool_]] = []
    keys: list[str] = []
    values: list[NDArray[np.float64]] = []
    before = last.before
    for line, old, length in [*runs, (len(lines), len(last.lines), 0)]:
        for new in lines[len(heads) : line]:
            head, _, text = new.rpartition(b" ")
            known = _memory.lines.get(head)
            if known is None or (new[:7] == b"# TYPE " and new not in _memory.types):
                return None
            heads.append(known[0])
            is_sample.append(np.array([known[1] is not _COMMENT]))
            if known[1] is not _COMMENT:
                number = _numbers([text])
                if number is None:
                    return None
                keys.append(known[1])
                values.append(number)
        first, end = before[old], before[old + length]
        heads += last.heads[old : old + length]
        is_sample.append(np.diff(before[old : old + length + 1]).astype(bool))
        keys += last.keys[first:end]
        values.append(last.values[first:end])
    return _Last(lines, heads, _counted(np.concatenate(is_sample)), np.concatenate(values), tuple(keys))


def _counted(is_sample: NDArray[np.bool_] | list[bool]) -> NDArray[np.intp]:
    """How many samples come before each line, and in all."""
    return np.concatenate([[0], np.cumsum(is_sample, dtype=np.intp)])


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
            last = _Last(lines, heads, _counted(is_sample), values, keys)
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
