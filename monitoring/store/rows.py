"""The write path: scrapes of any number of sources in one COPY and one transaction.

Hides layouts: a slot of a source's row stays with its series as long as the layout lives, new series extend it, and
at the turn of a window a layout that has become mostly empty is replaced by what is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from django.conf import settings
from django.db import IntegrityError, transaction
from numpy.typing import NDArray

from .. import metrics
from ..promql.values import Floats
from . import refusals, wire
from .catalog import CATALOG, Ids, Learnt, Seat, SourceKey, lock_for_append
from .overlap import merge_row, times_in_blocks
from .pivot import SETTLE_MS
from .records import ABSENT, PIVOT_MS, STALE, WINDOW_MS, Receipt, Scrape

#: Accepted clock difference of a source that is ahead; beyond it a sample would hide what comes later.
FUTURE_MS = 600_000
MAX_SERIES_PER_SOURCE = 100_000
#: A layout is renewed at the turn of a window when more than this share of its slots was empty.
RENEW_SHARE = 0.2
#: `last_ms` of a layout in use is written this often; whoever reads it allows for as much.
NOTE_MS = 1_800_000

ROW = wire.Fields("iqi", 1)
ROW_COLUMNS = "(source_id, at_ms, layout_id, v)"


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """One scrape on its way into a row: the layout it needs and where its values go."""

    scrape: Scrape
    source: SourceKey
    seat: Seat
    layout_hash: bytes
    values: Floats


def append(scrapes: Sequence[Scrape], *, now_ms: int) -> Receipt:
    """Store scrapes durably (in the caller's transaction if there is one) and say what was dropped and why.

    One scrape that cannot be stored costs only itself. Database errors are raised as Django raises them; then nothing
    of the call is stored.
    """
    receipt = Receipt()
    with transaction.atomic():
        floor_ms, generation = lock_for_append()
        CATALOG.sync(generation)
        learnt = Learnt(CATALOG, generation)
        accepted = _accept(scrapes, floor_ms, now_ms, receipt)
        learnt.find_sources(source for _, source in accepted)
        accepted = _without_turned(accepted, learnt, now_ms, receipt)
        learnt.find_keys(_new_texts(accepted, learnt))
        _write(_plan_all(accepted, learnt, receipt), learnt, receipt)
        if learnt.has_news:
            transaction.on_commit(lambda: CATALOG.publish(learnt))
        transaction.on_commit(lambda: _count(receipt, now_ms), robust=True)
    return receipt


def _count(receipt: Receipt, now_ms: int) -> None:
    """Count what has been committed, and keep what was refused for the page that shows it."""
    metrics.STORED.inc(receipt.samples)
    for reason, samples in receipt.dropped.items():
        metrics.REFUSED_SAMPLES.labels(reason).inc(samples)
    if receipt.refused:
        refusals.note(receipt, now_ms)


def _accept(scrapes: Sequence[Scrape], floor_ms: int, now_ms: int, receipt: Receipt) -> list[tuple[Scrape, SourceKey]]:
    """Refuse what no layout can help: wrong shapes, times out of bounds, the same time twice."""
    accepted, seen = [], set()
    for scrape in scrapes:
        labels = tuple(sorted((key, value) for key, value in scrape.labels.items() if value))
        source = scrape.source, labels, scrape.is_partial
        problem = _problem(scrape, floor_ms, now_ms)
        if problem is None and (source, scrape.at_ms) in seen:
            problem = "duplicate_time", f"two scrapes at {scrape.at_ms} in one call"
        if problem:
            receipt.drop(problem[0], len(scrape.keys), scrape.source, problem[1])
            continue
        seen.add((source, scrape.at_ms))
        accepted.append((scrape, source))
    return accepted


def _problem(scrape: Scrape, floor_ms: int, now_ms: int) -> tuple[str, str] | None:
    if len(scrape.keys) != len(scrape.values):
        return "malformed", f"{len(scrape.keys)} series and {len(scrape.values)} values"
    if scrape.at_ms > now_ms + FUTURE_MS:
        ahead = (scrape.at_ms - now_ms) // 1000
        return "too_new", f"time is {ahead} s ahead of the portal's clock; {FUTURE_MS // 1000} s are allowed"
    if scrape.at_ms < floor_ms:
        return "too_old", f"time is {(floor_ms - scrape.at_ms) // 1000} s before what has been compacted"
    limit = getattr(settings, "STORE_MAX_SERIES_PER_SOURCE", MAX_SERIES_PER_SOURCE)
    if len(scrape.keys) > limit:
        return "series_limit", f"{len(scrape.keys):,} series; {limit:,} a source are allowed"
    return None


def _without_turned(
    accepted: list[tuple[Scrape, SourceKey]], learnt: Learnt, now_ms: int, receipt: Receipt
) -> list[tuple[Scrape, SourceKey]]:
    """Leave out scrapes whose time is in a block already: only late ones can be. Partial ones add up on reading."""
    turned_ms = (now_ms - SETTLE_MS) // PIVOT_MS * PIVOT_MS
    late = {
        (learnt.seat(source).source_id, scrape.at_ms)
        for scrape, source in accepted
        if scrape.at_ms < turned_ms and not scrape.is_partial
    }
    stored = times_in_blocks(late)
    if not stored:
        return accepted
    kept = []
    for scrape, source in accepted:
        if (learnt.seat(source).source_id, scrape.at_ms) in stored and not scrape.is_partial:
            receipt.drop("duplicate_time", len(scrape.keys), scrape.source, _stored_already(scrape))
        else:
            kept.append((scrape, source))
    return kept


def _stored_already(scrape: Scrape) -> str:
    return f"time {scrape.at_ms} is stored already"


def _new_texts(accepted: list[tuple[Scrape, SourceKey]], learnt: Learnt) -> list[str]:
    known = learnt.catalog.keys
    return [
        key
        for scrape, source in accepted
        if learnt.seat(source).keys != tuple(scrape.keys)
        for key in scrape.keys
        if key not in known
    ]


def _plan_all(accepted: list[tuple[Scrape, SourceKey]], learnt: Learnt, receipt: Receipt) -> list[_Plan]:
    plans = []
    for scrape, source in sorted(accepted, key=lambda pair: pair[0].at_ms):
        seat = learnt.seat(source)
        plan = _plan(scrape, source, learnt, receipt)
        if plan:
            if plan.seat is not seat:
                learnt.seats[source] = plan.seat
            plans.append(plan)
    return plans


def _plan(scrape: Scrape, source: SourceKey, learnt: Learnt, receipt: Receipt) -> _Plan | None:
    """Find or make the layout of one scrape."""
    seat = learnt.seat(source)
    values = np.ascontiguousarray(scrape.values, np.float64)
    window = scrape.at_ms // WINDOW_MS
    turned = seat.window not in (-1, window) and not scrape.is_partial and seat.present is not None
    # A copy: callers may go on writing into their list, and an unchanged scrape is told by comparing texts.
    keys = tuple(scrape.keys)
    if seat.keys is not None and seat.window == window and seat.keys == keys:
        return _Plan(scrape, source, seat, b"", values)
    ids, kept = _readable(scrape, learnt, receipt)
    values = values if kept is None else values[kept]
    layout = _renewed(seat, ids) if turned else seat.ids
    slots, layout = _slots(layout, ids)
    limit = getattr(settings, "STORE_MAX_SERIES_PER_SOURCE", MAX_SERIES_PER_SOURCE)
    if len(layout) > limit:
        slots, layout = _slots(_renewed(seat, ids, share=0.0), ids)
    if len(layout) > limit:
        receipt.drop("series_limit", len(ids), scrape.source, f"more than {limit:,} series at a time")
        return None
    present = np.zeros(len(layout), bool)
    present[slots] = True
    is_same = len(layout) == len(seat.ids) and (layout is seat.ids or bool((layout == seat.ids).all()))
    is_plain = len(slots) == len(layout) and bool((slots == np.arange(len(slots))).all())
    seat = replace(
        seat, layout_id=seat.layout_id if is_same else 0, ids=layout, window=window, present=present,
        keys=keys if kept is None else None, slots=None if is_plain else slots,
    )  # fmt: skip
    found = b"" if seat.layout_id else hashlib.blake2b(layout.tobytes(), digest_size=16).digest()
    return _Plan(scrape, source, seat, found, values)


def _readable(scrape: Scrape, learnt: Learnt, receipt: Receipt) -> tuple[Ids, NDArray[np.intp] | None]:
    """Return the key ids of a scrape without unreadable and repeated series, and which samples are kept (None: all)."""
    ids = learnt.key_ids(scrape.keys)
    kept = None
    if not ids.all():
        bad = np.flatnonzero(ids == 0)
        receipt.drop("bad_series", len(bad), scrape.source, learnt.bad[scrape.keys[bad[0]]])
        kept = np.flatnonzero(ids)
        ids = ids[kept]
    first = np.unique(ids, return_index=True)[1]
    if len(first) != len(ids):
        receipt.drop("duplicate_series", len(ids) - len(first), scrape.source, "the same series twice in one scrape")
        first = np.sort(first)
        kept, ids = (first if kept is None else kept[first]), ids[first]
    return ids, kept


def _renewed(seat: Seat, ids: Ids, share: float = RENEW_SHARE) -> Ids:
    """Return the layout without slots that were empty last time and are empty now, if they are many.

    A slot that had a value last time stays once more: its stale marker is still to be written.
    """
    present = seat.present if seat.present is not None else np.ones(len(seat.ids), bool)
    kept = seat.ids[present | np.isin(seat.ids, ids)]
    return kept if len(kept) < (1 - share) * len(seat.ids) else seat.ids


def _slots(layout: Ids, ids: Ids) -> tuple[NDArray[np.intp], Ids]:
    """Return the slot of each id and the layout, extended by ids it did not have."""
    if len(layout) == len(ids) and (layout == ids).all():
        return np.arange(len(ids)), layout
    order = np.argsort(layout, kind="stable")
    if len(layout):
        place = order[np.minimum(np.searchsorted(layout, ids, sorter=order), len(layout) - 1)]
        missing = layout[place] != ids
    else:
        place, missing = np.zeros(len(ids), np.intp), np.ones(len(ids), bool)
    place[missing] = len(layout) + np.arange(int(missing.sum()))
    return place, np.concatenate([layout, ids[missing]]) if missing.any() else layout


def _write(plans: list[_Plan], learnt: Learnt, receipt: Receipt) -> None:
    layouts = {plan.layout_hash: plan.seat.ids for plan in plans if plan.layout_hash}
    ids = learnt.layout_ids(layouts) if layouts else {}
    rows: dict[tuple[int, int], bytes] = {}
    used: dict[tuple[int, int], tuple[int, int]] = {}
    latest: dict[SourceKey, Seat] = {}
    for plan in plans:
        before = latest.get(plan.source, plan.seat)
        layout_id = ids[plan.layout_hash] if plan.layout_hash else plan.seat.layout_id or before.layout_id
        at_ms, source_id, noted_ms = plan.scrape.at_ms, plan.seat.source_id, before.noted_ms
        if plan.layout_hash or not noted_ms - WINDOW_MS < at_ms < noted_ms + NOTE_MS:
            first, last = used.get((source_id, layout_id), (at_ms, at_ms))
            used[source_id, layout_id] = min(first, at_ms), max(last, at_ms)
            noted_ms = at_ms
        if plan.seat.layout_id != layout_id or plan.seat.noted_ms != noted_ms:
            latest[plan.source] = replace(plan.seat, layout_id=layout_id, noted_ms=noted_ms)
        rows[source_id, at_ms] = ROW.pack((source_id, at_ms, layout_id), _value_bytes(plan))
        receipt.samples += len(plan.values)
    learnt.seats.update(latest)
    if used:
        note_layouts(used)
    if rows:
        _copy([rows[key] for key in sorted(rows)], plans, learnt, receipt)


def _value_bytes(plan: _Plan) -> bytes:
    """Return float64 a slot; nothing at all for a row without a value (a source that is down)."""
    width = len(plan.seat.ids)
    if not len(plan.values):
        return b"" if not plan.scrape.is_partial else np.full(width, ABSENT).tobytes()
    if plan.seat.slots is None:
        return plan.values.tobytes()
    row = np.full(width, ABSENT if plan.scrape.is_partial else STALE)
    row[plan.seat.slots] = plan.values
    return row.tobytes()


def note_layouts(used: dict[tuple[int, int], tuple[int, int]]) -> None:
    """Say that sources have used layouts: (source, layout) to first and last time, ms."""
    rows = sorted((source, layout, first, last) for (source, layout), (first, last) in used.items())
    wire.execute(
        "insert into store_source_layout (source_id, layout_id, first_ms, last_ms)"
        " select * from unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[])"
        " on conflict (source_id, layout_id) do update set"
        " first_ms = least(store_source_layout.first_ms, excluded.first_ms),"
        " last_ms = greatest(store_source_layout.last_ms, excluded.last_ms)",
        [list(column) for column in zip(*rows, strict=True)],
    )


def _copy(rows: list[bytes], plans: list[_Plan], learnt: Learnt, receipt: Receipt) -> None:
    """COPY all rows; when one of them is already there, insert those that are not and merge partial ones."""
    try:
        with transaction.atomic():
            wire.copy_in(f"store_row {ROW_COLUMNS}", rows)
    except IntegrityError:
        wire.execute(
            "create temp table if not exists store_staging"
            " (source_id int, at_ms bigint, layout_id int, v bytea) on commit delete rows; truncate store_staging"
        )
        wire.copy_in(f"store_staging {ROW_COLUMNS}", rows)
        stored = wire.execute(
            "insert into store_row (source_id, at_ms, layout_id, v)"
            " select source_id, at_ms, layout_id, v from store_staging"
            " on conflict do nothing returning source_id, at_ms"
        )
        there = set(stored)
        for plan in plans:
            if (plan.seat.source_id, plan.scrape.at_ms) not in there:
                count = len(plan.values) - (_merge(plan, learnt) if plan.scrape.is_partial else 0)
                receipt.samples -= count
                if count:
                    receipt.drop("duplicate_time", count, plan.scrape.source, _stored_already(plan.scrape))


def _merge(plan: _Plan, learnt: Learnt) -> int:
    """Add the samples of a partial scrape to the row of its time; return how many were new."""
    seat, at_ms = plan.seat, plan.scrape.at_ms
    ids = seat.ids if seat.slots is None else seat.ids[seat.slots]
    layout_id, added = merge_row(learnt, seat.source_id, at_ms, ids, plan.values)
    if added:
        note_layouts({(seat.source_id, layout_id): (at_ms, at_ms)})
    return added
