"""Retention by selector: some series are kept longer or shorter than the rest.

Whole days leave by dropping their partition, at the longest retention there is. A day that only some of its series
outlive is written anew without the others, once for each time that runs out, and takes the place of the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db import OperationalError, transaction
from numpy.typing import NDArray
from psycopg2 import sql

from ..promql.matchers import Matcher
from . import partitions, wire
from .catalog import Ids
from .index import Index, current
from .partitions import Partition
from .records import WINDOW_MS
from .tiers import TIMES_KEY

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Keep:
    """Series that satisfy the matchers are kept for some days; of several rules the longest counts."""

    matchers: tuple[Matcher, ...]
    days: int


def longest_days(default_days: int, rules: Sequence[Keep]) -> int:
    """Return how long anything is kept."""
    return max([default_days, *[rule.days for rule in rules]])


def trim(now_ms: int, default_days: int, rules: Sequence[Keep]) -> int:
    """Take series past their time out of merged days; return how many days were written anew."""
    if not rules:
        return 0
    limits = sorted({default_days, *[rule.days for rule in rules]})[:-1]  # the longest drops whole partitions
    trimmed = dict(wire.execute("select name, days from store_trim"))
    due = {}
    for partition in partitions.existing("store_day"):
        age_days = (now_ms - partition.high * WINDOW_MS) / DAY_MS
        days = max((days for days in limits if days <= age_days), default=0)
        if days > trimmed.get(partition.name, 0):
            due[partition] = days
    if not due:
        return 0
    index, _ = current()
    kept = _days_by_series(index, default_days, rules)
    return sum(_rewrite(partition, kept, days) for partition, days in due.items())


def _days_by_series(index: Index, default_days: int, rules: Sequence[Keep]) -> dict[int, tuple[Ids, NDArray[np.int64]]]:
    """Return, by source, its key ids (ascending) and for how many days each is kept."""
    found: dict[int, tuple[Ids, NDArray[np.int64]]] = {}
    for source_id in index.used:
        ids = np.sort(index.keys.ids_at(index.held(source_id)))
        found[source_id] = ids, np.zeros(len(ids), np.int64)
    for rule in rules:
        for pick in index.select(rule.matchers):
            ids, days = found[pick.source_id]
            places = np.searchsorted(ids, pick.key_ids)
            days[places] = np.maximum(days[places], rule.days)
    for _, days in found.values():
        days[days == 0] = default_days
    return found


def _rewrite(partition: Partition, kept: dict[int, tuple[Ids, NDArray[np.int64]]], due_days: int) -> int:
    """Write a day anew with the series that are kept for more than `due_days`; 0 when the tier is busy."""
    keys = {source_id: [TIMES_KEY, *ids[days > due_days].tolist()] for source_id, (ids, days) in kept.items()}
    columns = [
        [source_id for source_id, ids in keys.items() for _ in ids],
        [key_id for ids in keys.values() for key_id in ids],
    ]
    try:
        with transaction.atomic():
            if not wire.try_house_lock():
                return 0
            _fill_new(partition, columns)
            partitions.set_lock_timeout()
            _take_place(partition)
            wire.execute(
                "insert into store_trim (name, days) values (%s, %s)"
                " on conflict (name) do update set days = excluded.days",
                [partition.name, due_days],
            )
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") != "55P03":  # lock_not_available
            raise
        return 0
    return 1


def _fill_new(partition: Partition, columns: list[list[int]]) -> None:
    names = _names(partition)
    wire.execute_sql(
        sql.SQL(
            "create table {new} (like store_day including storage, check (win >= {low} and win < {high}));"
            " insert into {new} select d.* from {old} d"
            " join unnest({sources}::int[], {keys}::int[]) u (source_id, key_id)"
            " using (source_id, key_id) order by source_id, key_id;"
            " create unique index {new_index} on {new} (source_id, key_id, win) with (fillfactor = 100)"
        ).format(
            **names,
            low=sql.Literal(partition.low),
            high=sql.Literal(partition.high),
            sources=sql.Literal(columns[0]),
            keys=sql.Literal(columns[1]),
        )
    )


def _take_place(partition: Partition) -> None:
    names = _names(partition)
    wire.execute_sql(
        sql.SQL(
            "drop table {old}; alter table {new} rename to {old}; alter index {new_index} rename to {index};"
            " alter table store_day attach partition {old} for values from ({low}) to ({high})"
        ).format(**names, low=sql.Literal(partition.low), high=sql.Literal(partition.high))
    )


def _names(partition: Partition) -> dict[str, sql.Identifier]:
    return {
        "old": sql.Identifier(partition.name),
        "new": sql.Identifier(f"{partition.name}_new"),
        "index": sql.Identifier(f"{partition.name}_i"),
        "new_index": sql.Identifier(f"{partition.name}_new_i"),
    }
