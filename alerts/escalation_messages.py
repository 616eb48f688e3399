"""What a step of an escalation says and to whom: the ways out of its targets, and its rows in the outbox."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model

from alerts import compose, flaps, policy, rotas
from alerts.engine import escalation as engine
from alerts.engine import timing
from alerts.models import Alert, Escalation, Group, Integration, Notification, NotifyLog, Receiver, Rota, StepRun

_KIND = Notification.Kind
WHY = "escalation"
_LOG_LIFE = timedelta(seconds=timing.LOG_RETENTION_SECONDS)


def resolve(targets: Sequence[engine.Target], at: datetime) -> tuple[list[Integration], list[str], list[str]]:
    """The ways out of a step's targets, their names in words, and what keeps some of them from being told."""
    receivers: list[Receiver] = []
    names, problems = [], []
    for target in targets:
        receiver, name, problem = _receiver_of(target, at)
        if receiver is not None and not problem and not rotas.ways([receiver]):
            problem = f"{name} has no way out that is on"
        if problem:
            problems.append(problem)
        elif receiver is not None:
            receivers.append(receiver)
            names.append(name)
    return rotas.ways(receivers), names, problems


def _receiver_of(target: engine.Target, at: datetime) -> tuple[Receiver | None, str, str]:
    """The receiver behind a target, its name in words, and why it cannot be told."""
    if target.kind == "receiver":
        receiver = Receiver.objects.filter(name=target.name).first()
        return receiver, target.name, "" if receiver else f"there is no receiver {target.name}"
    username, name = target.name, target.name
    if target.kind == "rota":
        rota = Rota.objects.filter(name=target.name).first()
        shift = rotas.on_call(rota, at) if rota else None
        if shift is None:
            return None, name, f"nobody is on call in rota {name}" if rota else f"there is no rota {name}"
        username, name = shift.user, f"{shift.user} (on call in {target.name})"
    user = get_user_model().objects.filter(username=username, is_active=True).first()
    if user is None:
        return None, name, f"there is no active user {username}"
    return rotas.own_receiver(user), name, ""


def queue(
    row: Escalation, run: StepRun, way: Integration, alerts: Sequence[Alert], at: datetime, note: str, reason: str,
    *, is_end: bool = False,
) -> Notification:  # fmt: skip
    """One message of an escalation in the outbox; at an end a message that can be edited is."""
    group = row.group
    assert group is not None  # noqa: S101  (both callers have one)
    log = NotifyLog.objects.filter(group_key=row.group_key, integration=way).first()
    key = f"escalation|{row.pk}|{run.restart}|{'end' if is_end else run.number}|{way.pk}"
    dedup_key = hashlib.sha256(key.encode()).hexdigest()
    told = {alert.fingerprint for alert in alerts}
    content = compose.message(
        alerts, group=group, receiver=way.receiver.name, at=at, upstream_key=_upstream_key(group, alerts),
        route=f"escalation {row.policy_name}", outbox_id=dedup_key, notes=[note],
        flapping={} if is_end else flaps.standing(told, at),
    )  # fmt: skip
    # A way out that the group itself uses knows more than this message says; what it was told stays told.
    before = set(log.firing) if log else set()
    firing, resolved = (before - told, told) if is_end else (before | told, set(log.resolved) - told if log else set())
    is_edit = is_end and way.kind == Integration.Kind.SLACK and log is not None and bool(log.slack_ts)
    message = Notification.objects.create(
        dedup_key=dedup_key, integration=way, receiver_name=way.receiver.name, group=group, group_key=row.group_key,
        kind=_KIND.UPDATE if is_edit else _KIND.POST, status=content.status, severity=content.severity, why=WHY,
        reason=reason, firing=sorted(firing), resolved=sorted(resolved), log_expires_at=at + _LOG_LIFE,
        message=compose.dump(compose.dressed(content, way)), channel_key=way.channel_key, not_before=at,
        flushed_at=log.flushed_at if log else at, step_run=run, created_at=at,
    )  # fmt: skip
    message.alerts.set(alerts)
    return message


def _upstream_key(group: Group, alerts: Sequence[Alert]) -> str:
    for destination in policy.routing().tree.match(alerts[0].label_set):
        if destination.route_id == (group.route_id or policy.BUILT_IN_ROOT_ID):
            return destination.upstream_key
    return ""
