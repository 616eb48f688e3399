"""The annotations of firing alerts as their templates read now, with the value of the last evaluation.

Rows keep the words of an alert's last change: 10,000 expansions in every evaluation would cost more than the queries.
Whoever shows or tells an alert asks here, so that messages and the API carry the newest value as Prometheus' do
(PA-10, AI-6). The values come from the series ALERTS_VALUE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import re2
import structlog
from django.db import DatabaseError

from alerts import outgoing
from alerts.alert_series import VALUE_SERIES
from alerts.engine import template
from alerts.engine.template import Context, Surroundings, Template, TemplateError, expand
from alerts.models import Alert, Rule
from monitoring import query
from monitoring.promql import NAME, Labels, Matcher, QueryError

log = structlog.get_logger(__name__)
# What an annotation may depend on that changes while the alert's labels stay.
_MOVING = frozenset({"value", "query", "now"})
_ADDED = frozenset({"alertname", "severity"})
_ALL_LABELS = re.compile(r"(?:\$labels|\.Labels)(?![.\w])")


def now(alerts: Iterable[Alert], at: datetime) -> dict[int, dict[str, str]]:
    """Annotations by alert id, for those that may have changed since their rows; the others need no asking.

    No answer of the store is no reason to show nothing: such alerts keep what their rows say.
    """
    moving = [(alert, templates) for alert, templates in _with_templates(alerts) if templates is not None]
    if not moving:
        return {}
    try:
        values = _values({alert.name for alert, _ in moving}, at)
    except (QueryError, DatabaseError, OSError) as error:
        log.warning("annotations_not_refreshed", error=str(error))
        return {}
    around = _surroundings(at)
    found = {}
    for alert, templates in moving:
        identity = Labels.of(alert.identity or alert.labels)
        if identity in values:
            context = _context(alert, identity, values[identity], around)
            found[alert.pk] = {name: expand(one, context) for name, one in templates.items()}
    return found


def by_row(alerts: Sequence[Alert], at: datetime) -> Iterator[tuple[Alert, dict[str, str]]]:
    """Each alert whose annotations read differently now, with them."""
    fresh = now(alerts, at)
    return ((alert, fresh[alert.pk]) for alert in alerts if alert.pk in fresh)


def values(alerts: Iterable[Alert], at: datetime) -> dict[int, float]:
    """The value of the last evaluation by alert id; alerts that nobody evaluates any more are not in it."""
    rows = [alert for alert in alerts if alert.rule_id is not None]
    try:
        found = _values({alert.name for alert in rows}, at) if rows else {}
    except (QueryError, DatabaseError, OSError) as error:
        log.warning("values_not_refreshed", error=str(error))
        return {}
    named = ((alert.pk, Labels.of(alert.identity or alert.labels)) for alert in rows)
    return {pk: found[identity] for pk, identity in named if identity in found}


def _with_templates(alerts: Iterable[Alert]) -> Iterable[tuple[Alert, dict[str, Template] | None]]:
    known: dict[tuple[int, bool], dict[str, Template] | None] = {}
    for alert in alerts:
        if (
            alert.rule_id is None
            or alert.rule is None
            or alert.state != Alert.State.FIRING
            or alert.no_data_since is not None
        ):
            continue
        # A rule that was edited meanwhile may say other words, or none, of an alert that fires on (PR-7).
        key = (alert.rule.pk, alert.rule.revision != alert.rule_revision)
        if key not in known:
            known[key] = _moving(alert.rule, is_edited=key[1])
        yield alert, known[key]


def _moving(rule: Rule, *, is_edited: bool) -> dict[str, Template] | None:
    """The templates of a rule when one of them moves or the rule was edited, else None.

    A rule label may stand in place of a label of the series that the templates speak of; the row knows it, we do not.
    Nor do we know the series' name, which templates that list all labels show.
    """
    hidden = set(rule.labels) - _ADDED | {NAME}
    if any(name in text for name in hidden for text in rule.annotations.values()):
        return None
    if any(_ALL_LABELS.search(text) for text in rule.annotations.values()):
        return None
    try:
        templates = {name: template.compile(text) for name, text in rule.annotations.items()}
    except TemplateError:
        return None
    return templates if is_edited or any(one.uses & _MOVING for one in templates.values()) else None


def _context(alert: Alert, identity: Labels, value: float, around: Surroundings) -> Context:
    rule = alert.rule
    added = _ADDED | set(rule.labels) if rule else _ADDED
    return Context(identity.without(frozenset(added)), value, alert.limit_value, alert.severity, around)


def _values(names: set[str], at: datetime) -> dict[Labels, float]:
    """The last value of every active alert by identity, in one question."""
    every = "|".join(re2.escape(name) for name in sorted(names))
    matchers = (Matcher("=", NAME, VALUE_SERIES), Matcher("=~", "alertname", every))
    result = query.instant(f"{{{', '.join(map(str, matchers))}}}", at)
    pairs = zip(result.labels, result.values.tolist(), strict=True)
    return {labels.without(frozenset((NAME,))): value for labels, value in pairs}


def _surroundings(at: datetime) -> Surroundings:
    def ask(text: str) -> list[tuple[Labels, float]]:
        result = query.instant(text, at)
        labels = (Labels.of({}),) if result.type == "scalar" else result.labels
        return list(zip(labels, result.values.reshape(-1).tolist(), strict=True))

    around = outgoing.current()
    return Surroundings(dict(around.external_labels), around.external_url, query=ask, at_seconds=at.timestamp())
