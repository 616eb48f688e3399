"""The alerting half in the admin."""

from alerts.admin import (
    alerts,
    escalation,
    global_config,
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
    "global_config",
    "notifications",
    "receivers",
    "routes",
    "rule_groups",
    "rules",
    "silences",
    "slack_people",
]
