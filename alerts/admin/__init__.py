"""The alerting half in the admin."""

from alerts.admin import (
    alerts,
    escalation,
    notifications,
    receivers,
    routes,
    rule_groups,
    rules,
    silences,
    slack_people,
)

__all__ = [
    "alerts",
    "escalation",
    "notifications",
    "receivers",
    "routes",
    "rule_groups",
    "rules",
    "silences",
    "slack_people",
]
