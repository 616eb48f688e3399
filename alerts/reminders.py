"""Acknowledgements that last: whoever has an alert is asked after a while, and one that nobody confirms is taken back.

As in Grafana OnCall (apps/alerts/tasks/acknowledge_reminder.py), but asked in the thread of the living message.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from alerts import actions, compose
from alerts.engine import message_slack
from alerts.engine.message_mrkdwn import words
from alerts.engine.message_words import span
from alerts.models import Alert, Event, GroupAlert, Integration, Notification, NotifyLog, SlackLink
from alerts.transmit import is_interactive

_AT_ONCE = 500


@transaction.atomic
def remind(at: datetime, every: timedelta) -> list[int]:
    """Ids of the questions queued for alerts that somebody has had for `every` and that still fire; 0 asks nobody.

    Asked again after each further `every`. Snoozed alerts wait.
    """
    if not every:
        return []
    since = Coalesce("acknowledge_reminded_at", "acknowledge_confirmed_at", "acknowledged_at")
    is_quiet = Q(snoozed_until__gt=at)
    due = _held().annotate(since=since).filter(~is_quiet, since__lte=at - every)
    alerts = list(due.select_for_update(of=("self",), skip_locked=True, no_key=True).order_by("id")[:_AT_ONCE])
    if not alerts:
        return []
    Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(acknowledge_reminded_at=at)
    for alert in alerts:
        said = f"Acknowledged for {span(_held_seconds(alert, at))}: still on it?"
        Event.objects.create(alert=alert, rule_id=alert.rule_id, at=at, kind=Event.Kind.REMINDED, reason=said)
    return _ask(alerts, at)


def take_back(at: datetime, after: timedelta) -> list[Alert]:
    """The alerts whose acknowledgement nobody has confirmed for `after`: nobody has them any more; 0 takes none."""
    if not after:
        return []
    since = Coalesce("acknowledge_confirmed_at", "acknowledged_at")
    due = _held().annotate(since=since).filter(since__lte=at - after).values_list("pk", flat=True)[:_AT_ONCE]
    ids = list(due)
    said = f"Nobody has said for {span(after.total_seconds())} that they are on it: nobody has it now."
    return actions.take_back_forgotten(ids, at, said) if ids else []


def _held() -> QuerySet[Alert]:
    rows = Alert.objects.filter(state=Alert.State.FIRING, acknowledged_at__isnull=False, is_shadow=False)
    return rows.select_related("acknowledged_by")


def _held_seconds(alert: Alert, at: datetime) -> float:
    since = alert.acknowledge_confirmed_at or alert.acknowledged_at or at
    return (at - since).total_seconds()


def _ask(alerts: Sequence[Alert], at: datetime) -> list[int]:
    """One line in the thread of each living message that tells of any of these alerts."""
    by_fingerprint = {alert.fingerprint: alert for alert in alerts}
    keys = GroupAlert.objects.filter(alert__in=alerts).values("group__key")
    logs = NotifyLog.objects.filter(
        group_key__in=keys, integration__kind=Integration.Kind.SLACK, integration__is_enabled=True
    ).exclude(slack_ts="")
    rows = []
    for log in logs.select_related("integration__receiver", "integration__slack_app").order_by("id"):
        told = [by_fingerprint[one] for one in log.firing if one in by_fingerprint]
        if told:
            rows.append(_line(log, told, at))
    return [row.pk for row in Notification.objects.bulk_create(rows, ignore_conflicts=True)]


def _line(log: NotifyLog, alerts: Sequence[Alert], at: datetime) -> Notification:
    way = log.integration
    dedup_key = hashlib.sha256(f"{log.group_key}|{way.pk}|remind|{at.isoformat()}".encode()).hexdigest()
    text = _question(alerts, at)
    is_asked = is_interactive(way)
    payload = message_slack.slack_reminder(text, compose.action_id(dedup_key)) if is_asked else {"text": text}
    return Notification(
        dedup_key=dedup_key, integration=way, receiver_name=way.receiver.name, group_key=log.group_key,
        group=alerts[0].groups.filter(key=log.group_key).first(), kind=Notification.Kind.THREAD, status="firing",
        severity=log.severity, why="reminder", reason="a reminder of the acknowledgement",
        firing=[alert.fingerprint for alert in alerts], message={"payload": payload, "broadcast": False},
        channel_key=way.channel_key, not_before=at, flushed_at=log.flushed_at, created_at=at,
        slack_channel=log.slack_channel, slack_ts=log.slack_ts,
    )  # fmt: skip


def _question(alerts: Sequence[Alert], at: datetime) -> str:
    """Who has had it for how long, paging only those who are linked."""
    holders: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        holders[_mention(alert)].append(alert)
    lines = []
    for who, own in holders.items():
        what, still = ("it", "it still fires") if len(own) == 1 else (f"{len(own)} alerts", "they still fire")
        lines.append(f"{who} has had {what} for {span(max(_held_seconds(one, at) for one in own))}, and {still}.")
    return "\n".join([*lines, "Still on it?"])


def _mention(alert: Alert) -> str:
    if alert.acknowledged_by is None:
        return "Somebody"
    link = SlackLink.objects.filter(user=alert.acknowledged_by).order_by("-linked_at").first()
    is_id = link is not None and link.slack_user_id.isalnum()
    return f"<@{link.slack_user_id}>" if link and is_id else words(str(alert.acknowledged_by), 100)
