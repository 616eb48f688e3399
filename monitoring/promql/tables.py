"""Columns of label sets: grouping and reducing whole selections at once, and only once.

A selection of ten thousand series keeps one ``Root``. What a query derives from it (the same series without their
names, their groups by host) is computed on first use and kept there; a ``Table`` is a root and the rows in play.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar, cast

import numpy as np

from .labels import EMPTY, METADATA, NAME, Labels, intern_pairs
from .values import Ints

_T = TypeVar("_T")
_MEMO_ENTRIES = 32


class Root:
    """A sequence of label sets with everything derived from it so far."""

    __slots__ = ("_memo", "rows")

    def __init__(self, rows: Sequence[Labels]) -> None:
        self.rows = tuple(rows)
        self._memo: dict[Hashable, object] = {}

    def keep(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what ``make`` returned for this key, now or earlier."""
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            found = self._memo[key] = make()
        return cast(_T, found)

    @property
    def ids(self) -> Ints:
        """One number per row, equal for equal label sets, counting from 0 in order of appearance."""
        return self.keep("ids", self._ids)

    def _ids(self) -> Ints:
        return _numbered(self.rows)[0]

    @property
    def unique(self) -> bool:
        """Whether no label set occurs twice."""
        return self.keep("unique", lambda: (len(set(self.rows)) == len(self.rows),))[0]

    def without(self, names: frozenset[str]) -> Root:
        """Return the same rows without some labels."""
        return self.keep(("without", names), lambda: Root([row.without(names) for row in self.rows]))

    def only(self, names: frozenset[str]) -> Root:
        """Return the same rows with no labels but these."""
        return self.keep(("only", names), lambda: Root([row.only(names) for row in self.rows]))

    def column(self, name: str) -> list[str]:
        """Return the value of one label in every row."""
        return self.keep(("column", name), lambda: [row.get(name) for row in self.rows])

    def groups(self, by: bool, names: frozenset[str]) -> tuple[Ints, Root]:
        """Return the group of every row and the label sets of the groups; ``without`` also drops the metric name."""
        return self.keep(("groups", by, names), lambda: self._groups(by, names))

    def _groups(self, by: bool, names: frozenset[str]) -> tuple[Ints, Root]:
        if by and not names:
            return np.zeros(len(self.rows), np.int64), Root([EMPTY])
        if by and len(names) == 1:
            (name,) = names
            ids, values = _numbered(self.column(name))
            return ids, Root([intern_pairs(((name, value),)) if value else EMPTY for value in values])
        rows = self.only(names).rows if by else self.without(names | {NAME}).rows
        ids, groups = _numbered(rows)
        return ids, Root(groups)


_H = TypeVar("_H", bound=Hashable)


def _numbered(keys: Sequence[_H]) -> tuple[Ints, list[_H]]:
    seen: dict[_H, int] = {}
    ids = np.fromiter((seen.setdefault(key, len(seen)) for key in keys), np.int64, len(keys))
    return ids, list(seen)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Some rows of a root: all of them (``index`` None), or those at ``index`` in that order."""

    root: Root
    index: Ints | None = None

    @staticmethod
    def of(rows: Sequence[Labels]) -> Table:
        """Return a table over fresh rows."""
        return Table(Root(rows))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.root.rows) if self.index is None else len(self.index)

    def take(self, index: Ints) -> Table:
        """Return the rows at ``index``."""
        return Table(self.root, index if self.index is None else self.index[index])

    def labels(self) -> Sequence[Labels]:
        """Return the label sets of the rows."""
        rows = self.root.rows
        return rows if self.index is None else [rows[i] for i in self.index.tolist()]

    def row(self, position: int) -> Labels:
        """Return the label set of one row."""
        return self.root.rows[position if self.index is None else int(self.index[position])]

    def column(self, name: str) -> list[str]:
        """Return the value of one label in every row."""
        values = self.root.column(name)
        return values if self.index is None else [values[i] for i in self.index.tolist()]

    def without(self, names: frozenset[str]) -> Table:
        """Return the rows without some labels."""
        return Table(self.root.without(names), self.index)

    def without_metadata(self) -> Table:
        """Return the rows without metric name, type and unit."""
        return self.without(METADATA)

    @property
    def ids(self) -> Ints:
        """One number per row, equal for equal label sets."""
        ids = self.root.ids
        return ids if self.index is None else ids[self.index]

    @property
    def unique(self) -> bool:
        """Whether no label set occurs twice among the rows."""
        if self.index is None:
            return self.root.unique
        if len(self.index) < 2:
            return True
        ids = self.index if self.root.unique else self.root.ids[self.index]
        return int(np.bincount(ids).max()) <= 1

    def groups(self, by: bool, names: frozenset[str]) -> tuple[Ints, Table]:
        """Return the group of every row, counting from 0, and the table of the groups that have rows."""
        ids, root = self.root.groups(by, names)
        if self.index is None:
            return ids, Table(root)
        present, compact = np.unique(ids[self.index], return_inverse=True)
        return compact.reshape(-1), Table(root, present)


EMPTY_TABLE = Table.of(())


def concatenate(tables: Sequence[Table]) -> Table:
    """Return one table with the rows of all."""
    return Table.of([row for table in tables for row in table.labels()])


class _Roots:
    """Roots of the label sequences that storage hands over again and again.

    Found by the identity of the sequences when they are tuples, else by their content: labels are interned and know
    their hash, so that comparing ten thousand of them takes a millisecond where deriving groups anew takes fifty.
    """

    def __init__(self, rows_allowed: int) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Labels, ...], Root] = OrderedDict()
        # An entry holds its tuples, so that an identity cannot be taken over by another object.
        self._known: OrderedDict[tuple[int, ...], tuple[Root, Sequence[Sequence[Labels]]]] = OrderedDict()
        self._rows = 0
        self._rows_allowed = rows_allowed

    def root(self, parts: Sequence[Sequence[Labels]]) -> Root:
        """Return the root of the rows of all parts, one after the other."""
        lasting = all(type(part) is tuple for part in parts)
        key = tuple([id(part) for part in parts])
        with self._lock:
            known = self._known.get(key) if lasting else None
            if known is not None:
                return known[0]
        rows = tuple(parts[0]) if len(parts) == 1 else tuple([row for part in parts for row in part])
        with self._lock:
            found = self._kept.get(rows)
            if found is None:
                found = self._kept[rows] = Root(rows)
                self._rows += len(rows) + 1
            self._kept.move_to_end(rows)
            if lasting:
                self._known[key] = found, tuple(parts)
            self._shrink()
        return found

    def _shrink(self) -> None:
        while self._rows > self._rows_allowed and len(self._kept) > 1:
            rows, _ = self._kept.popitem(last=False)
            self._rows -= len(rows) + 1
        while len(self._known) > 4 * len(self._kept) + 16:
            self._known.popitem(last=False)


# 500,000 rows with a few derived tables are some 100 MB: enough for the busiest selections of one worker.
_roots = _Roots(rows_allowed=500_000)


def table_of(parts: Sequence[Sequence[Labels]]) -> Table:
    """Return the table of the given label sequences, one after the other; what is derived from it is kept."""
    return Table(_roots.root(parts))
