"""What the notification half throws away: empty groups, logs that no longer count, messages of long ago."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef

from alerts import records
from alerts.models import Alert, Event, Group, GroupAlert, Notification, NotifyLog

# Sent messages are the record of who was told what; a month of it answers the questions that people still ask.
MESSAGE_LIFE = timedelta(days=30)
# What happened to alerts and rules: a year, and last year's month beside this one.
EVENT_LIFE = timedelta(days=396)
_OVER = (Notification.State.SENT, Notification.State.SUPERSEDED, Notification.State.DISCARDED, Notification.State.KEPT)
# Rows a transaction: small enough that a flush never waits long for a lock.
_BATCH = 1000


def keep_house(at: datetime) -> Counter[str]:
    """Remove what nobody needs any more; returns how many of each. Meant to run every 30 s (AG-8)."""
    return Counter(
        groups=sweep_groups(),
        logs=expire_logs(at),
        messages=expire_messages(at),
        records=records.drop_before(at - records.KEPT),
        events=expire_events(at),
        alerts=expire_alerts(at),
    )


@transaction.atomic
def sweep_groups() -> int:
    """Remove groups without alerts, so that an alert that comes back waits its group_wait again (AG-8).

    Groups that are being flushed or joined at this moment are left for the next sweep.
    """
    members = GroupAlert.objects.filter(group=OuterRef("pk"))
    locked = Group.objects.select_for_update(skip_locked=True).filter(~Exists(members)).order_by("id")[:_BATCH]
    ids = [group.pk for group in locked]
    # Joining holds the row: whoever joined before the lock is visible only to a statement begun after it.
    empty = Group.objects.filter(~Exists(members), pk__in=ids)
    return empty.delete()[1].get("alerts.Group", 0)


def expire_logs(at: datetime) -> int:
    """Forget what was told so long ago that it is told anew (AD-11)."""
    ids = NotifyLog.objects.filter(expires_at__lte=at).values("pk")[:_BATCH]
    return NotifyLog.objects.filter(pk__in=ids, expires_at__lte=at).delete()[0]


def expire_messages(at: datetime) -> int:
    """Delete messages that are over and older than a month; dead letters stay until somebody decides."""
    ids = Notification.objects.filter(state__in=_OVER, created_at__lt=at - MESSAGE_LIFE).values("pk")[:_BATCH]
    return Notification.objects.filter(pk__in=ids).delete()[1].get("alerts.Notification", 0)


def expire_events(at: datetime) -> int:
    """Delete events older than 13 months."""
    ids = Event.objects.filter(at__lt=at - EVENT_LIFE).order_by("at").values("pk")[:_BATCH]
    return Event.objects.filter(pk__in=ids).delete()[0]


def expire_alerts(at: datetime) -> int:
    """Delete alerts that ended more than 13 months ago; what is still firing stays, however old."""
    past = at - EVENT_LIFE
    # The index knows when an alert fired; what ended before `past` fired before it, too.
    over = Alert.objects.filter(state=Alert.State.RESOLVED, fired_at__lt=past, resolved_at__lt=past)
    return Alert.objects.filter(pk__in=over.values("pk")[:_BATCH]).delete()[1].get("alerts.Alert", 0)
