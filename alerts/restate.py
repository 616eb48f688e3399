"""The living message shown anew between two ticks: somebody acted on its alerts, or what it suppresses changed.

Nothing that counts for repeats or for what was told changes. Messages that cannot be edited stay as they are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from alerts import bulk, compose, flaps, policy
from alerts.engine.message import Message
from alerts.engine.message_words import moment
from alerts.engine.routing import Route
from alerts.engine.silences import SilenceIndex
from alerts.models import Alert, Group, GroupAlert, Integration, Mark, Notification, NotifyLog
from alerts.transmit import RESTATED

_KIND = Notification.Kind
_TOLD_KINDS = (_KIND.POST, _KIND.UPDATE)
# Why of an edit that only shows how much a parent suppresses now.
SUPPRESSING = "suppressing"
_SUPPRESSED, _MARKED = "suppressed:", "Marked as "


@transaction.atomic
def restate(alerts: Alert | Sequence[Alert], at: datetime, words: str) -> list[int]:
    """Ids of the edits queued because somebody acted on alerts: their living messages show it, their threads say it.

    A message that told their end is edited as well, since marks and notes come after it. Call it inside the
    transaction of the act.
    """
    acted = [alerts] if isinstance(alerts, Alert) else list(alerts)
    fingerprints = {alert.fingerprint for alert in acted}
    tree = policy.routing()
    rows = []
    for log in _living(acted):
        group = Group.objects.filter(key=log.group_key).first()
        if group is not None and not fingerprints.isdisjoint(log.firing):
            route = tree.route_of(group.route_id)
            rows.append(_shown_anew(log, group, route, at, words))
        elif not fingerprints.isdisjoint(log.resolved) and (old := last_message(log)) is not None:
            rows.append(_ended_anew(log, old, group, at, words))
    bulk.insert(rows)
    return [row.pk for row in rows]


def with_suppressed(
    log: NotifyLog, group: Group, route: Route, alerts: Iterable[Alert], at: datetime, suppressed: str,
    notes: Sequence[str],
) -> Notification | None:  # fmt: skip
    """An unsaved quiet edit of a parent's message, None when the message already says how much it suppresses."""
    old = last_message(log)
    said = next((note for note in old.notes if note.startswith(_SUPPRESSED)), "") if old else ""
    if old is None or said == suppressed:
        return None
    words = suppressed or "nothing is suppressed any more"
    return _edit(log, group, route, alerts, at, words, notes, why=SUPPRESSING)


def standing_notes(alerts: Collection[Alert], at: datetime) -> list[str]:
    """What a message says beside its alerts, however often it is edited: who silenced them, who finds them noise."""
    index = SilenceIndex(policy.silences(at), at)
    covering = {
        silence.id: (silence, window)
        for alert in alerts
        if not policy.is_resolved(alert, at)
        for silence, window in index.covering(alert.label_set)
    }
    silenced = [
        f"Silenced by {one.author or 'somebody'} until {moment(window.ends_at)}: {one.comment}"
        for one, window in covering.values()
    ]
    return [*silenced[:2], *marks(Mark.objects.filter(alert__in=alerts).select_related("user"))]


def marks(rows: Iterable[Mark]) -> list[str]:
    """Who found alerts useful and who noise, as one note; none without marks."""
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        names[row.verdict].add(str(row.user))
    said = [f"marked as {verdict} by {', '.join(sorted(names[verdict]))}" for verdict in sorted(names)]
    return ["; ".join(said).capitalize()] if said else []


def last_message(log: NotifyLog) -> Message | None:
    """The newest message that arrived about a group by a way out, None when it is forgotten."""
    rows = Notification.objects.filter(group_key=log.group_key, integration=log.integration_id, kind__in=_TOLD_KINDS)
    raw = rows.filter(state=Notification.State.SENT).order_by("-id").values_list("message", flat=True).first()
    return compose.load(raw) if raw else None


def _living(acted: Sequence[Alert]) -> Iterable[NotifyLog]:
    """What bots told of these alerts and can edit; alerts that ended have left their groups."""
    ids = [alert.pk for alert in acted]
    in_groups = GroupAlert.objects.filter(alert__in=ids).values("group__key")
    told = Notification.objects.filter(alerts__in=ids, kind__in=_TOLD_KINDS).values("group_key")
    logs = NotifyLog.objects.filter(
        Q(group_key__in=in_groups) | Q(group_key__in=told),
        integration__kind=Integration.Kind.SLACK, integration__is_enabled=True,
    )  # fmt: skip
    return logs.exclude(slack_ts="").select_related("integration__receiver").order_by("id")


def _shown_anew(log: NotifyLog, group: Group, route: Route, at: datetime, words: str) -> Notification:
    told = {*log.firing, *log.resolved}
    members = group.members.select_related("alert__threshold", "alert__rule", "alert__acknowledged_by")
    by_print = {member.alert.fingerprint: member.alert for member in members.order_by("alert_id")}
    alerts = [alert for fingerprint, alert in by_print.items() if fingerprint in told]
    return _edit(log, group, route, alerts, at, words, standing_notes(alerts, at), why=RESTATED)


def _ended_anew(log: NotifyLog, old: Message, group: Group | None, at: datetime, words: str) -> Notification:
    """The message of an end with what was done since; its alerts stay as they were told."""
    newest = Alert.objects.filter(fingerprint__in=[line.fingerprint for line in old.alerts])
    alerts = list(newest.order_by("fingerprint", "-id").distinct("fingerprint"))
    before = [note for note in old.notes if not note.startswith(_MARKED)]
    dedup_key = _dedup_key(log, words, at)
    content = compose.renoted(old, [*standing_notes(alerts, at), *before], dedup_key)
    return _row(log, group, content, at, words, RESTATED, dedup_key)


def _edit(
    log: NotifyLog, group: Group, route: Route, alerts: Iterable[Alert], at: datetime, words: str,
    notes: Sequence[str], why: str,
) -> Notification:  # fmt: skip
    told = {*log.firing, *log.resolved}
    dedup_key = _dedup_key(log, words, at)
    content = compose.message(
        alerts, group=group, receiver=route.receiver, at=at, route=route.title, outbox_id=dedup_key, told=told,
        notes=notes, flapping=flaps.standing(told, at),
    )  # fmt: skip
    return _row(log, group, content, at, words, why, dedup_key)


def _row(
    log: NotifyLog, group: Group | None, content: Message, at: datetime, words: str, why: str, dedup_key: str
) -> Notification:
    return Notification(
        dedup_key=dedup_key, integration=log.integration, receiver_name=log.integration.receiver.name, group=group,
        group_key=log.group_key, kind=_KIND.UPDATE, status=content.status, severity=content.severity, why=why,
        reason=words, firing=log.firing, resolved=log.resolved, log_expires_at=log.expires_at,
        message=compose.dump(compose.dressed(content, log.integration)), channel_key=log.integration.channel_key,
        not_before=at, flushed_at=log.flushed_at, created_at=at,
    )  # fmt: skip


def _dedup_key(log: NotifyLog, words: str, at: datetime) -> str:
    text = f"{log.group_key}|{log.integration_id}|{words}|{at.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()
