"""Many distinct label values as one matrix of characters, so that a plain regular expression costs a few comparisons.

A regular expression over 100,000 values takes an automaton tens of milliseconds, most of it calls. What people write is
mostly a beginning, a gap and an end (``pod-.*5.``): that is asked of all values at once, character by character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .matchers import Matcher, predicate

Mask = NDArray[np.bool_]
Characters = tuple[frozenset[int] | None, ...]  # codes allowed at each place; None: any

#: Longer columns of longer values are not worth the memory: this many bytes at most.
MAX_BYTES = 64 << 20
# One place of a pattern: a plain character, an escaped sign, a digit, any character, or a class without escapes.
_PLACE = re.compile(r"(?P<plain>[\w \-/:@,;=<>%&~#!'\"])|\\(?P<sign>[.\-/+*?()|^$])|(?P<digit>\\d)|(?P<any>\.)"
                    r"|\[(?P<not>\^?)(?P<set>[\w][\w\-]*)\]", re.ASCII)  # fmt: skip
_DIGITS = frozenset(b"0123456789")
_EVERY = frozenset(range(128))


@dataclass(frozen=True, slots=True)
class Shape:
    """A beginning and an end of fixed length, and how many characters stand between them at least; None: no gap."""

    beginning: Characters
    end: Characters
    gap: int | None


class TextColumn:
    """Distinct values of a label, in the order given; made once, asked often."""

    def __init__(self, values: Sequence[str]) -> None:
        """Lay the values out; a column with other than ASCII characters, or a huge one, answers nothing."""
        self.values = values
        self.count = len(values)
        self._lengths = np.fromiter(map(len, values), np.int64, self.count)
        width = int(self._lengths.max(initial=1))
        self._matrix: NDArray[np.uint8] | None = None
        if width * self.count <= MAX_BYTES and self.count:
            try:
                rows = np.array(values, dtype=f"S{max(width, 1)}").view(np.uint8).reshape(self.count, -1)
            except UnicodeEncodeError:
                return
            self._matrix = np.ascontiguousarray(rows.T)

    def mask(self, matcher: Matcher) -> Mask:
        """Return which values satisfy a matcher; raise EvaluationError for a bad regular expression."""
        found = self.matching(matcher.value) if matcher.op in ("=~", "!~") else None
        if found is not None:
            return ~found if matcher.op == "!~" else found
        accepts = predicate(matcher.op, matcher.value)
        return np.fromiter(map(bool, map(accepts, self.values)), bool, self.count)

    def matching(self, pattern: str) -> Mask | None:
        """Return which values a regular expression matches as a whole; None when it must be asked value by value."""
        shape = shape_of(pattern)
        if shape is None or self._matrix is None:
            return None
        places = len(shape.beginning) + len(shape.end)
        if shape.gap is None:
            found: Mask = self._lengths == places
        else:
            found = self._lengths >= places + shape.gap
        for place, allowed in enumerate(shape.beginning):
            if allowed is not None and place < len(self._matrix):
                found &= _allows(allowed, self._matrix[place])
        rows = np.flatnonzero(found) if any(shape.end) else np.empty(0, np.intp)
        for back, allowed in enumerate(reversed(shape.end), 1):
            if allowed is not None:
                rows = rows[_allows(allowed, self._matrix[self._lengths[rows] - back, rows])]
        if any(allowed is not None for allowed in shape.end):
            found = np.zeros(self.count, bool)
            found[rows] = True
        return found


def _allows(allowed: frozenset[int], codes: NDArray[np.uint8]) -> Mask:
    if len(allowed) == 1:
        (code,) = allowed
        same: Mask = codes == code
        return same
    table: Mask = np.zeros(256, bool)
    table[list(allowed)] = True
    found: Mask = table[codes]
    return found


@lru_cache(maxsize=1024)
def shape_of(pattern: str) -> Shape | None:
    """Return a regular expression as beginning, gap and end; None when it says more than that."""
    parts = re.split(r"(?<!\\)(\.[*+])", pattern)
    if len(parts) not in (1, 3):
        return None
    beginning, end = _places(parts[0]), _places(parts[-1]) if len(parts) == 3 else ()
    if beginning is None or end is None:
        return None
    return Shape(beginning, end, None if len(parts) == 1 else int(parts[1] == ".+"))


def _places(text: str) -> Characters | None:
    found: list[frozenset[int] | None] = []
    at = 0
    while at < len(text):
        match = _PLACE.match(text, at)
        if match is None:
            return None
        found.append(_codes(match))
        at = match.end()
    return tuple(found)


def _codes(match: re.Match[str]) -> frozenset[int] | None:
    if match["any"]:
        return None
    if match["digit"]:
        return _DIGITS
    if match["set"]:
        members = frozenset(code for code in _EVERY if re.fullmatch(f"[{match['set']}]", chr(code)))
        return _EVERY - members if match["not"] else members
    return frozenset((match["plain"] or match["sign"]).encode())
