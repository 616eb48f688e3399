"""A message as Alertmanager's webhook body, version 4 (AP-9; Alertmanager 0.25, notify/webhook and template.Data)."""

from __future__ import annotations

from typing import Any

from alerts.engine.message import AlertLine, Message
from alerts.engine.message_words import rfc3339

_GO_QUOTED = frozenset(r"\.+*?()|[]{}^$")


def webhook_v4(message: Message, max_alerts: int = 0) -> dict[str, Any]:
    """The JSON body as a dict; `max_alerts` above 0 cuts the list and says by how many in truncatedAlerts."""
    shown = message.alerts[:max_alerts] if max_alerts > 0 else message.alerts
    return {
        "version": "4",
        "groupKey": message.upstream_key,
        "truncatedAlerts": len(message.alerts) - len(shown),
        "status": message.status,
        "receiver": quote_meta(message.receiver),
        "groupLabels": message.group_labels.as_dict(),
        "commonLabels": message.common_labels.as_dict(),
        "commonAnnotations": dict(message.common_annotations),
        "externalURL": message.external_url,
        "alerts": [_alert(alert) for alert in shown],
    }


def quote_meta(text: str) -> str:
    """`text` with a backslash before each sign that means something in a regular expression (Go, regexp.QuoteMeta)."""
    return "".join(f"\\{char}" if char in _GO_QUOTED else char for char in text)


def _alert(alert: AlertLine) -> dict[str, Any]:
    return {
        "status": "resolved" if alert.is_resolved else "firing",
        "labels": alert.labels.as_dict(),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(alert.ends_at),
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
    }
