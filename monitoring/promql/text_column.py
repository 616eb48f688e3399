"""Many distinct label values as one matrix of characters, so that a regular expression is asked of all of them at once.

A regular expression over 100,000 values takes an automaton tens of milliseconds, most of it calls. Here the values walk
through the places of the pattern side by side, character by character: a few comparisons of bytes for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .matchers import Matcher, predicate
from .positions import EVERY, Codes, Positions, quicker_way

Mask = NDArray[np.bool_]
Characters = NDArray[np.uint8]
Lengths = NDArray[np.unsignedinteger[Any]]

#: Longer columns of longer values are not worth the memory: this many bytes at most.
MAX_BYTES = 64 << 20
#: A pattern that takes more steps (places that texts may be at, summed over the characters) is asked value by value.
MAX_STEPS = 800
#: Texts that can no longer match are left out once this share of them is left.
FEW = 4


class TextColumn:
    """Distinct values of a label, in the order given; made once, asked often."""

    def __init__(self, values: Sequence[str]) -> None:
        """Lay the values out; a column with other than ASCII characters, or a huge one, answers nothing."""
        self.values = values
        self.count = len(values)
        lengths = np.fromiter(map(len, values), np.int64, self.count)
        width = int(lengths.max(initial=1))
        self._lengths: Lengths = lengths.astype(np.min_scalar_type(width + 1))  # narrow numbers are compared faster
        self._matrix: Characters | None = None
        self._backwards: Characters | None = None
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
        positions, is_backwards = quicker_way(pattern)
        if positions is None or self._matrix is None:
            return None
        return _Walk(positions, self._from_ends() if is_backwards else self._matrix, self._lengths).result()

    def _from_ends(self) -> Characters:
        """Return the matrix of the values read from their ends; made when it is first asked for."""
        assert self._matrix is not None  # noqa: S101  (the caller has looked)
        if self._backwards is None:
            places = self._lengths.astype(np.int32) - 1 - np.arange(len(self._matrix), dtype=np.int32)[:, np.newaxis]
            self._backwards = np.where(places < 0, np.uint8(0), np.take_along_axis(self._matrix, places, axis=0))
        return self._backwards


class _Walk:
    """All texts on their way through a pattern, and those of them that have arrived."""

    def __init__(self, positions: Positions, matrix: Characters, lengths: Lengths) -> None:
        self._positions, self._matrix = positions, matrix
        self._lengths = lengths
        self._found: Mask = lengths == 0 if positions.is_nullable else np.zeros(len(lengths), bool)
        self._rows: NDArray[np.intp] | None = None  # those that are still on their way; None: all
        self._steps = 0
        self._is_sure = [positions.is_sure(place) for place in range(len(positions.codes))]

    def result(self) -> Mask | None:
        """Return which texts match; None when that would take too long."""
        places: dict[int, Mask | None] = dict.fromkeys(self._positions.first)  # None: all texts may be there
        for at in range(len(self._matrix)):
            self._steps += len(places)
            if self._steps > MAX_STEPS:
                return None
            here = self._arrived(places, at)
            places = self._onwards(here, at)
            if not places:
                break
        return self._found

    def _arrived(self, places: dict[int, Mask | None], at: int) -> dict[int, Mask]:
        """Return which texts have taken their character `at` at each place."""
        characters = self._matrix[at] if self._rows is None else self._matrix[at][self._rows]
        there: Mask = self._lengths > at
        found: dict[int, Mask] = {}
        taken: dict[Codes, Mask] = {}  # of a class, which a pattern often has at several places
        for place, texts in places.items():
            codes = self._positions.codes[place]
            if codes not in taken:
                taken[codes] = _taken(codes, characters, there)
            found[place] = taken[codes] if texts is None else taken[codes] & texts
        return found

    def _onwards(self, here: dict[int, Mask], at: int) -> dict[int, Mask | None]:
        """Note the texts that match, leave out those that cannot any more, and return where the others may go."""
        positions = self._positions
        going = {place: texts for place, texts in here.items() if not self._is_sure[place]}
        matched = [texts for place, texts in here.items() if self._is_sure[place]]
        at_end = [texts for place, texts in going.items() if place in positions.last]
        if at_end:
            matched.append(_any(at_end) & (self._lengths == at + 1))
        if matched and (done := _any(matched)).any():
            self._note(done)
            if len(matched) > bool(at_end):  # more than those that end here, which go nowhere anyway
                going = {place: texts & ~done for place, texts in going.items()}
        return self._next(self._fewer(going))

    def _note(self, matched: Mask) -> None:
        if self._rows is None:
            self._found |= matched
        else:
            self._found[self._rows[matched]] = True

    def _fewer(self, going: dict[int, Mask]) -> dict[int, Mask]:
        """Drop places without texts, and texts without a place when they are most."""
        if not going:
            return {}
        alive = _any(list(going.values()))
        count = int(np.count_nonzero(alive))
        if count == 0:
            return {}
        if count * FEW < len(alive):
            kept = np.flatnonzero(alive)
            self._rows = kept if self._rows is None else self._rows[kept]
            self._lengths = self._lengths[kept]
            going = {place: texts[kept] for place, texts in going.items()}
        return {place: texts for place, texts in going.items() if texts.any()}

    def _next(self, going: dict[int, Mask]) -> dict[int, Mask | None]:
        onwards: dict[int, Mask | None] = {}
        owned = set()
        for place, texts in going.items():
            for following in self._positions.follow[place]:
                known = onwards.get(following)
                if known is None:
                    onwards[following] = texts
                elif following in owned:
                    known |= texts
                else:
                    onwards[following] = known | texts
                    owned.add(following)
        return onwards


def _any(masks: list[Mask]) -> Mask:
    """Return which texts are in one of the masks."""
    found = masks[0]
    for mask in masks[1:]:
        found = found | mask
    return found


def _taken(codes: Codes, characters: Characters, there: Mask) -> Mask:
    """Return which characters are of a class; `there`: which are no padding."""
    if codes == EVERY:
        return there
    is_negated = len(codes) > len(EVERY) // 2
    found: Mask | None = None
    for low, high in _ranges(EVERY - codes if is_negated else codes):
        # Unsigned: what is below the range wraps round and is far above it.
        part: Mask = characters == low if low == high else (characters - np.uint8(low)) <= high - low
        found = part if found is None else found | part
    if found is None:
        return np.zeros(len(characters), bool)
    if is_negated:
        return there & ~found
    return found & there if 0 in codes else found


@lru_cache(maxsize=1024)
def _ranges(codes: Codes) -> tuple[tuple[int, int], ...]:
    """Return a class as ranges of neighbours, both ends included."""
    found: list[list[int]] = []
    for code in sorted(codes):
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return tuple((low, high) for low, high in found)
