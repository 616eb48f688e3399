"""The label index of a reading process: which sources and keys a set of matchers names.

It holds unique keys and sources, not series: 100 hosts with the same exporter cost the keys of one. Refreshing asks
for rows written by transactions that the last snapshot did not know as finished, so that nothing is missed whatever
the order of commits; usually the answer is "nothing" and costs one trip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import NAME, Labels
from ..promql.matchers import Matcher
from . import wire
from .postings import KeyTable, Shape
from .records import ABSENT, STALE

#: One process may ask from several threads; matching is short and shares its memory.
INDEX_LOCK = RLock()
Ids = NDArray[np.int32]
Positions = NDArray[np.intp]
Delta = dict[str, list[tuple[Any, ...]]]
#: Selections kept; a page of panels and a few thousand rules ask for the same ones again and again.
MAX_SELECTIONS = 4_000
MAX_LABEL_ROWS = 500_000


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """The series of one source that were asked for: key ids in ascending order and their labels in the same order.

    ``fill`` is what a missing value means for this source: STALE, or ABSENT for a partial one.
    """

    source_id: int
    fill: float
    key_ids: Ids
    labels: tuple[Labels, ...]


class Index:
    """Sources, layouts and keys as one process knows them. Calls are serialised by `INDEX_LOCK`."""

    def __init__(self) -> None:
        self.keys = KeyTable()
        self.names: dict[int, str] = {}
        self.shapes: dict[int, Shape] = {}
        self.fills: dict[int, float] = {}
        self.layouts: dict[int, Positions] = {}
        self.layout_ids: dict[int, Ids] = {}
        self.used: dict[int, set[int]] = {}
        self._held: dict[frozenset[int], Positions] = {}
        self._selections: dict[tuple[Matcher, ...], list[Picked]] = {}
        self._label_rows: dict[tuple[int, bytes], tuple[Labels, ...]] = {}
        self._label_count = 0

    def copy(self) -> Index:
        """Return an index that can learn more without this one changing."""
        twin = Index()
        twin.keys = self.keys.copy()
        twin.names, twin.shapes, twin.fills = dict(self.names), dict(self.shapes), dict(self.fills)
        twin.layouts, twin.layout_ids = dict(self.layouts), dict(self.layout_ids)
        twin.used = {source: set(used) for source, used in self.used.items()}
        return twin

    def add(self, delta: Delta) -> bool:
        """Learn rows of the four tables; rows already known do no harm. Returns whether anything was new."""
        is_new = self.keys.add(delta["key"])
        for source_id, name, labels, is_partial in delta["source"]:
            if source_id not in self.names:
                self.names[source_id] = name
                self.shapes[source_id] = Shape(json.loads(labels) if isinstance(labels, str) else labels)
                self.fills[source_id] = ABSENT if is_partial else STALE
                is_new = True
        for layout_id, keys in delta["layout"]:
            if layout_id not in self.layouts:
                ids = np.frombuffer(bytes(keys), "<i4")
                self.layouts[layout_id] = self.keys.positions(ids)
                self.layout_ids[layout_id] = ids
                is_new = True
        touched: set[str] = set()
        for source_id, layout_id in delta["used"]:
            known = self.used.setdefault(source_id, set())
            if layout_id not in known:
                is_new = True
                if self._selections:
                    fresh = np.setdiff1d(self.layouts[layout_id], self.keys_of(frozenset(known)))
                    touched |= self._names_at(fresh)
                known.add(layout_id)
        if is_new:
            self._held.clear()
            self._forget_selections(touched)
        return is_new

    def _names_at(self, positions: Positions) -> set[str]:
        return {value for place in positions.tolist() for name, value in self.keys.pairs[place] if name == NAME}

    def _forget_selections(self, touched: set[str]) -> None:
        """Drop the selections that a new series of one of these metrics may belong to.

        Alerts come and go: their new series must not make a thousand rules look for those of their metrics again.
        """
        self._selections = {
            asked: found
            for asked, found in self._selections.items()
            if any(one.name == NAME and one.op == "=" and one.value and one.value not in touched for one in asked)
        }

    def select(self, matchers: Sequence[Matcher]) -> list[Picked]:
        """Return the series of every source that satisfy all matchers; raises EvaluationError for a bad regex."""
        asked = tuple(matchers)
        with INDEX_LOCK:
            found = self._selections.get(asked)
            if found is None:
                found = self._select(asked)
                if len(self._selections) >= MAX_SELECTIONS:
                    self._selections.clear()
                self._selections[asked] = found
            return found

    def _select(self, matchers: tuple[Matcher, ...]) -> list[Picked]:
        masks: dict[frozenset[str], tuple[list[Matcher], NDArray[np.bool_]]] = {}
        chosen: dict[tuple[frozenset[str], int], Positions] = {}
        picked = []
        for source_id, used in self.used.items():
            shape = self.shapes[source_id]
            if shape.names not in masks:
                inner = [matcher for matcher in matchers if matcher.name not in shape.names]
                masks[shape.names] = inner, self.keys.mask(inner, shape.names)
            _, mask = masks[shape.names]
            if not shape.accepts(matchers):
                continue
            held = self.keys_of(frozenset(used))
            cache_key = shape.names, id(held)
            if cache_key not in chosen:
                chosen[cache_key] = held[mask[held]]
            positions = chosen[cache_key]
            if len(positions):
                picked.append(self._pick(source_id, shape, positions))
        return picked

    def forget(self) -> None:
        """Drop what earlier selections have left but the label sets, for measurements."""
        with INDEX_LOCK:
            self._selections.clear()
            self._held.clear()
            self.keys.forget()

    def held(self, source_id: int) -> Positions:
        """Return the sorted positions of all keys of a source; sources with the same keys share the array."""
        with INDEX_LOCK:
            return self.keys_of(frozenset(self.used[source_id]))

    def keys_of(self, layouts: frozenset[int]) -> Positions:
        """Return the sorted positions of all keys of some layouts; equal sets give the same array."""
        held = self._held.get(layouts)
        if held is None:
            parts = [self.layouts[layout] for layout in layouts]
            held = self._held[layouts] = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.intp)
        return held

    def _pick(self, source_id: int, shape: Shape, positions: Positions) -> Picked:
        key_ids = self.keys.ids_at(positions)
        order = np.argsort(key_ids)
        key_ids, positions = key_ids[order], positions[order]
        cache_key = source_id, key_ids.tobytes()
        labels = self._label_rows.get(cache_key)
        if labels is None:
            labels = tuple([shape.merge(self.keys.pairs[position]) for position in positions.tolist()])
            self._label_count += len(labels)
            if self._label_count > MAX_LABEL_ROWS:
                self._label_rows.clear()
                self._label_count = len(labels)
            self._label_rows[cache_key] = labels
        return Picked(source_id, self.fills[source_id], key_ids, labels)

    def all_names(self) -> set[str]:
        """Return every metric name some source has sent."""
        return set(self.keys.values(NAME))


_TABLES = ("used", "layout", "key", "source")


class _Shared:
    """The committed index of this process, the snapshot it was read with and the generation it belongs to."""

    def __init__(self) -> None:
        self.index = Index()
        self.cursor = "0"
        self.generation: int | None = None


_shared = _Shared()

_PROBE = """
select pg_snapshot_xmin(pg_current_snapshot())::text, coalesce(pg_current_xact_id_if_assigned()::text, ''),
    (select row(floor_ms, day_to, generation)::text from store_state where id = 1),
    exists (select from store_key where created >= %(since)s::xid8)
        or exists (select from store_source where created >= %(since)s::xid8)
        or exists (select from store_source_layout where created >= %(since)s::xid8)
"""
# In this order: a key is always visible before the layout that names it, so it must be read after.
_DELTAS = {
    "used": "select source_id, layout_id, created::text from store_source_layout where created >= %s::xid8",
    "key": "select id, name, labels, created::text from store_key where created >= %s::xid8 order by id",
    "source": "select id, name, labels, is_partial, created::text from store_source where created >= %s::xid8",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the tiers reach, and the snapshot in which they were asked.

    Samples may be compacted below ``floor_ms``, windows below ``day_to`` are merged. ``cursor``: every transaction
    before this one had ended. ``own``: our own transaction, if it has written anything.
    """

    floor_ms: int = 0
    day_to: int = 0
    generation: int | None = None
    cursor: str = "0"
    own: str = ""


def current() -> tuple[Index, Bounds]:
    """Return an index that knows everything visible to this connection, and the bounds of the tiers."""
    with INDEX_LOCK:
        cursor, own, state, has_news = wire.execute(_PROBE, {"since": _shared.cursor})[0]
        floor_ms, day_to, generation = map(int, state[1:-1].split(",")) if state else (0, 0, None)
        bounds = Bounds(floor_ms, day_to, generation, cursor, own)
        if generation is None or generation != _shared.generation:
            _shared.index, _shared.cursor, _shared.generation = Index(), "0", generation
            has_news = True
        if not has_news:
            _shared.cursor = cursor
            return _shared.index, bounds
        committed, mine = _read_delta(_shared.cursor, own)
        _shared.index.add(committed)
        _shared.cursor = cursor
        index = _shared.index
        if any(mine.values()):
            # Rows of our own open transaction: used for this call, forgotten with it.
            index = index.copy()
            index.add(mine)
        return index, bounds


def _read_delta(since: str, own: str) -> tuple[Delta, Delta]:
    """Return what has been committed since a snapshot and what our own open transaction has added."""
    committed: Delta = {table: [] for table in _TABLES}
    mine: Delta = {table: [] for table in _TABLES}
    for table, query in _DELTAS.items():
        for row in wire.execute(query, [since]):
            (mine if row[-1] == own else committed)[table].append(row[:-1])
        if table != "used":
            continue
        for delta in (committed, mine):
            unknown = {row[1] for row in delta["used"]} - _shared.index.layouts.keys()
            if unknown:
                query = "select id, keys from store_layout where id = any(%s)"
                delta["layout"] = wire.execute(query, [list(unknown)])
    return committed, mine
