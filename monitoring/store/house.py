"""Keeping house: everything that turns fresh rows into small, old samples and removes what is no longer wanted.

Every step is a transaction of its own under one advisory lock: safe to kill, safe to run twice, safe to run anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.db import transaction

from ..models import Retention
from ..promql import QueryError, parse_matchers
from . import partitions, refusals, wire
from .compact import Compacted, compact
from .halves import join_halves
from .merge import GRACE_MS, Merged, merge
from .pivot import pivot
from .records import DAY_WINDOWS, WINDOW_MS
from .retention import (
    DAY_MS,
    Dropped,
    Purged,
    forget_restored_ids,
    plan_block_drops,
    purge_keys,
    retain,
    run_planned_drops,
)
from .trim import Keep, longest_days, trim

log = structlog.get_logger(__name__)
#: Source windows compacted, and sources of a day merged, in one call: some seconds of work.
MAX_SOURCE_WINDOWS = 300


@dataclass(frozen=True)
class HouseReport:
    """What one round of housekeeping did; `is_done` is False when there is more to do or another process does it."""

    pivoted_rows: int = 0
    compacted: Compacted = field(default_factory=Compacted)
    merged: Merged = field(default_factory=Merged)
    dropped: Dropped = field(default_factory=Dropped)
    planned_drops: int = 0
    trimmed_days: int = 0
    purged: Purged = field(default_factory=Purged)

    @property
    def is_done(self) -> bool:
        """Whether nothing was left to do."""
        return all(part.is_done for part in (self.compacted, self.merged, self.dropped, self.purged))


def keep_house(now_ms: int, max_source_windows: int = MAX_SOURCE_WINDOWS) -> HouseReport:
    """Do what is due, in bounded steps; call it every half minute or so, from any process."""
    if settings.ENV.metrics_url:
        return _keep_queue(now_ms)
    ensure_partitions(now_ms)
    forget_restored_ids()
    pivoted = pivot(now_ms)
    join_halves(now_ms)
    compacted = compact(now_ms, max_source_windows)
    plan_block_drops(now_ms, GRACE_MS)
    merged = merge(now_ms, max_source_windows)
    planned = run_planned_drops(now_ms)
    rules = retention_rules()
    days = longest_days(settings.ENV.retention_days, rules)
    dropped = retain(now_ms, days, getattr(settings, "STORE_MAX_BYTES", None))
    trimmed = trim(now_ms, settings.ENV.retention_days, rules)
    purged = purge_keys(now_ms - days * DAY_MS) if dropped.partitions else Purged()
    refusals.forget(now_ms)
    return HouseReport(pivoted + compacted.rows, compacted, merged, dropped, planned, trimmed, purged)


def _keep_queue(now_ms: int) -> HouseReport:
    """With another server for the samples, rows are a queue: what was stored before only gets old."""
    forget_restored_ids()
    refusals.forget(now_ms)
    planned = run_planned_drops(now_ms)
    days = settings.ENV.retention_days
    return HouseReport(dropped=retain(now_ms, days), planned_drops=planned, purged=purge_keys(now_ms - days * DAY_MS))


def retention_rules() -> list[Keep]:
    """Return the rules that staff have set; one that cannot be read (edited by hand) is left out and logged."""
    rules = []
    for row in Retention.objects.all():
        try:
            rules.append(Keep(parse_matchers(row.selector), row.days))
        except QueryError as error:
            log.error("store.retention_unreadable", selector=row.selector, error=str(error))
    return rules


def ensure_partitions(now_ms: int) -> int:
    """Make the partitions of the next hours and of tomorrow; return how many were made."""
    window = now_ms // WINDOW_MS
    with transaction.atomic():
        if not wire.try_house_lock():
            return 0
        return partitions.ensure("store_block", *range(window, window + 3)) + partitions.ensure(
            "store_chunk", window, window + DAY_WINDOWS
        )
