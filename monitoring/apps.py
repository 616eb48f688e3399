"""What is watched, what was measured, and how to ask."""

from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """Registry, collection, sample store and queries."""

    name = "monitoring"
    default_auto_field = "django.db.models.BigAutoField"
