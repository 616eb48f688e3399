"""Unique keys with postings: a matcher is asked once per distinct label value, never once per series.

Hides how source labels and key labels make one label set: as in Prometheus without honor_labels, the source's labels
win and the sample's own are kept as ``exported_<name>``.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import NAME, Labels, Pair, intern_pairs
from ..promql.matchers import Matcher, literal_choices, literal_prefix
from ..promql.positions import positions_of
from ..promql.text_column import TextColumn

Positions = NDArray[np.intp]
Mask = NDArray[np.bool_]
Column = dict[str, list[int]]
EXPORTED = "exported_"
MAX_MASKS = 2_000
#: Shorter columns are asked value by value.
MIN_SORTED = 1_000


class Shape:
    """The labels of one source and what they do to the labels of its samples."""

    __slots__ = ("labels", "names", "pairs")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = dict(labels)
        self.names = frozenset(self.labels)
        self.pairs = tuple(sorted(self.labels.items()))

    def accepts(self, matchers: Iterable[Matcher]) -> bool:
        """Tell whether the matchers on source labels accept this source."""
        return all(matcher.matches(self.labels[matcher.name]) for matcher in matchers if matcher.name in self.names)

    def merge(self, key: tuple[Pair, ...]) -> Labels:
        """Return the label set of a series: key labels (name included) under the labels of the source."""
        if not any(name in self.names for name, _ in key):
            return intern_pairs(tuple(sorted(key + self.pairs)))
        labels = dict(key)
        for name in sorted(self.names & labels.keys()):
            exported, value = EXPORTED + name, labels.pop(name)
            while exported in labels or exported in self.names:
                exported = EXPORTED + exported
            labels[exported] = value
        return Labels.of({**labels, **self.labels})


class LaidOut:
    """A long column as a matrix of characters, and which of its values stands at each position of the table."""

    __slots__ = ("_owners", "_positions", "size", "text")

    def __init__(self, column: Column, size: int) -> None:
        self.size = size
        self.text = TextColumn(list(column))
        counts = np.fromiter(map(len, column.values()), np.intp, len(column))
        self._positions = np.fromiter((place for places in column.values() for place in places), np.intp, counts.sum())
        self._owners = np.repeat(np.arange(len(column)), counts)

    def mask(self, matching: Mask, matcher: Matcher) -> Mask:
        """Return which positions satisfy a matcher whose pattern matches these values."""
        found: Mask = np.full(self.size, matcher.matches(""))
        found[self._positions] = matching[self._owners] == (matcher.op == "=~")
        return found


class KeyTable:
    """Unique keys by position: ids, label pairs, and for each label name the positions of each value."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Pair, ...]] = []
        self._ids: list[int] = []
        self._position: dict[int, int] = {}
        self._columns: dict[str, Column] = {}
        self._id_array: NDArray[np.int32] | None = None
        self._masks: dict[tuple[Matcher, bool], Mask] = {}
        self._sorted: dict[int, list[str]] = {}
        self._matrices: dict[int, LaidOut] = {}

    def copy(self) -> KeyTable:
        """Return a table that can grow on its own."""
        twin = KeyTable()
        twin.pairs, twin._ids, twin._position = list(self.pairs), list(self._ids), dict(self._position)
        twin._columns = {
            name: {value: list(positions) for value, positions in column.items()}
            for name, column in self._columns.items()
        }
        return twin

    def add(self, rows: Iterable[tuple[Any, ...]]) -> bool:
        """Learn (id, name, labels as JSON text) rows; returns whether there was a new one."""
        before = len(self._ids)
        columns = self._columns
        for key_id, name, labels in rows:
            if key_id in self._position:
                continue
            position = self._position[key_id] = len(self._ids)
            self._ids.append(key_id)
            parsed = json.loads(labels) if isinstance(labels, str) else dict(labels)
            parsed[NAME] = name
            self.pairs.append(tuple(sorted(parsed.items())))
            for label, value in parsed.items():
                columns.setdefault(label, {}).setdefault(value, []).append(position)
        if len(self._ids) == before:
            return False
        self._id_array = None
        return True

    def forget(self) -> None:
        """Drop the masks of earlier questions."""
        self._masks.clear()

    def positions(self, ids: NDArray[np.int32]) -> Positions:
        """Return the positions of key ids; ids that are not known are left out."""
        known = self._position
        return np.array([known[key_id] for key_id in ids.tolist() if key_id in known], np.intp)

    def ids_at(self, positions: Positions) -> NDArray[np.int32]:
        """Return the key ids at some positions."""
        if self._id_array is None:
            self._id_array = np.array(self._ids, np.int32)
        return self._id_array[positions]

    def values(self, name: str) -> Iterable[str]:
        """Return the distinct values of a label among all keys."""
        return self._columns.get(name, {}).keys()

    def label_values(self) -> dict[str, Column]:
        """Return, by label name, the positions of each value; not to be changed."""
        return self._columns

    def mask(self, matchers: Sequence[Matcher], source_names: frozenset[str]) -> Mask:
        """Return, for each position, whether the key satisfies all matchers under sources that have these labels."""
        found: Mask = np.ones(len(self._ids), bool)
        for matcher in matchers:
            found = found & self._mask(matcher, source_names)
        return found

    def _mask(self, matcher: Matcher, source_names: frozenset[str]) -> Mask:
        inner = matcher.name.removeprefix(EXPORTED)
        is_renamed = inner != matcher.name and inner in source_names
        known = self._masks.get((matcher, is_renamed))
        if known is not None and len(known) < len(self._ids):
            # New keys do not void what is known of the old ones: a regex over 100,000 values takes its time.
            known = self._masks[matcher, is_renamed] = self._grown(matcher, known, inner if is_renamed else "")
        if known is None:
            if is_renamed:
                known = self._mask_exported(matcher, inner)
            else:
                known = self._mask_column(matcher, self._columns.get(matcher.name, {}))
            if len(self._masks) > MAX_MASKS:
                self._masks.clear()
            self._masks[matcher, is_renamed] = known
        return known

    def _grown(self, matcher: Matcher, known: Mask, inner: str) -> Mask:
        """Return a mask extended by the keys that came after it was made."""
        added = []
        for pairs in self.pairs[len(known) :]:
            labels = dict(pairs)
            value = labels.get(inner) if inner else None
            added.append(matcher.matches(labels.get(matcher.name, "") if value is None else value))
        return np.concatenate([known, np.array(added, bool)])

    def _mask_column(self, matcher: Matcher, column: Column) -> Mask:
        is_long = matcher.op in ("=~", "!~") and len(column) >= MIN_SORTED
        if is_long and literal_choices(matcher.value) is None and positions_of(matcher.value) is not None:
            laid_out = self._laid_out(column)
            found = laid_out.text.matching(matcher.value)
            if found is not None:
                return laid_out.mask(found, matcher)
        accepted = self._accepted(matcher, column)
        if not matcher.matches(""):
            return self._marked(column, accepted, np.zeros(len(self._ids), bool), True)
        return self._marked(column, column.keys() - accepted, np.ones(len(self._ids), bool), False)

    def _accepted(self, matcher: Matcher, column: Column) -> set[str]:
        """Return the values that match; of a long column only those that can are asked."""
        if matcher.op == "=" and matcher.value:
            return {matcher.value} & column.keys()
        if matcher.op not in ("=~", "!~") or len(column) < MIN_SORTED:
            return matcher.accepted(column)
        positive = Matcher("=~", matcher.name, matcher.value)
        choices = literal_choices(matcher.value)
        found: set[str]
        if choices is not None:
            found = column.keys() & choices
        else:
            found = positive.accepted(self._beginning_with(literal_prefix(matcher.value), column))
        return found if matcher.op == "=~" else column.keys() - found

    def _beginning_with(self, prefix: str, column: Column) -> Iterable[str]:
        """Return the values that begin with a text, by a sorted copy of the column that is kept until it grows."""
        if not prefix:
            return column
        known = self._sorted.get(id(column))
        if known is None or len(known) != len(column):
            # Nearly sorted where values were added: sorting anew costs a tenth of the first time.
            known = self._sorted[id(column)] = sorted([*(known or ()), *list(column)[len(known or ()) :]])
        low = bisect_left(known, prefix)
        following = prefix[:-1] + chr(ord(prefix[-1]) + 1)  # the least text that is above all with this prefix
        return known[low : bisect_left(known, following, low)]

    def _laid_out(self, column: Column) -> LaidOut:
        known = self._matrices.get(id(column))
        if known is None or known.size != len(self._ids):
            known = self._matrices[id(column)] = LaidOut(column, len(self._ids))
        return known

    @staticmethod
    def _marked(column: Column, values: Iterable[str], mask: Mask, mark: bool) -> Mask:
        places = chain.from_iterable([column[value] for value in values])
        mask[np.fromiter(places, np.intp)] = mark
        return mask

    def _mask_exported(self, matcher: Matcher, inner: str) -> Mask:
        """A label that the source hides: ``exported_x`` is the key's own x, else a label the key calls so itself."""
        hidden = self._columns.get(inner, {})
        has_hidden = self._marked(hidden, hidden, np.zeros(len(self._ids), bool), True)
        plain = self._mask_column(matcher, self._columns.get(matcher.name, {}))
        return np.where(has_hidden, self._mask_column(matcher, hidden), plain)
