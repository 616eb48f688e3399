"""Makers of rows for tests: each gives a valid row with as little as the test has to say."""

from __future__ import annotations

import importlib
import itertools
from datetime import UTC, date, datetime
from typing import Any

from django.apps import apps

from alerts import deliver
from alerts.channels.base import Receipt
from alerts.engine.fingerprint import fingerprint
from alerts.models import (
    Alert,
    EscalationPolicy,
    EscalationStep,
    Integration,
    Notification,
    Receiver,
    Rota,
    RotaMember,
    Route,
    Rule,
    RuleGroup,
    Silence,
    SlackApp,
    Threshold,
)
from alerts.transmit import Outcome
from monitoring.promql import Labels

# A Wednesday; tests that need another moment add to it.
T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def rule_group(**fields: Any) -> RuleGroup:
    """A rule group with a name of its own."""
    return RuleGroup.objects.create(**({"name": f"group {next(_numbers)}"} | fields))


def rule(name: str = "HostCPUHigh", expr: str = "cpu_usage_percent", **fields: Any) -> Rule:
    """An alerting rule in a group of its own unless `group` is given."""
    group = fields.pop("group", None) or rule_group()
    return Rule.objects.create(group=group, name=name, expr=expr, **fields)


def threshold(of: Rule, value: float = 90.0, severity: str = "warning", **fields: Any) -> Threshold:
    """A limit of a rule."""
    return Threshold.objects.create(rule=of, value=value, severity=severity, **fields)


def alert(name: str = "HostCPUHigh", at: datetime = T0, **fields: Any) -> Alert:
    """A firing alert of no rule that began at `at`.

    labels: added to alertname and severity; source="api" makes it a posted one.
    """
    labels = {"alertname": name, **fields.pop("labels", {})}
    if fields.get("severity"):
        labels["severity"] = fields["severity"]
    given = {
        "name": name, "labels": labels, "fingerprint": fingerprint(Labels.of(labels)), "state": Alert.State.FIRING,
        "active_since": at, "fired_at": at, "updated_at": at, "severity": labels.get("severity", ""),
    }  # fmt: skip
    return Alert.objects.create(**(given | fields))


def resolve(row: Alert, at: datetime) -> Alert:
    """The alert, ended at `at`."""
    row.state, row.resolved_at, row.updated_at = Alert.State.RESOLVED, at, at
    row.save(update_fields=["state", "resolved_at", "updated_at"])
    return row


def receiver(name: str = "ml-team") -> Receiver:
    """A receiver without ways out."""
    return Receiver.objects.get_or_create(name=name)[0]


def slack_app(**fields: Any) -> SlackApp:
    """A Slack app with a token."""
    return SlackApp.objects.get_or_create(name="Slack", defaults={"bot_token": "xoxb-test"} | fields)[0]


def integration(of: Receiver | None = None, kind: str = Integration.Kind.SLACK, **fields: Any) -> Integration:
    """A way out of a receiver: Slack's #alerts by bot token unless said otherwise."""
    if kind == Integration.Kind.SLACK:
        fields = {"slack_app": fields.pop("slack_app", None) or slack_app(), "target": "#alerts"} | fields
    return Integration.objects.create(receiver=of or receiver(), kind=kind, **fields)


def route(parent: Route | None = None, **fields: Any) -> Route:
    """A route: the root without `parent`, told to the receiver ml-team, grouped by alertname, 30 s / 5 min / 4 h."""
    if parent is None:
        fields = {
            "receiver": fields.pop("receiver", None) or receiver(), "group_by": ["alertname"],
            "group_wait_seconds": 30, "group_interval_seconds": 300, "repeat_interval_seconds": 14_400,
        } | fields  # fmt: skip
    return Route.objects.create(parent=parent, **fields)


def policy(name: str = "p1", *steps: tuple[float, Any], **fields: Any) -> EscalationPolicy:
    """A policy that takes every alert that `matchers` hold for; a step is its wait and a receiver, user or rota."""
    row = EscalationPolicy.objects.create(**({"name": name, "takes_matching": True} | fields))
    for position, (wait, target) in enumerate(steps):
        kind = {Receiver: "receiver", Rota: "rota"}.get(type(target), "user")
        EscalationStep.objects.create(policy=row, position=position, wait_seconds=wait, **{kind: target})
    return row


def rota(name: str = "ml", *members: Any, **fields: Any) -> Rota:
    """A weekly rota from Monday 2 March 2026, 09:00 UTC."""
    row = Rota.objects.create(**({"name": name, "starts_on": date(2026, 3, 2)} | fields))
    for position, user in enumerate(members):
        RotaMember.objects.create(rota=row, user=user, position=position)
    return Rota.objects.get(pk=row.pk)


def silence(*matchers: str, starts_at: datetime = T0, ends_at: datetime | None = None, **fields: Any) -> Silence:
    """A silence by ana from T0 to midnight."""
    given = {"created_by": "ana", "comment": "planned work"} | fields
    end = ends_at or datetime(2026, 3, 5, tzinfo=UTC)
    return Silence.objects.create(matchers=list(matchers), starts_at=starts_at, ends_at=end, **given)


def down_alerts() -> None:
    """The first dependencies, as the migration makes them; tests that commit empty every table."""
    importlib.import_module("alerts.migrations.0013_down_alerts").add(apps, None)


def arrive(at: datetime) -> list[Notification]:
    """Everything due at `at`, as if each way out had taken it; no network."""
    done: list[Notification] = []
    while parcels := deliver.claim(at, "test", limit=100):
        results = [(parcel, Outcome(parcel.kind, receipt=Receipt("C1", f"{parcel.notification_id}.0")), 0.0)
                   for parcel in parcels]  # fmt: skip
        deliver.settle(results, at, "test")
        done += Notification.objects.filter(pk__in=[parcel.notification_id for parcel in parcels]).order_by("id")
    return done
