"""Samples of long ago: written into chunks and days directly, merged with what is there.

Windows below the floor take no appends. Here they are rewritten, one source and window (or merged day) a transaction;
where a sample is stored already it stays. What lies above the floor goes the usual way.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from django.db import transaction

from ..promql.values import Floats, Ints
from . import partitions, wire
from .catalog import CATALOG, Ids, Learnt, SourceKey, lock_for_append
from .compact import compact_source_until, packed_rows
from .keys import parse_key, sample_key
from .matrix import Piece, assemble
from .merge import read_chunks_of
from .records import ABSENT, DAY_WINDOWS, WINDOW_MS, Receipt, Scrape, StoreError
from .room import check_room
from .rows import append, note_layouts

#: Labels that say who was measured: series that share them have their times in common.
SOURCE_LABELS = ("job", "instance")


@dataclass
class Batch:
    """Samples of one source on their way in: for each series its times (ms) and values."""

    source: SourceKey
    series: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)


def gather(samples: Iterable[tuple[str, float, int]]) -> list[Batch]:
    """Sort samples (series text, value, time in ms) by the source they belong to; raises BadKey."""
    batches: dict[SourceKey, Batch] = {}
    place: dict[str, tuple[list[int], list[float]]] = {}
    for text, value, at_ms in samples:
        line = place.get(text)
        if line is None:
            name, pairs = parse_key(text)
            labels = {key: found for key, found in pairs if key not in SOURCE_LABELS}
            own = tuple((key, found) for key, found in pairs if key in SOURCE_LABELS)
            source = "import:" + "/".join(found for _, found in own), own, True
            batch = batches.setdefault(source, Batch(source))
            line = place[text] = batch.series.setdefault(sample_key(name, labels), ([], []))
        line[0].append(at_ms)
        line[1].append(value)
    return list(batches.values())


def write(batch: Batch, *, now_ms: int) -> Receipt:
    """Store the samples of one source whatever their age; a time that is stored already keeps its sample.

    Raises StoreError when another process keeps house for longer than a few tries, DiskFull when there is no room.
    """
    check_room()
    ts, keys, values = _matrix(batch)
    floor_ms = int((wire.execute("select floor_ms from store_state where id = 1") or [(0,)])[0][0])
    receipt = Receipt()
    split = int(np.searchsorted(ts, floor_ms))
    for unit in _units(ts[:split]):
        receipt.samples += _write_unit(batch.source, keys, ts[unit], values[:, unit])
    name, labels, _ = batch.source
    recent = []
    for column in range(split, len(ts)):
        there = values[:, column].view(np.int64) != np.float64(ABSENT).view(np.int64)
        names = [key for key, is_there in zip(keys, there.tolist(), strict=True) if is_there]
        recent.append(Scrape(name, dict(labels), int(ts[column]), names, values[there, column], is_partial=True))
    if recent:
        appended = append(recent, now_ms=now_ms)
        receipt.samples += appended.samples
        receipt.dropped, receipt.errors = appended.dropped, appended.errors
    return receipt


def _matrix(batch: Batch) -> tuple[Ints, list[str], Floats]:
    """Return times (n,), series texts and values (series, n) with ABSENT where a series has no sample."""
    ts = np.unique(np.concatenate([np.array(times, np.int64) for times, _ in batch.series.values()]))
    values = np.full((len(batch.series), len(ts)), ABSENT)
    for line, (times, numbers) in zip(values, batch.series.values(), strict=True):
        # Backwards, so that of two samples at one time the first counts.
        line[np.searchsorted(ts, np.array(times[::-1], np.int64))] = numbers[::-1]
    return ts, list(batch.series), np.asfortranarray(values)


def _units(ts: Ints) -> list[slice]:
    """Cut times at the borders of days: a merged day is rewritten once."""
    days = ts // (WINDOW_MS * DAY_WINDOWS)
    cuts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(ts)]
    return [slice(low, high) for low, high in itertools.pairwise(cuts) if high > low]


def _write_unit(source: SourceKey, keys: list[str], ts: Ints, values: Floats) -> int:
    """Write the samples of one source and day below the floor; return how many were given."""
    with transaction.atomic():
        _, generation = lock_for_append()
        if not wire.wait_for_house_lock():
            raise StoreError("another process is keeping house; try again in a minute")
        CATALOG.sync(generation)
        learnt = Learnt(CATALOG, generation)
        learnt.find_sources([source])
        learnt.find_keys(keys)
        ids, source_id = learnt.key_ids(keys), learnt.seat(source).source_id
        _note(learnt, source_id, ids, ts)
        day_to = wire.execute("select day_to from store_state where id = 1")[0][0]
        windows = ts // WINDOW_MS
        for window in np.unique(windows).tolist():
            if window >= day_to:
                lines = windows == window
                _rewrite("store_chunk", source_id, window, window + 1, ids, ts[lines], values[:, lines])
        merged = windows < day_to
        if merged.any():
            low = int(windows[0]) // DAY_WINDOWS * DAY_WINDOWS
            _rewrite("store_day", source_id, low, low + DAY_WINDOWS, ids, ts[merged], values[:, merged])
        if learnt.has_news:
            transaction.on_commit(lambda: CATALOG.publish(learnt))
    return int((np.ascontiguousarray(values).view(np.int64) != np.float64(ABSENT).view(np.int64)).sum())


def _note(learnt: Learnt, source_id: int, ids: Ids, ts: Ints) -> None:
    layout = np.unique(ids)
    found = hashlib.blake2b(layout.tobytes(), digest_size=16).digest()
    layout_id = learnt.layout_ids({found: layout})[found]
    note_layouts({(source_id, layout_id): (int(ts[0]), int(ts[-1]))})


def _rewrite(table: str, source_id: int, low: int, high: int, ids: Ids, ts: Ints, values: Floats) -> None:
    """Merge samples into the windows low ≤ win < high of a source."""
    if table == "store_chunk":
        compact_source_until(source_id, low)
        _forget_half_merged(source_id, low)
    partitions.ensure(table, low)
    old_ids, old_ts, old_values = read_chunks_of(source_id, low, high, ABSENT, table)
    all_ids = np.union1d(old_ids, ids).astype(np.int32)
    pieces = [
        Piece(old_ts, np.searchsorted(all_ids, old_ids), old_values, rank=0),
        Piece(ts, np.searchsorted(all_ids, ids), values, rank=1),
    ]
    new_ts, new_values = assemble(pieces, len(all_ids), ABSENT)
    wire.execute(
        f"delete from {table} where source_id = %s and win >= %s and win < %s",  # noqa: S608  (a tier of ours)
        [source_id, low, high],
    )
    wire.copy_in(table, packed_rows(source_id, low, all_ids, new_ts, new_values, ABSENT))


def _forget_half_merged(source_id: int, window: int) -> None:
    """A day that is being merged may hold this source already; have it merged again."""
    partition = partitions.partition_of("store_day", window)
    if wire.execute("select to_regclass(%s)", [partition.name])[0][0] is not None:
        wire.execute(
            f"delete from {partition.name} where source_id = %s",  # noqa: S608  (named by us)
            [source_id],
        )
