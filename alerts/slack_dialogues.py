"""The dialogues of Slack's buttons: what they are filled in with, and what a sent one does.

A dialogue carries the opaque id of the message it was opened from; matchers, rule and limit are looked up anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.urls import reverse

from alerts import actions, alert_story, compose, policy
from alerts.engine import message_views as views
from alerts.engine.escalation import snooze_until
from alerts.engine.intervals import known_zone
from alerts.engine.message import subject
from alerts.engine.message_views import SilenceTyped, ThresholdTyped
from alerts.engine.message_words import moment
from alerts.engine.silences import Recurrence
from alerts.engine.threshold_explain import Explanation, explain
from alerts.models import Alert, Notification, Threshold
from alerts.prepared import limit_of
from monitoring.promql import Matcher

User = Any
_SPANS = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "1d": timedelta(days=1), "1w": timedelta(weeks=1),
          "4w": timedelta(weeks=4)}  # fmt: skip
_WINDOWS = {"30m": 1800.0, "1h": 3600.0, "2h": 7200.0, "4h": 14_400.0, "8h": 28_800.0, "1d": 86_400.0}
_NAMED = 5
# What a limit for some series is about, the most telling first.
_SCOPES = ("model_name", "host", "instance", "gpu", "job")


class NotUnderstood(ValueError):
    """A sent dialogue that cannot be done; `answer` shows an error at each field."""

    def __init__(self, **by_field: str) -> None:
        super().__init__("; ".join(by_field.values()))
        self.answer = views.errors(**by_field)


def kept(view: Mapping[str, Any]) -> dict[str, Any]:
    """Of an open dialogue what is needed to show it anew."""
    names = ("id", "hash", "callback_id", "private_metadata", "state")
    return {name: view[name] for name in names if name in view}


def silence(
    message: Notification, alert_ids: Sequence[int], user: User, time_zone: str, at: datetime
) -> dict[str, Any]:
    """The silence dialogue of a message, filled in; raises PermissionDenied."""
    _may(user, "alerts.add_silence")
    offered = _offered(message, alert_ids)
    typed = SilenceTyped(chosen=tuple(number for number, (_, is_on) in enumerate(offered[:10]) if is_on))
    return _silence_view(offered, typed, _metadata(message, alert_ids), time_zone, at)


def threshold(message: Notification, alert_ids: Sequence[int], user: User, at: datetime) -> dict[str, Any]:
    """The limit dialogue of a message's first alert that has limits; raises PermissionDenied and Refused."""
    _may(user, "alerts.change_threshold")
    alert = _limited(alert_ids)
    explanation, row = _deciding(alert, at)
    typed = ThresholdTyped(value=f"{row.value:g}" if row else "", selector=_selector(alert))
    lines = [explanation.sentence] if explanation else []
    lines += [f"Row {one.threshold.id}: {one.reason}" for one in (explanation.candidates if explanation else ())[:5]]
    return views.threshold_view(alert.name, lines, typed, row is not None, _metadata(message, [alert.pk]))


def renewed(view: Mapping[str, Any], user: User, time_zone: str, at: datetime) -> dict[str, Any] | None:
    """The silence dialogue with the preview of what is chosen now; None for dialogues without one."""
    if view.get("callback_id") != views.SILENCE:
        return None
    _may(user, "alerts.add_silence")
    message, alert_ids = _opened_from(view)
    metadata = _metadata(message, alert_ids)
    return _silence_view(_offered(message, alert_ids), views.silence_typed(view), metadata, time_zone, at)


def submit(view: Mapping[str, Any], user: User, time_zone: str, at: datetime) -> str:
    """Do what a sent dialogue says; returns what was done. Raises NotUnderstood, PermissionDenied and Refused."""
    if view.get("callback_id") == views.SILENCE:
        return _make_silence(view, user, time_zone, at)
    if view.get("callback_id") == views.THRESHOLD:
        return _set_limit(view, user, at)
    raise actions.Refused("The portal knows no such dialogue.")


def _make_silence(view: Mapping[str, Any], user: User, time_zone: str, at: datetime) -> str:
    typed = views.silence_typed(view)
    message, alert_ids = _opened_from(view)
    if not typed.reason.strip():
        raise NotUnderstood(reason="Say why: whoever looks at this silence later will ask.")
    matchers, ends_at = _chosen(_offered(message, alert_ids), typed), _end(typed.duration, time_zone, at)
    again = _windows(typed, time_zone)
    try:
        made = actions.silence(matchers, user, at, ends_at, typed.reason, at, again)
    except actions.Refused as error:
        field = "opens_at" if again and "indow" in str(error) else "more" if typed.more else "matchers"
        raise NotUnderstood(**{field: str(error)}) from error
    often = f" {again.describe()}," if again else ""
    return f"silenced{often} until {made.ends_at:%Y-%m-%d %H:%M} UTC: {', '.join(matchers)}"


def _windows(typed: SilenceTyped, time_zone: str) -> Recurrence | None:
    """The windows that were chosen, in the time zone of whoever chose them; None for a silence without."""
    if not typed.opens_at:
        if typed.days:
            raise NotUnderstood(opens_at="Say when a window opens, or choose no days.")
        return None
    try:
        opens_at = time.fromisoformat(typed.opens_at)
    except ValueError:
        raise NotUnderstood(opens_at="Give a time such as 02:00.") from None
    return policy.recurrence(opens_at, _WINDOWS.get(typed.lasts), typed.days, known_zone(time_zone) or "UTC")


def _set_limit(view: Mapping[str, Any], user: User, at: datetime) -> str:
    typed = views.threshold_typed(view)
    _, alert_ids = _opened_from(view)
    alert = _limited(alert_ids)
    _, row = _deciding(alert, at)
    if row is None or alert.rule is None:
        raise actions.Refused("No row decides the limit of this alert any more.")
    value = _number(typed.value)
    expires_at = at + _SPANS[typed.life] if typed.life in _SPANS else None
    is_change = typed.scope == views.CHANGE_ROW
    limit = actions.Limit(
        value=value, reason=typed.reason, row_id=row.pk if is_change else None, severity=row.severity,
        operator=row.operator, selector=typed.selector, expires_at=expires_at,
    )  # fmt: skip
    if not is_change and not Threshold(selector=typed.selector).has_selector:
        raise NotUnderstood(selector='Name the series it is for, such as {host="gpu-1"}.')
    try:
        made = actions.set_threshold(alert.rule, user, limit, at)
    except actions.Refused as error:
        field = "reason" if not typed.reason.strip() else "value" if is_change else "selector"
        raise NotUnderstood(**{field: str(error)}) from error
    return f"limit {made}"


def _silence_view(
    offered: Sequence[tuple[str, bool]], typed: SilenceTyped, metadata: str, time_zone: str, at: datetime
) -> dict[str, Any]:
    names: list[str] = []
    place = known_zone(time_zone) or "UTC"
    try:
        ends_at, again = _end(typed.duration, place, at), _windows(typed, place)
        preview = actions.preview_silence(_chosen(offered, typed), at, ends_at, at, again)
        names = [_name(alert) for alert in preview.covered[:_NAMED]]
        said = views.covered_words(preview.count, preview.total, len(names))
        said = " ".join([said, *preview.warnings, *_first_window(preview, again is not None)])
    except (actions.Refused, NotUnderstood) as error:
        said = str(error)
    return views.silence_view([text for text, _ in offered], typed, said, metadata, names, place)


def _first_window(preview: actions.SilencePreview, is_recurring: bool) -> list[str]:
    if not is_recurring or not preview.windows:
        return []
    first = preview.windows[0]
    return [f"First window: {moment(first.starts_at)} to {moment(first.ends_at)}."]


def _offered(message: Notification, alert_ids: Sequence[int]) -> list[tuple[str, bool]]:
    """Matchers to choose from: the labels of the one alert, or what all alerts of the message have in common."""
    if len(alert_ids) == 1:
        return alert_story.matchers_of(Alert.objects.get(pk=alert_ids[0]))
    common = message.message.get("common_labels") or {}
    return [(str(Matcher("=", name, value)), name != "severity") for name, value in common.items()]


def _chosen(offered: Sequence[tuple[str, bool]], typed: SilenceTyped) -> list[str]:
    return [*(text for number, (text, _) in enumerate(offered) if number in typed.chosen), *typed.more]


def _end(duration: str, time_zone: str, at: datetime) -> datetime:
    return at + _SPANS[duration] if duration in _SPANS else snooze_until("9am", at, known_zone(time_zone) or "UTC")


def _limited(alert_ids: Sequence[int]) -> Alert:
    """The first of these alerts whose rule has limits; raises Refused where none has."""
    rows = Alert.objects.filter(pk__in=alert_ids).select_related("rule", "threshold").order_by("id")
    for alert in rows:
        if alert.rule is not None and alert.rule.thresholds.exists():
            return alert
    first = rows.first()
    if first is None:
        raise Alert.DoesNotExist
    if first.rule is None:
        raise actions.Refused("This alert was posted to the portal, so its limit lies with whoever posted it.")
    url = f"{compose.external_url()}{reverse('admin:alerts_rule_change', args=[first.rule.pk])}"
    raise actions.Refused(f"This rule has its limit in its expression. Change it there: {url}")


def _deciding(alert: Alert, at: datetime) -> tuple[Explanation | None, Threshold | None]:
    """Why the limit of an alert is what it is, and the row that sets it."""
    rows = {row.pk: row for row in alert.rule.thresholds.all()} if alert.rule else {}
    found = explain([limit_of(row) for row in rows.values()], alert.label_set, at, alert.severity)
    return found, rows.get(found.winner.id) if found.winner else None


def _selector(alert: Alert) -> str:
    pairs = [(name, alert.labels[name]) for name in _SCOPES if name in alert.labels][:2]
    return "{" + ", ".join(str(Matcher("=", name, value)) for name, value in pairs) + "}" if pairs else ""


def _number(text: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NotUnderstood(value="Give a number, such as 0.8 or 90.")
    return value


def _name(alert: Alert) -> str:
    return f"{alert.name} {subject(alert.label_set)}".strip()


def _metadata(message: Notification, alert_ids: Sequence[int]) -> str:
    # A group of thousands has its message looked up instead.
    ids = list(alert_ids) if len(alert_ids) <= 50 else []
    return json.dumps({"message": message.dedup_key, "alerts": ids})


def _opened_from(view: Mapping[str, Any]) -> tuple[Notification, list[int]]:
    """The message a dialogue was opened from, and its alerts; raises Refused when it is gone."""
    try:
        given = json.loads(view.get("private_metadata") or "{}")
        message = Notification.objects.get(dedup_key=str(given["message"]))
        ids = [int(one) for one in given["alerts"]]
    except (ValueError, LookupError, TypeError, Notification.DoesNotExist):
        raise actions.Refused("The portal has forgotten this message. Open the portal instead.") from None
    return message, ids or list(Alert.objects.filter(fingerprint__in=message.firing).values_list("pk", flat=True))


def _may(user: User, permission: str) -> None:
    if not user.has_perm(permission):
        raise PermissionDenied(permission)
