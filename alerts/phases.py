"""Rule groups follow the sources they ask: their slots lie just after the scrapes, and wait a moment for late ones.

The offset of a group is a row (GroupClock), so all workers agree and a restart changes nothing. It is looked at anew
now and then, because targets come and go; the first look is as soon as there are samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from alerts.engine.phase import Beat, choose
from alerts.models import GroupClock, RuleGroup
from alerts.prepared import EVALUATED, RULES_SOURCE, slot_offset_seconds
from monitoring import promql, query, store
from monitoring.store import Rhythm

# A group is looked at again after this long; sooner when its first targets are young.
LOOK_AGAIN = timedelta(minutes=10)
LOOK_AGAIN_FIRST = timedelta(minutes=1)
# Groups looked at in one tick, some milliseconds each.
AT_ONCE = 10
# What a group remembers to wait for: among more than this some are always late.
MOST_AWAITED = 100
# A slot waits so long for samples that are late, at most this share of its interval.
MOST_WAIT = timedelta(seconds=1)
MOST_WAIT_SHARE = 0.2


def settle(at: datetime, limit: int = AT_ONCE) -> int:
    """Move the slots of groups to where their samples have just come in; returns how many groups were looked at.

    Samples on a server of their own (ALPHAQ_METRICS_URL) tell no rhythm: such groups keep the offset of their name.
    """
    if query.remote_backend() is not None:
        return 0
    is_due = Q(settle_at__isnull=True) | Q(settle_at__lte=at)
    clocks = GroupClock.objects.filter(is_due, group__is_enabled=True).select_related("group")
    groups = [clock.group for clock in clocks.order_by(F("settle_at").asc(nulls_first=True))[:limit]]
    for group in groups:
        _settle(group, at)
    return len(groups)


def _settle(group: RuleGroup, at: datetime) -> None:
    found = _rhythms(group, round(at.timestamp() * 1000))
    with transaction.atomic():
        clock = GroupClock.objects.select_for_update(skip_locked=True).filter(group=group).first()
        if clock is None:
            return  # it is being evaluated: next tick
        is_first = clock.offset_seconds is None
        interval_ms = max(round(group.interval_seconds * 1000), 1)
        offset_ms = round(slot_offset_seconds(group, clock) * 1000)
        phase = choose(interval_ms, offset_ms, [Beat(one.period_ms, one.phase_ms) for one in found])
        if phase.wait_ms is None:
            wait_seconds = min(max(2 * group.interval_seconds, 2.0), 60.0)
            clock.settle_at = at + timedelta(seconds=wait_seconds)
        else:
            clock.settle_at = at + (LOOK_AGAIN_FIRST if is_first else LOOK_AGAIN)
            clock.offset_seconds = phase.offset_ms / 1000
            clock.next_slot_at = _nearest(clock.next_slot_at, phase.offset_ms - offset_ms, interval_ms)
        awaited = [found[place] for place in phase.awaited[:MOST_AWAITED]]
        clock.awaited = [[one.source_id, one.period_ms, one.phase_ms] for one in awaited]
        clock.save(update_fields=["offset_seconds", "awaited", "settle_at", "next_slot_at"])


def _rhythms(group: RuleGroup, at_ms: int) -> list[Rhythm]:
    """The rhythms of what the rules of a group ask for; none while one of them cannot be asked."""
    exprs = group.rules.filter(life__in=EVALUATED).values_list("expr", flat=True)
    try:
        asked = [selector.matchers for expr in exprs for selector in promql.parse(expr).selectors()]
        return store.rhythms(asked, at_ms, leave_out=RULES_SOURCE)
    except promql.QueryError:
        return []


def _nearest(slot: datetime, moved_ms: int, interval_ms: int) -> datetime:
    """The slot of the moved grid nearest to one of the old grid: the step in between is half to one and a half."""
    half = interval_ms // 2
    return slot + timedelta(milliseconds=(moved_ms + half) % interval_ms - half)


def waiting(clocks: Iterable[GroupClock], at: datetime) -> set[int]:
    """Ids of those groups whose slot has come and should wait a moment: a source that they need is about to write.

    The clocks are to have their groups read.
    """
    expected, owners = [], []
    for clock in clocks:
        patience = min(MOST_WAIT, timedelta(seconds=MOST_WAIT_SHARE * clock.group.interval_seconds))
        if at - clock.next_slot_at < patience:
            slot_ms = round(clock.next_slot_at.timestamp() * 1000)
            expected += [(Rhythm(*one), slot_ms) for one in clock.awaited]
            owners += [clock.group_id] * len(clock.awaited)
    return {owners[place] for place in store.behind(expected)}
