"""Rows on their way to another server: the table of fresh rows as a queue that survives every kill.

With ALPHAQ_METRICS_URL set nothing turns rows into blocks; whoever forwards takes them in order of time, sends them,
and commits their removal only when they have arrived. What cannot be sent waits, as far as there is room.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..promql.labels import Labels
from ..promql.values import Floats
from . import wire
from .index import Index, current
from .records import ABSENT_BITS

ROW = wire.Fields("iqi", 1)
#: One process at a time sends, else a source's samples could arrive out of order.
SEND_LOCK = 0x616C7068_0003


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """One row as it leaves: its source, its time, and of each series labels and value (stale markers included)."""

    source_id: int
    at_ms: int
    labels: tuple[Labels, ...]
    values: Floats


@dataclass(frozen=True)
class Waiting:
    """What waits to be sent: rows, bytes, and the time of the oldest (None for nothing)."""

    rows: int
    bytes: int
    oldest_ms: int | None


def try_send_lock() -> bool:
    """Take the right to send until the transaction ends; False when another process has it."""
    return bool(wire.execute("select pg_try_advisory_xact_lock(%s)", [SEND_LOCK])[0][0])


def take(limit: int) -> list[tuple[int, int, int, bytes]]:
    """Remove the oldest rows in this transaction and return them: source, time, layout, values; in order of time."""
    data = wire.copy_out(
        "with taken as (delete from store_row where (source_id, at_ms) in"
        " (select source_id, at_ms from store_row order by at_ms, source_id limit %s)"
        " returning source_id, at_ms, layout_id, v)"
        " select source_id, at_ms, layout_id, v from taken order by at_ms, source_id",
        [limit],
    )
    return [(source, at_ms, layout, bytes(part)) for source, at_ms, layout, part in ROW.unpack(data)]


def waiting() -> Waiting:
    """Return what waits to be sent."""
    rows, size, oldest = wire.execute(
        "select count(*), coalesce(sum(octet_length(v)), 0)::bigint, min(at_ms) from store_row"
    )[0]
    return Waiting(rows, size, oldest)


class Unpacker:
    """Turns rows into labels and values, and knows which series of each source had a value last.

    A row has a stale marker wherever it has no value; only the first of them is worth sending.
    """

    def __init__(self) -> None:
        self._generation: int | None = None
        self._labels: dict[tuple[int, int], tuple[Labels, ...]] = {}
        self._present: dict[int, NDArray[np.int32]] = {}

    def rows(self, taken: list[tuple[int, int, int, bytes]]) -> Iterator[Sent]:
        """Yield the rows as they are to be sent."""
        index, bounds = current()
        if bounds.generation != self._generation:
            self._generation, self._labels, self._present = bounds.generation, {}, {}
        for source_id, at_ms, layout_id, part in taken:
            if layout_id in index.layout_ids and source_id in index.shapes:
                yield self._row(index, source_id, at_ms, layout_id, part)

    def _row(self, index: Index, source_id: int, at_ms: int, layout_id: int, part: bytes) -> Sent:
        ids = index.layout_ids[layout_id]
        fill = index.fills[source_id]
        values = np.frombuffer(part, "<f8") if part else np.full(len(ids), fill)
        bits = values.view(np.uint64)
        is_here = bits != np.float64(fill).view(np.uint64)
        before = self._present.get(source_id)
        is_partial = np.float64(fill).view(np.uint64) == ABSENT_BITS
        # Of a source not seen yet nobody knows what it had: one marker too many does no harm.
        had = np.ones(len(ids), bool) if before is None else np.isin(ids, before)
        wanted = is_here if is_partial else is_here | had
        gone = np.empty(0, np.int32) if before is None or is_partial else np.setdiff1d(before, ids)
        self._present[source_id] = ids[is_here]
        labels = self._labels_of(index, source_id, layout_id)
        chosen = np.flatnonzero(wanted)
        ended = self._ended(index, source_id, gone)
        return Sent(
            source_id,
            at_ms,
            (*[labels[slot] for slot in chosen.tolist()], *ended),
            np.concatenate([values[chosen], np.full(len(ended), fill)]),
        )

    def _labels_of(self, index: Index, source_id: int, layout_id: int) -> tuple[Labels, ...]:
        key = source_id, layout_id
        if key not in self._labels:
            shape, pairs = index.shapes[source_id], index.keys.pairs
            self._labels[key] = tuple([shape.merge(pairs[place]) for place in index.layouts[layout_id].tolist()])
        return self._labels[key]

    def _ended(self, index: Index, source_id: int, ids: NDArray[np.int32]) -> list[Labels]:
        shape, pairs = index.shapes[source_id], index.keys.pairs
        return [shape.merge(pairs[place]) for place in index.keys.positions(ids).tolist()]
