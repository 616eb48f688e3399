"""How each tier is asked for the pieces of some series: one statement a tier, binary both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import wire
from .codec import REGULAR_BYTES, REGULAR_TIMES, unpack_times
from .index import Index, Picked
from .matrix import Lines, Piece
from .records import HALF_MS, WINDOW_MS

ROW_SLICE = wire.Fields("iqi", 1)
BLOCK_SLICE = wire.Fields("iqii", 2)
CHUNK = wire.Fields("iii", 1)
TIMES_KEY = 0
#: Blocks come in order of time: half hours of all sources, then five minutes of all. More runs than this are no order.
MAX_RUNS = 24
CHUNK_RANK, BLOCK_RANK, ROW_RANK = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where wanted series stand in a layout.

    They lie in slots offset … offset + count; slot ``inner[i]`` of these belongs to line ``lines[i]`` of the matrix.
    """

    offset: int
    count: int
    lines: Lines
    inner: Lines


class Found:
    """The series that are wanted and the pieces found so far, by source."""

    def __init__(self, index: Index, picked: list[Picked]) -> None:
        self.index = index
        self.picked = {pick.source_id: pick for pick in picked}
        self.pieces: dict[int, list[Piece]] = {pick.source_id: [] for pick in picked}
        self._places: dict[tuple[int, int], Place] | None = None

    def places(self) -> dict[tuple[int, int], Place]:
        """Return, for each (source, layout) that holds wanted series, where they stand."""
        if self._places is None:
            self._places = {}
            memo: dict[tuple[int, bytes], Place | None] = {}
            for source_id, pick in self.picked.items():
                asked = pick.key_ids.tobytes()
                for layout_id in self.index.used.get(source_id, ()):
                    if (layout_id, asked) not in memo:
                        memo[layout_id, asked] = place_of(self.index.layout_ids[layout_id], pick.key_ids)
                    if (place := memo[layout_id, asked]) is not None:
                        self._places[source_id, layout_id] = place
        return self._places

    def columns(self) -> list[list[int]]:
        """Return the places as columns: source ids, layout ids, offsets and counts of slots."""
        places = self.places()
        return [
            [source_id for source_id, _ in places],
            [layout_id for _, layout_id in places],
            [place.offset for place in places.values()],
            [place.count for place in places.values()],
        ]


def place_of(layout: NDArray[np.int32], asked: NDArray[np.int32]) -> Place | None:
    """Return where the asked keys (ascending) stand in a layout, or None when it has none of them."""
    if not len(layout):
        return None
    line = np.minimum(np.searchsorted(asked, layout), len(asked) - 1)
    slots = np.flatnonzero(asked[line] == layout)
    if not len(slots):
        return None
    first, last = int(slots[0]), int(slots[-1])
    return Place(first, last - first + 1, line[slots], slots - first)


def read_rows(found: Found, start_ms: int, end_ms: int) -> None:
    """Add the pieces that are still rows."""
    if not found.places():
        return
    data = wire.copy_out(
        "select r.source_id, r.at_ms, r.layout_id, substr(r.v, u.place * 8 + 1, u.size * 8)"
        " from unnest(%s::int[], %s::int[], %s::int[], %s::int[]) u (source_id, layout_id, place, size)"
        " join store_row r on r.source_id = u.source_id and r.layout_id = u.layout_id"
        " and r.at_ms between %s and %s",
        [*found.columns(), start_ms, end_ms],
    )
    rows = ROW_SLICE.table(data)
    if rows is not None and rows["b0"].shape[1]:
        values = rows["b0"].view("<f8")
        for group, lines in _groups(rows["i0"], rows["i2"], rows["i1"]):
            place = found.places()[group]
            part = values[lines][:, place.inner].T
            found.pieces[group[0]].append(Piece(rows["i1"][lines].astype(np.int64), place.lines, part, rank=ROW_RANK))
        return
    grouped: dict[tuple[int, int], list[tuple[int, memoryview]]] = {}
    for source_id, at_ms, layout_id, part in ROW_SLICE.unpack(data):
        grouped.setdefault((source_id, layout_id), []).append((at_ms, part))
    for group, samples in grouped.items():
        found.pieces[group[0]].append(_row_piece(found, group, sorted(samples, key=lambda pair: pair[0])))


def _row_piece(found: Found, group: tuple[int, int], samples: list[tuple[int, memoryview]]) -> Piece:
    place = found.places()[group]
    values = np.full((len(samples), place.count), found.picked[group[0]].fill)
    for line, (_, part) in zip(values, samples, strict=True):
        if len(part):  # a row without bytes is a source that was down
            line[:] = np.frombuffer(part, "<f8")
    times = np.array([at_ms for at_ms, _ in samples], np.int64)
    return Piece(times, place.lines, values[:, place.inner].T, rank=ROW_RANK)


def _groups(
    sources: NDArray[Any], layouts: NDArray[Any], times: NDArray[Any]
) -> Iterator[tuple[tuple[int, int], NDArray[np.intp]]]:
    """Yield (source, layout) and the places of its rows in order of time."""
    order = np.lexsort((times, layouts, sources))
    sources, layouts = sources[order], layouts[order]
    cuts = np.flatnonzero((sources[1:] != sources[:-1]) | (layouts[1:] != layouts[:-1])) + 1
    for start, lines in zip([0, *cuts.tolist()], np.split(order, cuts), strict=True):
        yield (int(sources[start]), int(layouts[start])), lines


def read_blocks(found: Found, start_ms: int, end_ms: int, from_window: int) -> None:
    """Add the pieces that are blocks of this window or a later one."""
    if not found.places():
        return
    low = max(start_ms // WINDOW_MS, from_window)
    data = wire.copy_out(
        # Sorted before the slices are cut: megabytes of them would be sorted on disk.
        "select source_id, first_ms, layout_id, n, ts, substr(v, place * n * 8 + 1, size * n * 8) from ("
        "select b.source_id, b.first_ms, b.layout_id, b.n, b.ts, b.v, u.place, u.size"
        " from unnest(%s::int[], %s::int[], %s::int[], %s::int[]) u (source_id, layout_id, place, size)"
        " join store_block b on b.source_id = u.source_id and b.layout_id = u.layout_id"
        " and b.win between %s and %s and b.first_ms between %s and %s order by b.created offset 0) b",
        [*found.columns(), low, end_ms // WINDOW_MS, start_ms - HALF_MS, end_ms],
    )
    if _take_equal_blocks(found, data):
        return
    places = found.places()
    known: dict[bytes, NDArray[np.int64]] = {}
    for source_id, _, layout_id, count, times, part in BLOCK_SLICE.unpack(data):
        place = places[source_id, layout_id]
        packed = bytes(times)
        if packed not in known:
            known[packed] = unpack_times(packed)
        piece = Piece(known[packed], rank=BLOCK_RANK)
        if len(part):
            piece.lines, piece.values = place.lines, np.frombuffer(part, "<f8").reshape(-1, count)[place.inner]
        found.pieces[source_id].append(piece)


def compacted_to(found: Found) -> int:
    """Return the window below which every wanted source is compacted.

    To be asked before the blocks are: what is compacted meanwhile comes twice and is told by its time.
    """
    marks = wire.execute(
        "select min(coalesce(m.chunk_to, 0))"
        " from unnest(%s::int[]) u (source_id) left join store_mark m using (source_id)",
        [list(found.picked)],
    )
    return int(marks[0][0] or 0)


def _take_equal_blocks(found: Found, data: bytes) -> bool:
    """Join neighbouring blocks of one size and with regular times, layout by layout; False when they are not so."""
    runs = BLOCK_SLICE.runs(data, MAX_RUNS)
    heads = [_regular(rows) for rows in runs]
    if any(each is None for each in heads):
        return False
    for rows, regular in zip(runs, heads, strict=True):
        if regular is not None:
            _take_run(found, rows, regular)
    return bool(runs)


def _regular(rows: NDArray[Any]) -> NDArray[Any] | None:
    """Return the packed times of some blocks as an array, None when they are not all regular and of one count."""
    if rows["b0"].shape[1] != REGULAR_BYTES or not rows["b1"].shape[1]:
        return None
    heads: NDArray[Any] = np.ascontiguousarray(rows["b0"]).view(REGULAR_TIMES)[:, 0]
    return None if (rows["i3"] != rows["i3"][0]).any() or (heads["tag"] != 0).any() else heads


def _take_run(found: Found, rows: NDArray[Any], heads: NDArray[Any]) -> None:
    count = int(rows["i3"][0])
    ts = heads["start"][:, None] + heads["step"][:, None] * np.arange(count)
    values = np.ascontiguousarray(rows["b1"]).view("<f8").reshape(len(rows), -1, count)
    for group, lines in _groups(rows["i0"], rows["i2"], rows["i1"]):
        place = found.places()[group]
        part = values[lines][:, place.inner].transpose(1, 0, 2).reshape(len(place.inner), -1)
        found.pieces[group[0]].append(Piece(ts[lines].ravel(), place.lines, part, rank=BLOCK_RANK))


def read_chunks(found: Found, table: str, low: int, high: int) -> None:
    """Add the pieces of the compressed tiers whose windows are low … high."""
    if high < low:
        return
    data = wire.copy_out(*_chunk_query(found, table, low, high))
    times: dict[tuple[int, int], Piece] = {}
    rows = []
    for row in CHUNK.unpack_small(data):
        if row[1] == TIMES_KEY:
            times[row[0], row[2]] = Piece(unpack_times(row[3]))
        else:
            rows.append(row)
    lines = {
        source_id: {key_id: line for line, key_id in enumerate(pick.key_ids.tolist())}
        for source_id, pick in found.picked.items()
    }
    for source_id, key_id, window, packed in rows:
        line = lines[source_id].get(key_id)
        if line is not None:
            times[source_id, window].packed.append((line, packed))
    for (source_id, _), piece in times.items():
        found.pieces[source_id].append(piece)


def _chunk_query(found: Found, table: str, low: int, high: int) -> tuple[str, list[object]]:
    """A selection that is nearly sources × keys is asked as that; any other as a list of pairs."""
    sources = list(found.picked)
    keys = sorted({key_id for pick in found.picked.values() for key_id in pick.key_ids.tolist()})
    pairs = sum(len(pick.key_ids) for pick in found.picked.values())
    if pairs * 1.5 >= len(sources) * len(keys):
        return (
            f"select source_id, key_id, win, d from {table} where source_id = any(%s) and key_id = any(%s)"  # noqa: S608
            " and win between %s and %s",
            [sources, [TIMES_KEY, *keys], low, high],
        )
    pair_sources = [source_id for source_id, pick in found.picked.items() for _ in range(len(pick.key_ids) + 1)]
    pair_keys = [key_id for pick in found.picked.values() for key_id in (TIMES_KEY, *pick.key_ids.tolist())]
    return (
        "select c.source_id, c.key_id, c.win, c.d from unnest(%s::int[], %s::int[]) u (source_id, key_id)"  # noqa: S608
        f" join {table} c using (source_id, key_id) where c.win between %s and %s",
        [pair_sources, pair_keys, low, high],
    )
