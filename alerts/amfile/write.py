"""A file for Alertmanager from the rows: what amtool and Alertmanager take, with addresses hidden unless asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import yaml
from django.conf import settings
from django.db.models import Prefetch, Q, QuerySet

from alerts.amfile.read import POST_MESSAGE
from alerts.engine.durations import format_duration
from alerts.models import Ingest, InhibitRule, Integration, Receiver, Route, TimeInterval
from alerts.policy import NOBODY

HIDDEN = "<secret>"
_DEFAULT_TIMEOUT_SECONDS = 300.0


def write(*, with_secrets: bool = False) -> str:
    """The configuration as YAML. with_secrets: with addresses of webhooks and tokens of bots."""
    root = _root()
    receivers = [_receiver(row, with_secrets) for row in _receivers()]
    if root["receiver"] == NOBODY:
        receivers.append({"name": NOBODY})
    config: dict[str, Any] = {"global": _globals(receivers), "route": root}
    if rules := [_inhibit(row) for row in InhibitRule.objects.filter(is_enabled=True)]:
        config["inhibit_rules"] = rules
    if intervals := [{"name": row.name, "time_intervals": row.spec} for row in TimeInterval.objects.all()]:
        config["time_intervals"] = intervals
    config["receivers"] = receivers
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)


def _globals(receivers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    row = Ingest.objects.first()
    timeout = row.resolve_timeout_seconds if row else _DEFAULT_TIMEOUT_SECONDS
    found: dict[str, Any] = {"resolve_timeout": format_duration(timeout)}
    if any("email_configs" in one for one in receivers):
        found["smtp_smarthost"] = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
        found["smtp_from"] = settings.DEFAULT_FROM_EMAIL
        found["smtp_require_tls"] = bool(settings.EMAIL_USE_TLS)
    return found


def told_receivers() -> QuerySet[Receiver]:
    """The receivers that belong into a configuration; not those that tell nobody and that nobody leads to."""
    is_used = Q(integrations__isnull=False) | Q(routes__isnull=False) | ~Q(managed_by="")
    return Receiver.objects.filter(is_used).distinct().order_by("name")


def _receivers() -> Iterable[Receiver]:
    ways = Integration.objects.filter(is_enabled=True).select_related("slack_app").order_by("id")
    return told_receivers().prefetch_related(Prefetch("integrations", ways))


def _receiver(row: Receiver, with_secrets: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name}
    for way in row.integrations.all():
        if way.kind in (Integration.Kind.SLACK, Integration.Kind.SLACK_WEBHOOK):
            found.setdefault("slack_configs", []).append(_slack(way, with_secrets))
        elif way.kind == Integration.Kind.WEBHOOK:
            found.setdefault("webhook_configs", []).append(_webhook(way, with_secrets))
        elif way.kind == Integration.Kind.EMAIL:
            found.setdefault("email_configs", []).append({"to": way.target, "send_resolved": way.send_resolved})
    return found


def _slack(way: Integration, with_secrets: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"send_resolved": way.send_resolved}
    if way.kind == Integration.Kind.SLACK:
        token = way.slack_app.bot_token if way.slack_app else ""
        credentials = {"type": "Bearer", "credentials": token if with_secrets else HIDDEN}
        found |= {"api_url": POST_MESSAGE, "http_config": {"authorization": credentials}}
    else:
        found["api_url"] = way.url if with_secrets else HIDDEN
    texts = {"channel": way.target, "title": way.title_template, "text": way.text_template}
    return found | {name: text for name, text in texts.items() if text}


def _webhook(way: Integration, with_secrets: bool) -> dict[str, Any]:
    found = {"send_resolved": way.send_resolved, "url": way.url if with_secrets else _without_path(way.url)}
    return found | ({"max_alerts": way.max_alerts} if way.max_alerts else {})


def _without_path(url: str) -> str:
    """The address down to its host: amtool 0.25 wants one here, and what follows the host is the secret."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}/{HIDDEN}"


def _inhibit(row: InhibitRule) -> dict[str, Any]:
    found = {"source_matchers": row.source_matchers, "target_matchers": row.target_matchers}
    return found | ({"equal": row.equal} if row.equal else {})


def _root() -> dict[str, Any]:
    below: dict[int | None, list[Route]] = {}
    rows = Route.objects.select_related("receiver").prefetch_related("mute_intervals", "active_intervals")
    for row in rows.order_by("position", "id"):
        below.setdefault(row.parent_id, []).append(row)
    roots = below.get(None, [])
    if not roots:
        return {"receiver": NOBODY, "group_by": ["alertname"]}
    return {"receiver": NOBODY} | _route(roots[0], below)


def _route(row: Route, below: dict[int | None, list[Route]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if row.receiver:
        found["receiver"] = row.receiver.name
    if row.group_by:
        found["group_by"] = row.group_by
    if row.matchers:
        found["matchers"] = row.matchers
    if row.goes_on:
        found["continue"] = True
    for name in ("group_wait", "group_interval", "repeat_interval"):
        seconds = getattr(row, f"{name}_seconds")
        if seconds is not None:
            found[name] = format_duration(seconds)
    for name, relation in (("mute", row.mute_intervals), ("active", row.active_intervals)):
        names = [interval.name for interval in relation.all()]
        if names:
            found[f"{name}_time_intervals"] = names
    children = [_route(child, below) for child in below.get(row.pk, [])]
    return found | ({"routes": children} if children else {})
