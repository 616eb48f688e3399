"""Partitions by window: made without a lock that readers notice, dropped only when nobody can still need them.

Attaching takes a lock that goes along with reads and writes; CREATE TABLE … PARTITION OF would stop them all. Dropping
does need the table for itself: it waits a fifth of a second at most and is tried again at the next round, else every
new reader would queue behind one that waits for a slow query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, transaction
from psycopg2 import sql

from . import wire
from .records import DAY_WINDOWS

LOCK_TIMEOUT_MS = 200
_INDEXES = {
    "store_block": "source_id, layout_id, first_ms",
    "store_chunk": "source_id, key_id, win",
    "store_day": "source_id, key_id, win",
}
#: Windows in one partition: blocks are dropped soon, chunks and days by day.
SPANS = {"store_block": 1, "store_chunk": DAY_WINDOWS, "store_day": DAY_WINDOWS}
_NAME = re.compile(r"_w(\d+)$")


@dataclass(frozen=True)
class Partition:
    """One partition of a tier: windows low ≤ win < high."""

    table: str
    name: str
    low: int
    high: int


def partition_of(table: str, window: int) -> Partition:
    """Return the partition of ``table`` that holds a window, whether it exists or not."""
    span = SPANS[table]
    low = window // span * span
    return Partition(table, f"{table}_w{low}", low, low + span)


def existing(table: str) -> list[Partition]:
    """Return the partitions a tier has, oldest first."""
    rows = wire.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = %s::regclass",
        [table],
    )
    found = [match for (name,) in rows if (match := _NAME.search(name))]
    return sorted((partition_of(table, int(match[1])) for match in found), key=lambda each: each.low)


def ensure(table: str, *windows: int) -> int:
    """Make the partitions for some windows where they are missing; return how many were made.

    Expects a transaction that holds the house lock: two processes cannot make one table.
    """
    wanted = {partition_of(table, window) for window in windows}
    missing = wanted - set(existing(table)) if wanted else set()
    for partition in sorted(missing, key=lambda each: each.low):
        build(partition)
        attach(partition)
    return len(missing)


def build(partition: Partition) -> None:
    """Make the table of a partition without attaching it; one that is left from a broken run is kept."""
    _run(
        "create table if not exists {name} (like {table} including defaults including storage,"
        " check (win >= {low} and win < {high}))",
        partition,
    )


def attach(partition: Partition, fillfactor: int = 90) -> None:
    """Index the table of a partition and make it part of its tier, unless it is that already."""
    if partition in existing(partition.table):
        return
    index = "unique index" if partition.table != "store_block" else "index"
    columns = _INDEXES[partition.table]
    _run(f"create {index} if not exists {{index}} on {{name}} ({columns}) with (fillfactor = {fillfactor})", partition)
    _run("alter table {table} attach partition {name} for values from ({low}) to ({high})", partition)


def drop(partition: Partition) -> bool:
    """Drop a partition unless somebody is reading its tier right now; return whether it is gone."""
    try:
        with transaction.atomic():
            set_lock_timeout()
            _run("drop table if exists {name}", partition)
            wire.execute("delete from store_trim where name = %s", [partition.name])
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") != "55P03":  # lock_not_available
            raise
        return False
    return True


def set_lock_timeout() -> None:
    """Let the rest of the transaction wait for locks a fifth of a second at most."""
    wire.execute("select set_config('lock_timeout', %s, true)", [str(LOCK_TIMEOUT_MS)])


def name_sql(name: str) -> Any:
    """Return a table name as SQL."""
    return sql.Identifier(name)


def _run(template: str, partition: Partition) -> None:
    wire.execute_sql(
        sql.SQL(template).format(
            name=sql.Identifier(partition.name),
            table=sql.Identifier(partition.table),
            index=sql.Identifier(f"{partition.name}_i"),
            low=sql.Literal(partition.low),
            high=sql.Literal(partition.high),
        )
    )
