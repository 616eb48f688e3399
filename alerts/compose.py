"""From rows to the message of one tick, and the message as the JSON that the outbox keeps.

Hides where the numbers and links of a message come from. A message is composed from what the rows say at the tick;
`refreshed` puts in the value of now and the peak just before it is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.urls import NoReverseMatch, reverse

from alerts import annotated, policy, registry_hints
from alerts.engine import message as engine
from alerts.engine import notify_template, units
from alerts.engine.fingerprint import fingerprint
from alerts.engine.message import AlertLine, Custom, Message
from alerts.engine.message_words import join_shown
from alerts.models import Alert, Group, Integration
from monitoring import promql
from monitoring.promql import Labels

_NO_DATA = "no_data"
_MESSAGE_FIELDS = frozenset(field.name for field in fields(Message))
_LINE_FIELDS = [field.name for field in fields(AlertLine)]
_LINE_NAMES = frozenset(_LINE_FIELDS)
_line_values = attrgetter(*_LINE_FIELDS)
_LINE_TIMES = ("starts_at", "ends_at")


def message(
    alerts: Iterable[Alert],
    *,
    group: Group,
    receiver: str,
    at: datetime,
    upstream_key: str = "",
    route: str = "",
    outbox_id: str = "",
    told: Collection[str] = (),
    notes: Iterable[str] = (),
    flapping: Mapping[str, str] | None = None,
    hints: registry_hints.Hints | None = None,
) -> Message:
    """The message about `alerts` of `group`; `told` are the fingerprints the last message already had.

    flapping: words for those that flap, by fingerprint; they count as firing also while they are quiet.
    hints: of the registry, for callers that have read them for many messages at once.
    """
    rows, flaps = list(alerts), flapping or {}
    fresh = annotated.now(rows, at)
    lines = [
        alert_line(
            alert,
            at,
            is_new=alert.fingerprint not in told,
            flapping=flaps.get(alert.fingerprint, ""),
            annotations=fresh.get(alert.pk, alert.annotations),
        )
        for alert in rows
    ]
    firing = [alert for alert in rows if not policy.is_resolved(alert, at) or alert.fingerprint in flaps]
    found = registry_hints.of(rows) if hints is None else hints
    return engine.build(
        lines,
        group_labels=Labels.of(group.labels),
        receiver=receiver,
        at=at,
        group_key=group.key,
        upstream_key=upstream_key,
        external_url=external_url(),
        group_url=_group_url(rows),
        outbox_id=outbox_id,
        action_id=action_id(outbox_id),
        route=route,
        owner=found.owner(firing or rows),
        acknowledged_by=_acknowledged_by(firing),
        notes=(*notes, *found.words(firing)),
    )


def notice(name: str, words: str, *, receiver: str, at: datetime, outbox_id: str, severity: str = "info") -> Message:
    """A message of the portal about itself: a test, a channel that stopped."""
    labels = Labels.of({"alertname": name, "severity": severity})
    line = AlertLine(labels, fingerprint(labels), at, annotations={"summary": words}, is_new=True)
    return engine.build(
        [line], group_labels=labels, receiver=receiver, at=at, outbox_id=outbox_id, external_url=external_url()
    )


def alert_line(
    alert: Alert,
    at: datetime,
    *,
    is_new: bool = False,
    flapping: str = "",
    annotations: Mapping[str, str] | None = None,
) -> AlertLine:
    """One alert as a message shows it at `at`, with the value of its last change of state.

    annotations: shown in place of its own.
    """
    is_over = policy.is_resolved(alert, at) and not flapping
    ends_at = (alert.resolved_at or alert.ends_at or at) if is_over else None
    # In a storm of posted alerts, finding out that there is none takes as long as the rest of the line.
    threshold = alert.threshold if alert.threshold_id else None
    rule = alert.rule if alert.rule_id else None
    return AlertLine(
        labels=alert.label_set,
        fingerprint=alert.fingerprint,
        starts_at=alert.fired_at or alert.active_since,
        ends_at=ends_at,
        annotations=alert.annotations if annotations is None else annotations,
        generator_url=alert.generator_url,
        value=alert.value,
        operator=threshold.operator if threshold else ">",
        limit=alert.limit_value,
        unit=unit_of(alert.annotations, rule.expr if rule else ""),
        limit_reason=f"row {threshold.pk}: {threshold.reason}" if threshold and threshold.reason else "",
        state=join_shown((flapping, _state(alert, at)), ", "),
        is_new=is_new,
        graph_url=page_url(alert),
    )


def unit_of(annotations: Mapping[str, str], expr: str) -> str:
    """The unit of an alert's value: the annotation `unit`, else what the expression measures (`bytes/s`)."""
    return annotations.get("unit") or _measured_in(expr)


@lru_cache(maxsize=4096)
def _measured_in(expr: str) -> str:
    try:
        found = units.unit_of(promql.parse(expr))
    except promql.ParseError:
        return ""
    return f"{found.quantity.value}/s" if found.quantity and found.is_rate else found.quantity.value


def action_id(dedup_key: str) -> str:
    """What the buttons of a message carry: the first 40 digits of its dedup_key, by which it is looked up."""
    return dedup_key[:40]


def external_url() -> str:
    """The address of the portal for people."""
    return str(settings.ENV.external_url)


def page_url(row: Alert | Group | None) -> str:
    """The address of a row's page for people, "" while there is no such page."""
    if row is None:
        return ""
    if isinstance(row, Alert):
        return f"{external_url()}{_alert_path().format(row.pk)}"
    path = _page_path(str(row._meta.app_label), str(row._meta.model_name))
    return f"{external_url()}{path.format(row.pk)}" if path else ""


@cache
def _alert_path() -> str:
    return reverse("alerts:alert", args=[0]).replace("0", "{}")


@cache
def _page_path(app_label: str, model_name: str) -> str:
    # Resolving an address takes longer than anything else about a line, and all rows of a model have the same.
    try:
        return reverse(f"admin:{app_label}_{model_name}_change", args=["{}"]).replace("%7B%7D", "{}")
    except NoReverseMatch:
        return ""


def dump(value: Message) -> dict[str, Any]:
    """The message as JSON; `load` gives an equal value back."""
    raw = {name: getattr(value, name) for name in _MESSAGE_FIELDS}
    raw |= {
        "alerts": [_dump_line(line) for line in value.alerts],
        "group_labels": value.group_labels.as_dict(),
        "common_labels": value.common_labels.as_dict(),
        "common_annotations": dict(value.common_annotations),
        "at": value.at.isoformat(),
        "notes": list(value.notes),
        "custom": {field.name: getattr(value.custom, field.name) for field in fields(value.custom)},
    }
    return raw


def load(raw: Mapping[str, Any]) -> Message:
    """The message that `dump` wrote; fields that newer code added take their defaults."""
    given = {name: item for name, item in raw.items() if name in _MESSAGE_FIELDS}
    given |= {
        "alerts": tuple(_load_line(line) for line in raw["alerts"]),
        "group_labels": Labels.of(raw["group_labels"]),
        "common_labels": Labels.of(raw["common_labels"]),
        "at": datetime.fromisoformat(raw["at"]),
        "notes": tuple(raw["notes"]),
        "custom": Custom(**raw["custom"]),
    }
    return Message(**given)


def noted(value: Message, *notes: str) -> Message:
    """The message with more notes in front of its own; empty ones are left out."""
    return replace(value, notes=(*(note for note in notes if note), *value.notes))


def renoted(value: Message, notes: Iterable[str], outbox_id: str) -> Message:
    """The message with other notes, as a message of its own in the outbox."""
    return replace(value, notes=tuple(notes), outbox_id=outbox_id, action_id=action_id(outbox_id))


def dressed(value: Message, integration: Integration) -> Message:
    """The message with the title and text its receiver brings along; with a note where they cannot be expanded."""
    if not integration.title_template and not integration.text_template:
        return value
    try:
        custom = Custom(
            title=notify_template.expand(integration.title_template, value),
            text=notify_template.expand(integration.text_template, value),
        )
    except notify_template.TemplateError as error:
        return noted(value, f"The receiver's own text cannot be used: {error}")
    return replace(value, custom=custom)


def _dump_line(line: AlertLine) -> dict[str, Any]:
    raw = dict(zip(_LINE_FIELDS, _line_values(line), strict=True))
    raw["labels"], raw["annotations"] = line.labels.as_dict(), dict(line.annotations)
    for name in _LINE_TIMES:
        raw[name] = raw[name] and raw[name].isoformat()
    return raw


def _load_line(raw: Mapping[str, Any]) -> AlertLine:
    given = dict(raw) if raw.keys() <= _LINE_NAMES else {name: raw[name] for name in raw.keys() & _LINE_NAMES}
    given["labels"] = Labels.of(raw["labels"])
    for name in _LINE_TIMES:
        given[name] = raw[name] and datetime.fromisoformat(raw[name])
    return AlertLine(**given)


def _state(alert: Alert, at: datetime) -> str:
    if alert.resolve_reason == _NO_DATA or alert.no_data_since:
        return "no data"
    if alert.acknowledged_at and alert.acknowledged_by:
        return f"acknowledged by {alert.acknowledged_by}"
    is_snoozed = alert.snoozed_until is not None and alert.snoozed_until > at
    return f"snoozed until {alert.snoozed_until:%H:%M} UTC" if is_snoozed else ""


def _acknowledged_by(firing: Collection[Alert]) -> str:
    """Who has it, once every firing alert is acknowledged."""
    if not firing or not all(alert.acknowledged_at for alert in firing):
        return ""
    names = {str(alert.acknowledged_by) for alert in firing if alert.acknowledged_by}
    return ", ".join(sorted(names)) or "somebody"


def _group_url(alerts: Collection[Alert]) -> str:
    """The page of the alert when there is one, else the list."""
    if len(alerts) == 1:
        return page_url(next(iter(alerts)))
    return f"{external_url()}{reverse('alerts:alerts')}"
