"""How alerts come to their end of which their rule says nothing any more: as a receiver of Prometheus sees it.

Prometheus says nothing when a rule goes (PR-8) or has more alerts than its limit (PA-12): pending alerts are forgotten,
firing ones end when the time runs out until which they were last said to fire (PN-3). Until then they stay as posted
alerts that nobody posts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
from django.conf import settings
from django.db.models import F

from alerts import dispatch
from alerts.models import Alert, Event, GroupClock, Rule, RuleGroup
from monitoring import store

_ACTIVE = (Alert.State.PENDING, Alert.State.FIRING)


def hold_clocks(group_ids: Iterable[int]) -> None:
    """Keep evaluations of these groups away until the commit, and make them read the alerts' rows afterwards."""
    held = [clock.pk for clock in GroupClock.objects.select_for_update().filter(group_id__in=group_ids).order_by("pk")]
    GroupClock.objects.filter(pk__in=held).update(state_version=F("state_version") + 1)


def let_run_out(rule: Rule, severity: str | None, at: datetime, why: str) -> int:
    """Let the alerts of a rule, or those of one severity of it, run out; returns how many were active."""
    active = Alert.objects.select_for_update(no_key=True).filter(rule=rule, state__in=_ACTIVE).order_by("id")
    rows = list(active if severity is None else active.filter(severity=severity))
    Alert.objects.filter(pk__in=[row.pk for row in rows if row.state == Alert.State.PENDING]).delete()
    firing = [row for row in rows if row.state == Alert.State.FIRING]
    if not firing:
        return len(rows)
    ends_at = _ends_at(rule.group, at)
    posted = Alert.objects.filter(source=Alert.Source.API, state__in=_ACTIVE)
    taken = set(
        posted.filter(fingerprint__in=[row.fingerprint for row in firing]).values_list("fingerprint", flat=True)
    )
    for row in firing:
        if row.fingerprint in taken or row.is_shadow or ends_at <= at:
            row.state, row.resolved_at, row.resolve_reason = Alert.State.RESOLVED, at, "rule_changed"
        else:
            taken.add(row.fingerprint)
            row.source, row.ends_at, row.is_timeout, row.rule = Alert.Source.API, ends_at, True, None
        row.updated_at = at
        row.save()
    words = f"{why} Nobody speaks for the alert any more: it ends at {ends_at:%H:%M:%S} UTC."
    Event.objects.bulk_create(
        Event(alert=row, rule=rule, at=at, kind=Event.Kind.CHANGED, reason=words) for row in firing
    )
    dispatch.route([row for row in firing if row.state == Alert.State.RESOLVED and not row.is_shadow], at)
    return len(rows)


def _ends_at(group: RuleGroup, at: datetime) -> datetime:
    """PN-3: four periods after the rule was last evaluated."""
    clock = GroupClock.objects.filter(group=group).first()
    last = clock.last_slot_at if clock is not None and clock.last_slot_at is not None else at
    return last + 4 * timedelta(seconds=max(group.interval_seconds, settings.ENV.resend_delay_seconds))


def close_series(group: RuleGroup, at: datetime) -> None:
    """End the series that a group wrote, which no evaluation of it will any more (PR-8)."""
    at_ms = round(at.timestamp() * 1000)
    store.append([store.Scrape(f"rules:{group.pk}", {}, at_ms, [], np.empty(0))], now_ms=at_ms)
