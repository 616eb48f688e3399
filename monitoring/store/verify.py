"""Whether everything stored can still be read: every chunk is unpacked and must have the length its times say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.db import DatabaseError, transaction

from . import wire
from .codec import CorruptChunk, unpack_into, unpack_times
from .partitions import existing
from .records import STALE
from .tiers import CHUNK, TIMES_KEY


@dataclass(frozen=True)
class Problem:
    """A packed series that cannot be read; key 0 stands for the times of its source and window."""

    table: str
    source_id: int
    key_id: int
    window: int
    text: str


@dataclass(frozen=True)
class Verified:
    """What has been checked in one partition: packed series, samples, and the problems found."""

    partition: str
    series: int
    samples: int
    problems: list[Problem]


def verify() -> Iterator[Verified]:
    """Read everything that is compressed, one partition after the other, and yield what was found.

    A damaged page is found by Postgres itself where page checksums are on; a chunk that carries a checksum finds
    every flipped bit, one without it only those that make it unreadable.
    """
    for table in ("store_chunk", "store_day"):
        for partition in existing(table):
            series = samples = 0
            problems: list[Problem] = []
            rows = wire.execute(
                f"select distinct source_id from {partition.name} order by 1"  # noqa: S608  (a partition of ours)
            )
            for (source_id,) in rows:
                checked = _verify_source(partition.name, source_id, problems)
                series, samples = series + checked[0], samples + checked[1]
            yield Verified(partition.name, series, samples, problems)


def _verify_source(name: str, source_id: int, problems: list[Problem]) -> tuple[int, int]:
    query = f"select source_id, key_id, win, d from {name} where source_id = %s order by win, key_id"  # noqa: S608
    try:
        with transaction.atomic():
            data = wire.copy_out(query, [source_id])
    except DatabaseError as error:
        problems.append(Problem(name, source_id, 0, 0, str(error).strip()))
        return 0, 0
    counts: dict[int, int] = {}
    series = samples = 0
    for _, key_id, window, packed in CHUNK.unpack(data):
        try:
            if key_id == TIMES_KEY:
                counts[window] = len(unpack_times(packed))
                continue
            if window not in counts:
                raise CorruptChunk("there are no times for this series")
            unpack_into(packed, np.empty(counts[window]), STALE)
            series, samples = series + 1, samples + counts[window]
        except CorruptChunk as error:
            problems.append(Problem(name, source_id, key_id, window, str(error)))
    return series, samples
