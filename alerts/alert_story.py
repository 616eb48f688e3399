"""Everything there is to tell about one alert: why it fires, what happened, who was told, and its value over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from alerts import flaps, graph
from alerts.alert_list import lasted_seconds, telling_labels
from alerts.alert_series import VALUE_SERIES
from alerts.engine.sentence import RuleWords, sentence
from alerts.engine.state import NoDataPolicy
from alerts.engine.threshold_explain import Explanation, explain
from alerts.engine.units import PLAIN, Unit, format_value
from alerts.engine.units import unit_of as unit_of_query
from alerts.models import Alert, Escalation, Event, GroupAlert, Notification, Rule
from alerts.prepared import limit_of
from monitoring import promql
from monitoring.promql import Limits, Matcher, QueryError

# A page waits no longer for its chart.
CHART_LIMITS = Limits(timeout_seconds=5.0, max_series=50_000)
SHOWN_EVENTS = 200
SHOWN_MESSAGES = 20
BEFORE, AFTER = timedelta(minutes=30), timedelta(minutes=15)
# Longer than this a chart would show nothing of the beginning anyway.
LONGEST = timedelta(days=7)
# Labels that say where and what; the others tell copies of one thing apart.
_NARROW = frozenset({"pid", "instance", "uuid", "job"})


@dataclass(frozen=True)
class Story:
    """What the page of an alert shows beside the alert itself."""

    why: str
    rule_words: str
    explanation: Explanation | None
    value: str
    limit: str
    seconds: float
    labels: tuple[tuple[str, str], ...]
    events: list[Event] = field(default_factory=list)
    messages: list[Notification] = field(default_factory=list)
    muted: list[str] = field(default_factory=list)
    earlier: list[Alert] = field(default_factory=list)
    escalations: list[Escalation] = field(default_factory=list)  # that run for it now
    flapping: str = ""


def tell(alert: Alert, at: datetime) -> Story:
    """The story of an alert at `at`, in eight queries; `alert` comes with rule and threshold."""
    rule = alert.rule
    limits = [limit_of(row) for row in rule.thresholds.all()] if rule else []
    unit = _unit(rule)
    labels = alert.label_set
    explanation = explain(limits, labels, alert.fired_at or at, alert.severity) if limits else None
    memberships = GroupAlert.objects.filter(alert=alert).exclude(muted_reason="")
    messages = alert.notifications.select_related("integration__receiver").defer("message", "firing", "resolved")
    return Story(
        why=_why(alert, unit),
        rule_words=_words(rule, limits) if rule else "",
        explanation=explanation,
        value="–" if alert.value is None else format_value(alert.value, unit),
        limit="" if alert.limit_value is None else format_value(alert.limit_value, unit),
        seconds=lasted_seconds(alert, at),
        labels=telling_labels(alert.labels),
        events=list(alert.events.select_related("actor").order_by("-at", "-id")[:SHOWN_EVENTS]),
        messages=list(messages.order_by("-id")[:SHOWN_MESSAGES]),
        muted=sorted(set(memberships.values_list("muted_reason", flat=True))),
        earlier=list(Alert.objects.filter(fingerprint=alert.fingerprint).exclude(pk=alert.pk).order_by("-id")[:5]),
        escalations=list(alert.escalations.filter(ended_at__isnull=True).order_by("id")),
        flapping=flaps.standing([alert.fingerprint], at).get(alert.fingerprint, ""),
    )


def chart(alert: Alert, at: datetime) -> dict[str, Any]:
    """The value of the alert's series from before it began to its end: columns for the browser's charts.

    Asks the rule's own question; a rule that was changed since, or is too large for a page, leaves the recorded values.
    """
    start = max(alert.active_since - max(BEFORE, timedelta(seconds=alert.hold_seconds)), at - LONGEST)
    end = min(at, (alert.resolved_at or at) + AFTER)
    found = _asked(alert, start, end)
    if found is None or not found["series"]:
        matchers = ",".join(str(Matcher("=", name, value)) for name, value in alert.labels.items())
        found = graph.columns(f"{VALUE_SERIES}{{{matchers}}}", start, end, limits=CHART_LIMITS)
    if alert.fired_at:
        last = alert.resolved_at or at
        band = {"from": int(alert.fired_at.timestamp()), "to": int(last.timestamp())}
        found["bands"] = [{**band, "severity": alert.severity or "warning", "label": "firing"}]
    return found


def chart_limits(alert: Alert) -> list[dict[str, Any]]:
    """The line of the limit that the alert passed, for the chart."""
    if alert.limit_value is None:
        return []
    return [{"value": alert.limit_value, "label": "limit", "severity": alert.severity or "warning"}]


def matchers_of(alert: Alert) -> list[tuple[str, bool]]:
    """A matcher for each label of the alert, and whether a silence of it should start with that one."""
    pairs = (("alertname", alert.labels.get("alertname", alert.name)), *telling_labels(alert.labels))
    severity = alert.labels.get("severity")
    found = [(str(Matcher("=", name, value)), name not in _NARROW) for name, value in pairs]
    return [*found, (str(Matcher("=", "severity", severity)), False)] if severity else found


def _asked(alert: Alert, start: datetime, end: datetime) -> dict[str, Any] | None:
    if alert.rule is None:
        return None
    try:
        parsed = promql.parse(alert.rule.expr)
        split = promql.split_condition(parsed)
        asked = promql.parse(split.value) if split is not None and alert.limit_value is None else parsed
        return graph.columns(asked, start, end, limits=CHART_LIMITS, of=alert.labels)
    except QueryError:
        return None


def _unit(rule: Rule | None) -> Unit:
    try:
        return unit_of_query(promql.parse(rule.expr)) if rule else PLAIN
    except QueryError:
        return PLAIN


def _why(alert: Alert, unit: Unit) -> str:
    """The value against the limit, in one sentence."""
    if alert.no_data_since is not None:
        return "Its series has stopped reporting, so nobody knows whether it still holds."
    if alert.source == Alert.Source.API:
        return "Posted to the portal; whoever posted it decides when it ends."
    if alert.value is None:
        return ""
    value = format_value(alert.value, unit)
    if alert.limit_value is None:
        return f"The expression returned {value}."
    limit = format_value(alert.limit_value, unit)
    operator = f" {alert.threshold.get_operator_display()}" if alert.threshold else " past"
    return f"{value} was{operator} the limit {limit}."


def _words(rule: Rule, limits: list[Any]) -> str:
    return sentence(
        RuleWords(
            expr=rule.expr,
            thresholds=[limit for limit in limits if limit.is_enabled],
            hold_seconds=rule.hold_seconds,
            keep_firing_seconds=rule.keep_firing_seconds,
            no_data=NoDataPolicy(rule.no_data),
            no_data_seconds=rule.no_data_resolve_seconds,
            labels=rule.labels if isinstance(rule.labels, dict) else {},
        )
    )
