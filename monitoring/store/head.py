"""The last minutes of all sources in memory: a slot of a thousand rules costs one small read, not a thousand.

Rows are learnt by the transactions that wrote them, as the index does: whatever the order of commits, a row is read
once after it has become visible. Rows of our own open transaction are never kept; while there are any, SQL answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np

from ..promql.matchers import Matcher
from ..promql.values import Block, Floats, Ints
from . import wire
from .blocks import join
from .codec import unpack_times
from .index import Bounds, Index, Picked, current
from .matrix import Piece, assemble
from .read import select
from .records import HALF_MS, WINDOW_MS
from .tiers import Place, place_of

#: Lookback and the usual rate window are five minutes; the rest is for rules that are evaluated late.
HEAD_MS = 420_000
#: What has been learnt is kept for rules that look back up to an hour, as far as it fits into the budget.
KEEP_MS = 3_900_000
BUDGET_BYTES = 96 * 2**20
ROW = wire.Fields("iqi", 1)
BLOCK = wire.Fields("iiqi", 2)
MAX_PLACES = 20_000


@dataclass(slots=True, eq=False)
class _Segment:
    """Rows of one source in one layout, oldest first: the lines start … end of ``ts`` and ``values``.

    Lines are only ever added behind ``end``; a full segment moves to new arrays. So what was handed out stays.
    """

    layout_id: int
    ts: Ints
    values: Floats
    start: int = 0
    end: int = 0

    def add(self, at_ms: int, row: Floats) -> None:
        """Add a row; a late one is sorted in, one whose time is there already is left out."""
        place = self.start + int(np.searchsorted(self.ts[self.start : self.end], at_ms))
        if place < self.end and self.ts[place] == at_ms:
            return
        if place < self.end or self.end == len(self.ts):
            self._move(place, at_ms, row)
            return
        self.ts[self.end], self.values[self.end] = at_ms, row
        self.end += 1

    def _move(self, place: int, at_ms: int, row: Floats) -> None:
        count = self.end - self.start + 1
        at = place - self.start
        ts, values = np.empty(count + count // 2 + 8, np.int64), np.empty((count + count // 2 + 8, len(row)))
        for old, new in ((self.ts, ts), (self.values, values)):
            new[:at] = old[self.start : place]
            new[at + 1 : count] = old[place : self.end]
        ts[at], values[at] = at_ms, row
        self.ts, self.values, self.start, self.end = ts, values, 0, count

    @property
    def held_bytes(self) -> int:
        """Memory of the live rows."""
        return (self.end - self.start) * (self.values.shape[1] + 1) * 8

    def forget_before(self, low_ms: int) -> None:
        """Leave out rows before a time."""
        self.start += int(np.searchsorted(self.ts[self.start : self.end], low_ms))

    def between(self, start_ms: int, end_ms: int) -> slice:
        """Return the lines of a time range, both ends included."""
        ts = self.ts[self.start : self.end]
        first = self.start + int(np.searchsorted(ts, start_ms))
        return slice(first, self.start + int(np.searchsorted(ts, end_ms, side="right")))


class Head:
    """The rows of the last minutes of every source; one a process."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._reset(None)

    def _reset(self, generation: int | None) -> None:
        self.generation = generation
        self.low_ms: int | None = None
        self.newest_ms = 0
        self.cursor = "0"
        self.sources: dict[int, list[_Segment]] = {}
        self._places: dict[tuple[int, bytes], Place | None] = {}

    def refresh(self, index: Index, bounds: Bounds, at_ms: int) -> bool:
        """Learn what has been committed; return whether the head can answer for this time."""
        with self.lock:
            if bounds.generation is None or bounds.generation != self.generation:
                self._reset(bounds.generation)
            low_ms = at_ms - HEAD_MS
            if self.low_ms is not None and low_ms < self.low_ms:
                return False
            if bounds.own and wire.execute("select 1 from store_row where created = %s::xid8 limit 1", [bounds.own]):
                return False
            reach_ms = low_ms if self.low_ms is None else self.low_ms
            self._learn_blocks(index, reach_ms, self.cursor)
            self._learn_rows(index, reach_ms, self.cursor)
            if not self.sources:
                self._reset(bounds.generation)
                return False
            self.cursor = bounds.cursor
            keep_ms = at_ms - self._span_ms(reach_ms)
            # One evaluation far in the future must not empty the head for all the others.
            self.low_ms = keep_ms if reach_ms <= keep_ms <= self.newest_ms else reach_ms
            self._forget()
            return True

    def _span_ms(self, reach_ms: int) -> int:
        """How far back to keep: an hour and a little, less when that would hold more than the budget."""
        held = sum(each.held_bytes for segments in self.sources.values() for each in segments)
        if held <= BUDGET_BYTES:
            return KEEP_MS
        fits_ms = int((self.newest_ms - reach_ms) * BUDGET_BYTES / held)
        return max(HEAD_MS, min(KEEP_MS, fits_ms))

    def _learn_rows(self, index: Index, low_ms: int, cursor: str) -> None:
        data = wire.copy_out(
            "select source_id, at_ms, layout_id, v from store_row where at_ms >= %s and created >= %s::xid8",
            [low_ms, cursor],
        )
        for source_id, at_ms, layout_id, part in ROW.unpack(data):
            if layout_id in index.layout_ids:
                self._add(index, source_id, layout_id, at_ms, np.frombuffer(part, "<f8"))

    def _learn_blocks(self, index: Index, low_ms: int, cursor: str) -> None:
        """Read what was turned into blocks before we saw it as rows: nearly nothing, once we have begun."""
        first = low_ms - HALF_MS
        found = wire.execute(
            "select source_id, layout_id, first_ms, ts from store_block"
            " where win >= %s and first_ms >= %s and created >= %s::xid8",
            [first // WINDOW_MS, first, cursor],
        )
        unknown = [row[:3] for row in found if row[1] in index.layout_ids and not self._knows(row, low_ms)]
        if not unknown:
            return
        data = wire.copy_out(
            "select b.source_id, b.layout_id, b.first_ms, b.n, b.ts, b.v"
            " from unnest(%s::int[], %s::int[], %s::bigint[]) u (source_id, layout_id, first_ms)"
            " join store_block b using (source_id, layout_id, first_ms) where b.win >= %s",
            [*[list(column) for column in zip(*unknown, strict=True)], first // WINDOW_MS],
        )
        for source_id, layout_id, _, count, times, part in BLOCK.unpack(data):
            values = np.frombuffer(part, "<f8").reshape(-1, count).T
            for at_ms, row in zip(unpack_times(times).tolist(), values, strict=True):
                if at_ms >= low_ms:
                    self._add(index, source_id, layout_id, at_ms, row)

    def _knows(self, row: tuple[Any, ...], low_ms: int) -> bool:
        source_id, layout_id, _, times = row
        ts = unpack_times(times)
        ts = ts[ts >= low_ms]
        segment = self._segment(source_id, layout_id)
        known = segment.ts[segment.start : segment.end] if segment else np.empty(0, np.int64)
        return bool(np.isin(ts, known).all())

    def _segment(self, source_id: int, layout_id: int) -> _Segment | None:
        return next((each for each in self.sources.get(source_id, []) if each.layout_id == layout_id), None)

    def _add(self, index: Index, source_id: int, layout_id: int, at_ms: int, row: Floats) -> None:
        width = len(index.layout_ids[layout_id])
        if len(row) != width:  # a row without bytes is a source that was down
            row = np.full(width, index.fills[source_id])
        segment = self._segment(source_id, layout_id)
        if segment is None:
            segment = _Segment(layout_id, np.empty(24, np.int64), np.empty((24, width)))
            self.sources.setdefault(source_id, []).append(segment)
        segment.add(at_ms, row)
        self.newest_ms = max(self.newest_ms, at_ms)

    def _forget(self) -> None:
        low_ms = self.low_ms or 0
        for source_id in list(self.sources):
            for segment in self.sources[source_id]:
                segment.forget_before(low_ms)
            self.sources[source_id] = [each for each in self.sources[source_id] if each.start < each.end]
            if not self.sources[source_id]:
                del self.sources[source_id]

    def select(self, index: Index, picked: Sequence[Picked], start_ms: int, end_ms: int) -> list[Block]:
        """Return the blocks of picked series; the caller has made sure that the head reaches back to start_ms."""
        with self.lock:
            matrices = []
            for pick in picked:
                pieces = [
                    piece
                    for segment in self.sources.get(pick.source_id, ())
                    if (piece := self._piece(index, pick, segment, start_ms, end_ms)) is not None
                ]
                if len(pieces) == 1 and pieces[0].values is not None and len(pieces[0].values) == len(pick.labels):
                    matrices.append((pick.labels, pieces[0].ts, pieces[0].values))
                elif pieces:
                    matrices.append((pick.labels, *assemble(pieces, len(pick.labels), pick.fill)))
            return join(matrices)

    def _piece(self, index: Index, pick: Picked, segment: _Segment, start_ms: int, end_ms: int) -> Piece | None:
        key = segment.layout_id, pick.key_ids.tobytes()
        if key not in self._places:
            if len(self._places) > MAX_PLACES:
                self._places.clear()
            self._places[key] = _by_line(place_of(index.layout_ids[segment.layout_id], pick.key_ids))
        place = self._places[key]
        lines = segment.between(start_ms, end_ms)
        if place is None or lines.start >= lines.stop:
            return None
        values = segment.values[lines, place.offset : place.offset + place.count][:, place.inner].T
        return Piece(segment.ts[lines], place.lines, values)


def _by_line(place: Place | None) -> Place | None:
    """Return the place with its slots in the order of the lines, so that a full selection needs no second copy."""
    if place is None:
        return None
    order = np.argsort(place.lines)
    return Place(place.offset, place.count, place.lines[order], place.inner[order])


HEAD = Head()


class SlotReader:
    """A Select for one rule slot: recent samples from the head, others read once per distinct selector."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self._read: dict[tuple[Matcher, ...], tuple[int, int, list[Block]]] = {}
        self._index: Index | None = None
        self._bounds = Bounds()
        self._has_head = False

    def __call__(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the blocks of a selector; may hold more time than asked (promql.Select)."""
        found = self.from_memory(matchers, start_ms, end_ms)
        if found is not None:
            return found
        asked = tuple(matchers)
        if self._index is None:
            self._index, self._bounds = current()
            self._has_head = HEAD.refresh(self._index, self._bounds, self.at_ms)
            return self(asked, start_ms, end_ms)
        known = self._read.get(asked)
        if known:
            start_ms, end_ms = min(start_ms, known[0]), max(end_ms, known[1])
        return self._keep(asked, start_ms, end_ms, select(asked, start_ms, end_ms))

    def from_memory(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block] | None:
        """Return the blocks of a selector when no statement is needed for them, else None."""
        asked = tuple(matchers)
        known = self._read.get(asked)
        if known and known[0] <= start_ms and end_ms <= known[1]:
            return known[2]
        if known:
            start_ms, end_ms = min(start_ms, known[0]), max(end_ms, known[1])
        if self._index is None or not self._has_head or start_ms < (HEAD.low_ms or 0):
            return None
        if self._bounds.generation != HEAD.generation:
            return None
        blocks = HEAD.select(self._index, self._index.select(asked), start_ms, end_ms)
        return self._keep(asked, start_ms, end_ms, blocks)

    def _keep(self, asked: tuple[Matcher, ...], start_ms: int, end_ms: int, blocks: list[Block]) -> list[Block]:
        self._read[asked] = start_ms, end_ms, blocks
        return blocks


def shared_select(at_ms: int) -> SlotReader:
    """Return the Select that all rules of one slot share."""
    return SlotReader(at_ms)
