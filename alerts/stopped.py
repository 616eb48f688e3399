"""Rule groups that nobody evaluates any more: their alerts are stale, and by a setting ended or announced (PN-8).

Prometheus' receivers end what nobody repeats for four periods (PN-3). Here the rows would fire for ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, QuerySet, Value
from django.db.models.functions import Greatest

from alerts import actions, amingest
from alerts.models import Alert, Rule, RuleGroup

#: Four times the interval, of at least the minute after which Prometheus repeats an alert.
PERIODS, LEAST_SECONDS = 4, 60.0
SHOW, RESOLVE, ANNOUNCE = "show", "resolve", "announce"
ANNOUNCED = "EvaluationStopped"
# An announcement ends by itself when it is not repeated: it is, every time the house is kept (30 s).
ANNOUNCED_FOR = timedelta(minutes=2)
_ACTIVE = (Alert.State.PENDING, Alert.State.FIRING)


def stale_since(alert: Alert, at: datetime) -> datetime | None:
    """Return when the rule of an active alert was last evaluated if that is too long ago, else None."""
    if alert.rule is None or alert.state not in _ACTIVE:
        return None
    group = alert.rule.group
    clock = getattr(group, "clock", None)
    if clock is None or clock.last_slot_at is None:
        return None
    patience = timedelta(seconds=PERIODS * max(group.interval_seconds, LEAST_SECONDS))
    return clock.last_slot_at if at - clock.last_slot_at >= patience else None


def is_stopped(at: datetime, group: str = "") -> Q:
    """Return the condition that a group was last evaluated too long ago; `group` leads to it, as "rule__group__"."""
    interval = ExpressionWrapper(
        Greatest(F(f"{group}interval_seconds"), Value(LEAST_SECONDS)) * Value(timedelta(seconds=PERIODS)),
        output_field=DurationField(),
    )
    oldest = ExpressionWrapper(Value(at, DateTimeField()) - interval, output_field=DateTimeField())
    return Q(**{f"{group}clock__last_slot_at__lte": oldest})


def stopped_groups(at: datetime) -> QuerySet[RuleGroup]:
    """Return the groups with active alerts that nobody evaluates any more."""
    active = Alert.objects.filter(state__in=_ACTIVE, rule__isnull=False).values("rule__group_id")
    return RuleGroup.objects.filter(is_stopped(at), pk__in=active).select_related("clock")


def care_for(at: datetime) -> int:
    """Do with the alerts of stopped groups what ALPHAQ_EVALUATION_STOPPED says; returns how many groups there are."""
    groups = list(stopped_groups(at)) if settings.ENV.evaluation_stopped != SHOW else []
    for group in groups:
        if settings.ENV.evaluation_stopped == RESOLVE:
            for rule in Rule.objects.filter(group=group, alerts__state__in=_ACTIVE).distinct():
                actions.end_stale_alerts(rule, at, words(group.clock.last_slot_at))
        else:
            amingest.ingest([_announcement(group, at)], at)
    return len(groups)


def words(last: datetime | None) -> str:
    """Return what is wrong, as a sentence."""
    return f"Evaluation stopped: the rule was last evaluated at {last:%Y-%m-%d %H:%M:%S} UTC, so this may be over."


def _announcement(group: RuleGroup, at: datetime) -> dict[str, object]:
    last = group.clock.last_slot_at
    assert last is not None  # noqa: S101  (the caller asked for groups whose last slot is long ago)
    return {
        "labels": {"alertname": ANNOUNCED, "rule_group": group.name, "severity": "critical"},
        "annotations": {
            "summary": f"Rule group {group.name} is not evaluated any more",
            "description": f"Last evaluated at {last:%Y-%m-%d %H:%M:%S} UTC; its alerts may be over or missing.",
        },
        "startsAt": last.isoformat(),
        "endsAt": (at + ANNOUNCED_FOR).isoformat(),
    }
