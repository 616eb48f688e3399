"""The read path: samples of all tiers as one block a source.

Data only moves downstream: row, block, chunk, day. Each tier is read by one statement, upstream first, so that a
sample that moves meanwhile is seen twice and never missed; doubles are dropped by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import Labels
from ..promql.matchers import Matcher
from ..promql.values import STALE_BITS, Block, Floats, Ints
from . import wire
from .index import Index, Picked, current
from .records import ABSENT_BITS, STALE
from .rows import NOTE_MS

ROW_SLICE = wire.Fields("iqi", 1)


@dataclass(slots=True, eq=False)
class Piece:
    """Samples of some series of one source. ``lines``: which picked series the rows of ``values`` are."""

    ts: Ints
    lines: NDArray[np.intp]
    values: Floats


@dataclass(slots=True, eq=False)
class Wanted:
    """A picked source with the pieces found so far, upstream tiers first."""

    picked: Picked
    pieces: list[Piece] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """The part of a layout's rows that holds the wanted series: slots offset … offset + count."""

    offset: int
    count: int
    lines: NDArray[np.intp]
    inner: NDArray[np.intp]


def select(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
    """Return all series that satisfy the matchers with their samples in start_ms ≤ t ≤ end_ms (promql.Select)."""
    index, _ = current()
    wanted = {picked.source_id: Wanted(picked) for picked in index.select(tuple(matchers))}
    if not wanted or end_ms < start_ms:
        return []
    _read_rows(index, wanted, start_ms, end_ms)
    return [block for each in wanted.values() for block in _blocks(each, start_ms, end_ms)]


def slices(index: Index, wanted: Iterable[Wanted]) -> dict[tuple[int, int], _Slice]:
    """Return, for each (source, layout) that holds wanted series, where they stand."""
    found: dict[tuple[int, int], _Slice] = {}
    memo: dict[tuple[int, bytes], _Slice | None] = {}
    for each in wanted:
        asked = each.picked.key_ids
        for layout_id in index.used.get(each.picked.source_id, ()):
            cache_key = layout_id, asked.tobytes()
            if cache_key not in memo:
                memo[cache_key] = _slice(index.layout_ids[layout_id], asked)
            if (piece := memo[cache_key]) is not None:
                found[each.picked.source_id, layout_id] = piece
    return found


def _slice(layout: NDArray[np.int32], asked: NDArray[np.int32]) -> _Slice | None:
    if not len(layout):
        return None
    # `asked` is sorted (Picked), so each slot looks itself up in it.
    place = np.minimum(np.searchsorted(asked, layout), len(asked) - 1)
    slots = np.flatnonzero(asked[place] == layout)
    if not len(slots):
        return None
    first, last = int(slots[0]), int(slots[-1])
    return _Slice(first, last - first + 1, place[slots], slots - first)


def _read_rows(index: Index, wanted: dict[int, Wanted], start_ms: int, end_ms: int) -> None:
    places = slices(index, wanted.values())
    if not places:
        return
    columns = [[s for s, _ in places], [y for _, y in places], [p.offset * 8 + 1 for p in places.values()],
               [p.count * 8 for p in places.values()]]  # fmt: skip
    data = wire.copy_out(
        "select r.source_id, r.at_ms, r.layout_id, substr(r.v, u.start, u.size)"
        " from unnest(%s::int[], %s::int[], %s::int[], %s::int[]) u (source_id, layout_id, start, size)"
        " join store_row r on r.source_id = u.source_id and r.layout_id = u.layout_id"
        " and r.at_ms between %s and %s order by 1, 3, 2",
        [*columns, start_ms, end_ms],
    )
    group: tuple[int, int] | None = None
    times: list[int] = []
    parts: list[memoryview] = []
    for source_id, at_ms, layout_id, part in ROW_SLICE.unpack(data):
        if (source_id, layout_id) != group:
            _take_rows(wanted, places, group, times, parts)
            group, times, parts = (source_id, layout_id), [], []
        times.append(at_ms)
        parts.append(part)
    _take_rows(wanted, places, group, times, parts)


def _take_rows(
    wanted: dict[int, Wanted], places: dict[tuple[int, int], _Slice], group: tuple[int, int] | None,
    times: list[int], parts: list[memoryview],
) -> None:  # fmt: skip
    if group is None:
        return
    place = places[group]
    if all(len(part) == place.count * 8 for part in parts):
        values = np.frombuffer(b"".join(parts), "<f8").reshape(len(times), place.count)
    else:  # a row without bytes had no value at all
        values = np.full((len(times), place.count), STALE)
        for line, part in zip(values, parts, strict=True):
            if len(part):
                line[:] = np.frombuffer(part, "<f8")
    wanted[group[0]].pieces.append(Piece(np.array(times, np.int64), place.lines, values[:, place.inner].T))


def _blocks(wanted: Wanted, start_ms: int, end_ms: int) -> list[Block]:
    """Join the pieces of one source into a dense block; series without any sample are left out."""
    pieces = [piece for piece in wanted.pieces if len(piece.ts)]
    if not pieces:
        return []
    labels = wanted.picked.labels
    ts = np.concatenate([piece.ts for piece in pieces])
    values = np.full((len(labels), len(ts)), STALE)
    position = 0
    for piece in pieces:
        values[piece.lines, position : position + len(piece.ts)] = piece.values
        position += len(piece.ts)
    if not (np.diff(ts) > 0).all():
        ts, first = np.unique(ts, return_index=True)
        values = values[:, first]
    inside = slice(int(np.searchsorted(ts, start_ms)), int(np.searchsorted(ts, end_ms, side="right")))
    return tidy(labels, ts[inside], values[:, inside])


def tidy(labels: tuple[Labels, ...], ts: Ints, values: Floats) -> list[Block]:
    """Return blocks without series that have no sample, and without the store's own mark for absence."""
    if not len(ts):
        return []
    bits = np.ascontiguousarray(values).view(np.uint64)
    values = bits.view(np.float64)
    doubtful = np.flatnonzero((bits[:, 0] == STALE_BITS) | (bits[:, 0] == ABSENT_BITS))
    is_empty = np.zeros(len(labels), bool)
    is_empty[doubtful] = ((bits[doubtful] == STALE_BITS) | (bits[doubtful] == ABSENT_BITS)).all(axis=1)
    is_absent = bits == ABSENT_BITS
    is_sparse = is_absent.any(axis=1)
    dense = np.flatnonzero(~is_empty & ~is_sparse)
    blocks = []
    if len(dense) == len(labels):
        return [Block(labels, ts, values)]
    if len(dense):
        blocks.append(Block(tuple([labels[line] for line in dense]), ts, values[dense]))
    patterns: dict[bytes, list[int]] = {}
    for line in np.flatnonzero(is_sparse & ~is_empty).tolist():
        patterns.setdefault(is_absent[line].tobytes(), []).append(line)
    for lines in patterns.values():
        there = ~is_absent[lines[0]]
        blocks.append(Block(tuple([labels[line] for line in lines]), ts[there], values[lines][:, there]))
    return blocks


def series(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
    """Return the label sets that satisfy the matchers and were sent in a time range (within half an hour), sorted."""
    index, _ = current()
    picked = _in_use(index, index.select(tuple(matchers)), start_ms, end_ms)
    return sorted({labels for _, rows in picked for labels in rows})


def label_names(matchers: Sequence[Matcher] = (), start_ms: int | None = None, end_ms: int | None = None) -> list[str]:
    """Return the sorted label names of the series that satisfy the matchers in a time range."""
    index, _ = current()
    picked = _in_use(index, index.select(tuple(matchers)), start_ms, end_ms)
    return sorted({name for _, rows in picked for labels in rows for name, _ in labels})


def label_values(
    name: str, matchers: Sequence[Matcher] = (), start_ms: int | None = None, end_ms: int | None = None
) -> list[str]:
    """Return the sorted values of one label among the series that satisfy the matchers in a time range."""
    index, _ = current()
    asked = (*matchers, Matcher("!=", name, ""))
    picked = _in_use(index, index.select(asked), start_ms, end_ms)
    return sorted({labels.get(name) for _, rows in picked for labels in rows})


def metric_names() -> list[str]:
    """Return the sorted names of all stored metrics."""
    index, _ = current()
    return sorted(index.all_names())


def _in_use(
    index: Index, picked: list[Picked], start_ms: int | None, end_ms: int | None
) -> list[tuple[int, tuple[Labels, ...]]]:
    if start_ms is None and end_ms is None:
        return [(pick.source_id, pick.labels) for pick in picked]
    used: dict[int, list[NDArray[np.int32]]] = {}
    rows = wire.execute(
        "select source_id, layout_id from store_source_layout"
        " where source_id = any(%s) and first_ms <= %s and last_ms >= %s",
        [
            [pick.source_id for pick in picked],
            end_ms if end_ms is not None else 1 << 62,
            (start_ms if start_ms is not None else 0) - NOTE_MS,
        ],
    )
    for source_id, layout_id in rows:
        if layout_id in index.layout_ids:
            used.setdefault(source_id, []).append(index.layout_ids[layout_id])
    found = []
    for pick in picked:
        if pick.source_id in used:
            there = np.isin(pick.key_ids, np.concatenate(used[pick.source_id]))
            rows_there = zip(pick.labels, there.tolist(), strict=True)
            found.append((pick.source_id, tuple([labels for labels, is_there in rows_there if is_there])))
    return found
