"""Rules and their alerts as Prometheus' HTTP API tells them: /api/v1/rules and /api/v1/alerts.

Shapes: Prometheus 3, web/api/v1/api.go (rules, alerts). Drafts and switched-off rules are not there; neither are
shadow rules, whose alerts nobody shall hear of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone

from alerts import annotated
from alerts.models import Alert, Rule, RuleGroup
from monitoring.api_answer import dumps, endpoint, success
from monitoring.api_params import BadData, Params
from monitoring.promql import Labels, Matcher, matches_all

RULES = "alerts.view_rule"
ALERTS = "alerts.view_alert"
#: The `file` of groups that no file owns: upstream's clients want one.
STAFF_FILE = "portal"
_TYPES = {"": None, "alert": Rule.Kind.ALERT, "record": Rule.Kind.RECORD}
_ACTIVE = (Alert.State.PENDING, Alert.State.FIRING)
_NEVER = "0001-01-01T00:00:00Z"


@endpoint(RULES, "GET")
def rules(params: Params) -> HttpResponse:
    """Answer the rule groups with their rules and these with their active alerts."""
    kind = params.text("type").lower()
    if kind not in _TYPES:
        raise BadData(f'invalid parameter "type": not supported value "{kind}"')
    has_alerts, limit = not _flag(params, "exclude_alerts"), params.limit("group_limit")
    groups = list(_groups(params, _TYPES[kind], params.selectors()))
    places = [_place(group) for group, _ in groups]
    token = params.text("group_next_token")
    if token and token not in places:
        raise BadData(f'invalid parameter "group_next_token": invalid group_next_token: {token}')
    first = places.index(token) if token else 0
    last = first + limit if limit else len(groups)
    shown = groups[first:last]
    active = [alert for _, found in shown for rule in found for alert in rule.alerts.all()] if has_alerts else []
    told = _alerts(active)
    body: dict[str, Any] = {"groups": [_group(group, found, told) for group, found in shown]}
    if last < len(groups):
        body["groupNextToken"] = places[last]
    return success(dumps(body))


@endpoint(ALERTS, "GET")
def alerts(params: Params) -> HttpResponse:
    """Answer all pending and firing alerts of rules."""
    rows = Alert.objects.filter(state__in=_ACTIVE, source=Alert.Source.RULE, is_shadow=False).order_by("id")
    return success(dumps({"alerts": list(_alerts(list(rows.select_related("rule"))).values())}))


def _flag(params: Params, name: str) -> bool:
    text = params.text(name).lower()
    if text not in ("", "1", "t", "true", "0", "f", "false"):
        raise BadData(f'invalid parameter "{name}": error converting {name}: invalid syntax: "{text}"')
    return text in ("1", "t", "true")


def _groups(
    params: Params, kind: str | None, selectors: list[tuple[Matcher, ...]]
) -> Iterable[tuple[RuleGroup, list[Rule]]]:
    """The groups that were asked for, each with those of its rules; filtered to nothing it is left out."""
    names, wanted, files = (set(params.texts(name)) for name in ("rule_name[]", "rule_group[]", "file[]"))
    active = Alert.objects.filter(state__in=_ACTIVE).order_by("id")
    live = Rule.objects.filter(life=Rule.Life.LIVE).select_related("status").order_by("position", "id")
    groups = RuleGroup.objects.filter(is_enabled=True).select_related("clock").order_by("managed_by", "name", "id")
    for group in groups.prefetch_related(Prefetch("rules", live.prefetch_related(Prefetch("alerts", active)))):
        if (wanted and group.name not in wanted) or (files and _file(group) not in files):
            continue
        found = [
            rule
            for rule in group.rules.all()
            if kind in (None, rule.kind) and (not names or rule.name in names) and _is_selected(rule, selectors)
        ]
        if found or not (kind or names or selectors):
            yield group, found


def _is_selected(rule: Rule, selectors: list[tuple[Matcher, ...]]) -> bool:
    labels = Labels.of({name: str(value) for name, value in rule.labels.items()})
    return not selectors or any(matches_all(matchers, labels) for matchers in selectors)


def _file(group: RuleGroup) -> str:
    return group.managed_by or STAFF_FILE


def _place(group: RuleGroup) -> str:
    return f"{_file(group)};{group.name}"


def _group(group: RuleGroup, found: list[Rule], told: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    clock = getattr(group, "clock", None)
    return {
        "name": group.name,
        "file": _file(group),
        "rules": [_rule(rule, told) for rule in found],
        "interval": group.interval_seconds,
        "limit": group.limit,
        "evaluationTime": (clock.last_duration_seconds or 0) if clock else 0,
        "lastEvaluation": _time(clock.last_slot_at if clock else None),
    }


def _rule(rule: Rule, told: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    status = getattr(rule, "status", None)
    common: dict[str, Any] = {
        "name": rule.name,
        "query": rule.expr,
        "labels": rule.labels,
        "health": status.health if status else "unknown",
        "evaluationTime": status.duration_seconds if status else 0,
        "lastEvaluation": _time(status.evaluated_at if status else None),
        "type": "recording" if rule.kind == Rule.Kind.RECORD else "alerting",
    }
    if status and status.last_error:
        common["lastError"] = status.last_error
    if rule.kind == Rule.Kind.RECORD:
        return common
    active = list(rule.alerts.all())
    return common | {
        "state": _state(active),
        "duration": rule.hold_seconds,
        "keepFiringFor": rule.keep_firing_seconds,
        "annotations": rule.annotations,
        "alerts": [told[row.pk] for row in active if row.pk in told],
    }


def _state(active: list[Alert]) -> str:
    """The worst state of a rule's alerts."""
    states = {row.state for row in active}
    return next((state.value for state in reversed(_ACTIVE) if state in states), "inactive")


def _alerts(rows: list[Alert]) -> dict[int, dict[str, Any]]:
    """Alerts by id with their values and annotations of now; the rows are as of the last change of state."""
    at = timezone.now()
    values, fresh = annotated.values(rows, at), annotated.now(rows, at)
    return {row.pk: _alert(row, fresh.get(row.pk, row.annotations), values.get(row.pk, row.value)) for row in rows}


def _alert(row: Alert, annotations: dict[str, str], value: float | None) -> dict[str, Any]:
    body = {
        "labels": row.labels,
        "annotations": annotations,
        "state": row.state,
        "activeAt": _time(row.active_since),
        # Go's strconv.FormatFloat(v, 'e', -1, 64).
        "value": _scientific(value) if value is not None else "NaN",
    }
    if row.keep_firing_since is not None:
        body["keepFiringSince"] = _time(row.keep_firing_since)
    return body


def _scientific(value: float) -> str:
    """Return a value with one digit before the point and as many behind it as it needs: 1.5e+02."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    texts = (f"{value:.{places}e}" for places in range(17))
    return next(text for text in texts if float(text) == value)


def _time(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else _NEVER


app_name = "alerts_api"
urlpatterns = [
    path("rules", rules, name="rules"),
    path("alerts", alerts, name="alerts"),
]
