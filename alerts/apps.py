"""When to speak, to whom, and what was said."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """Rules, thresholds, alerts, routing and notifications."""

    name = "alerts"
    default_auto_field = "django.db.models.BigAutoField"
