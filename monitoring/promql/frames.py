"""Samples in the shapes that evaluation walks over.

A ``Frame`` holds series side by side, either on one shared time line (``ts`` of one row) or each row on its own
(``part`` says which row of ``ts``), padded at the end. Padding has time FAR and value 0 and is never reached: every
index comes from a search for a time before FAR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .labels import Labels
from .tables import EMPTY_TABLE, Table, table_of
from .values import Block, Bools, Floats, Ints, is_stale

FAR = np.iinfo(np.int64).max
#: Values a chunk may hold: 64 Ki float64 stay in a core's own cache while several passes go over them.
_CHUNK_CELLS = 65_536
#: A part with fewer series or values is put into a padded frame with others: a frame costs some twenty numpy calls,
#: padding costs copies and an index for each row.
_OWN_FRAME_ROWS, _OWN_FRAME_CELLS = 8, 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Series side by side: ``values`` (rows, n); ``ts`` (1, n), or (parts, n) with ``part`` (rows,) ascending."""

    ts: Ints
    values: Floats
    part: Ints | None = None

    @property
    def shared(self) -> bool:
        """Whether all rows share one time line."""
        return self.part is None

    def search(self, times: Ints, side: str) -> Ints:
        """Return where ``times`` (T,) fall: (1, T) on a shared time line, else (rows, T); side as in searchsorted."""
        right = side == "right"
        if self.part is None:
            return np.searchsorted(self.ts[0], times, "right" if right else "left")[None, :]
        found = np.empty((len(self.ts), len(times)), np.int64)
        if len(times) <= 2:
            for column, time in enumerate(times):
                found[:, column] = ((self.ts <= time) if right else (self.ts < time)).sum(axis=1)
        else:
            for row, line in enumerate(self.ts):
                found[row] = np.searchsorted(line, times, "right" if right else "left")
        return found[self.part]

    def at(self, index: Ints) -> Floats:
        """Return the values at ``index`` as ``search`` shapes it; an index off the edge gives some value."""
        return self.pick(self.values, index)

    def pick(self, array: Floats, index: Ints) -> Floats:
        """Return the entries at ``index`` of an array shaped like ``values``."""
        last = array.shape[1] - 1
        if last < 0:
            return np.full((len(self.values), index.shape[1]), np.nan)
        if self.part is not None:
            return np.asarray(np.take_along_axis(array, _within(index, last), 1))
        columns = _within(index[0], last)
        step = _even_step(columns)
        if step:
            return np.asarray(array[:, columns[0] : columns[-1] + 1 : step])
        return np.asarray(array.take(columns, axis=1))

    def times(self, index: Ints) -> Ints:
        """Return the timestamps at ``index``, shaped like it."""
        last = self.ts.shape[1] - 1
        if last < 0:
            return np.zeros(index.shape, np.int64)
        if self.part is None:
            return np.asarray(self.ts[0][_within(index, last)])
        return np.asarray(self.ts[self.part[:, None], _within(index, last)])

    def rows(self, start: int, stop: int) -> Frame:
        """Return some of the rows, as views."""
        if self.part is None:
            return Frame(self.ts, self.values[start:stop])
        lines = self.part[start:stop]  # ascending: only their own time lines go along
        first, last = int(lines[0]), int(lines[-1])
        return Frame(self.ts[first : last + 1], self.values[start:stop], lines - first)

    def chunks(self, width: int) -> Iterator[tuple[slice, Frame]]:
        """Yield pieces of rows small enough for the cache, for results ``width`` wide."""
        count = max(1, _CHUNK_CELLS // max(1, self.values.shape[1], width))
        for start in range(0, len(self.values), count):
            stop = min(start + count, len(self.values))
            piece = self.rows(start, stop)
            if piece.values.strides[1] > piece.values.strides[0]:  # stored by time: turn the piece, not the block
                piece = Frame(piece.ts, np.ascontiguousarray(piece.values), piece.part)
            yield slice(start, stop), piece

    def without_stale(self) -> Frame:
        """Return the frame without stale markers; itself when it has none."""
        # A sum shows in one pass that nothing is NaN; only then are bits compared.
        total = self.values.sum()
        if np.isfinite(total) or not self.values.size:
            return self
        stale = is_stale(self.values)
        return self.keeping(~stale) if stale.any() else self

    def keeping(self, valid: Bools) -> Frame:
        """Return the frame with only the samples where ``valid`` (rows, n), each row then on its own time line."""
        counts = valid.sum(axis=1)
        width = int(counts.max(initial=0))
        order = np.argsort(~valid, axis=1, kind="stable")[:, :width]
        lines = self.ts if self.part is None else self.ts[self.part]
        ts = np.take_along_axis(np.broadcast_to(lines, valid.shape), order, 1)
        values = np.take_along_axis(self.values, order, 1)
        beyond = np.arange(width) >= counts[:, None]
        ts[beyond] = FAR
        values[beyond] = 0.0
        return Frame(ts, values, np.arange(len(values)))


def _within(index: Ints, last: int) -> Ints:
    """Return the index kept between 0 and ``last``; np.clip asks for the limits of the type each time, at three times
    the cost."""
    return np.minimum(np.maximum(index, 0), last)


def _even_step(columns: Ints) -> int:
    """Return the step of an evenly rising index, 0 when it is not."""
    if len(columns) < 2:
        return 1 if len(columns) else 0
    step = int(columns[1] - columns[0])
    if step <= 0 or int(columns[-1] - columns[0]) != step * (len(columns) - 1):
        return 0
    return step if bool((columns[1:] - columns[:-1] == step).all()) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The series of one selector: their table, and frames with the table rows they cover (None: all)."""

    table: Table
    frames: tuple[tuple[Ints | None, Frame], ...]

    @property
    def samples(self) -> int:
        """How many samples the frames hold, padding included."""
        return sum(frame.values.size for _, frame in self.frames)


NOTHING = Selection(EMPTY_TABLE, ())


def selection(blocks: Sequence[Block], start_ms: int, end_ms: int) -> Selection:
    """Return the samples of ``blocks`` with start_ms <= t <= end_ms, every series once."""
    cut = [_cut(block, start_ms, end_ms) for block in blocks if len(block.labels)]
    if len(cut) == 1:
        block = cut[0]
        return Selection(table_of([block.labels]), ((None, Frame(block.ts[None, :], block.values)),))
    if not cut:
        return NOTHING
    joined = _join_in_time(cut)
    table = table_of([block.labels for block in joined])
    if not table.root.unique:
        joined = _join_series(joined)
        table = table_of([block.labels for block in joined])
    return Selection(table, tuple(_frames(joined)))


def _cut(block: Block, start_ms: int, end_ms: int) -> Block:
    ts = block.ts
    if not len(ts) or (ts[0] >= start_ms and ts[-1] <= end_ms):
        return block
    first, last = ts.searchsorted((start_ms, end_ms + 1))
    return Block(block.labels, ts[first:last], block.values[:, first:last])


def _join_in_time(blocks: Sequence[Block]) -> list[Block]:
    """Put blocks of the same series, cut at midnight or by size, behind one another."""
    same: dict[Sequence[Labels], list[Block]] = {}
    for block in blocks:
        same.setdefault(block.labels if type(block.labels) is tuple else tuple(block.labels), []).append(block)
    return [parts[0] if len(parts) == 1 else _merge(labels, parts) for labels, parts in same.items()]


def _merge(labels: Sequence[Labels], parts: list[Block]) -> Block:
    """Merge blocks of the same series; where times meet, a sample beats a stale marker and a later block an earlier."""
    ordered = sorted((part for part in parts if len(part.ts)), key=lambda part: int(part.ts[0]))
    if not ordered:
        return parts[0]
    if all(int(a.ts[-1]) < int(b.ts[0]) for a, b in pairwise(ordered)):
        values = np.concatenate([part.values for part in ordered], axis=1)
        return Block(labels, np.concatenate([part.ts for part in ordered]), values)
    ts = np.unique(np.concatenate([part.ts for part in parts]))
    values = np.empty((len(labels), len(ts)))
    known = np.zeros(values.shape, np.bool_)
    stale = np.zeros(values.shape, np.bool_)
    for part in parts:
        at = np.searchsorted(ts, part.ts)
        marker = is_stale(part.values)
        better = ~marker | ~known[:, at] | stale[:, at]
        values[:, at] = np.where(better, part.values, values[:, at])
        stale[:, at] = np.where(better, marker, stale[:, at])
        known[:, at] = True
    return Block(labels, ts, values)


def _join_series(blocks: Sequence[Block]) -> list[Block]:
    """Merge series that come in several blocks together with different neighbours, one by one."""
    homes: dict[Labels, list[tuple[Block, int]]] = {}
    for block in blocks:
        for row, labels in enumerate(block.labels):
            homes.setdefault(labels, []).append((block, row))
    out: list[Block] = []
    alone: dict[int, tuple[Block, list[int]]] = {}
    for labels, places in homes.items():
        if len(places) == 1:
            block, row = places[0]
            alone.setdefault(id(block), (block, []))[1].append(row)
            continue
        parts = [_narrow(block, [row]) for block, row in places]
        out.append(_merge((labels,), [part for part in parts if len(part.ts)] or parts))
    out.extend(_narrow(block, rows) for block, rows in alone.values())
    return out


def _narrow(block: Block, rows: list[int]) -> Block:
    labels = tuple([block.labels[row] for row in rows])
    return Block(labels, block.ts, block.values[rows])


def _frames(blocks: Sequence[Block]) -> Iterator[tuple[Ints | None, Frame]]:
    """Yield frames over the blocks: wide ones alone, narrow ones padded together by similar length."""
    narrow: dict[int, list[tuple[int, Block]]] = {}
    at = 0
    for block in blocks:
        rows = len(block.labels)
        if rows >= _OWN_FRAME_ROWS and rows * len(block.ts) >= _OWN_FRAME_CELLS:
            yield np.arange(at, at + rows), Frame(block.ts[None, :], block.values)
        elif len(block.ts):
            narrow.setdefault(len(block.ts).bit_length(), []).append((at, block))
        at += rows
    for group in narrow.values():
        yield _padded(group)


def _padded(group: list[tuple[int, Block]]) -> tuple[Ints, Frame]:
    lengths = [len(block.ts) for _, block in group]
    sizes = np.array([len(block.labels) for _, block in group])
    ends = np.cumsum(sizes)
    width = max(lengths)
    ts = np.full((len(group), width), FAR, np.int64)
    values = np.zeros((int(ends[-1]), width))
    # Copied block by block: a mask over all cells costs four times as much.
    for line, ((_, block), length, end) in enumerate(zip(group, lengths, ends.tolist(), strict=True)):
        ts[line, :length] = block.ts
        values[end - len(block.values) : end, :length] = block.values
    part = np.repeat(np.arange(len(group)), sizes)
    within = np.arange(len(part)) - np.repeat(ends - sizes, sizes)
    rows = np.repeat(np.array([at for at, _ in group]), sizes) + within
    return rows, Frame(ts, values, part)
