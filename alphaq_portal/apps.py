"""The project as an app: carries management commands and makes the Celery app known to every process."""

import importlib

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Composition of the portal."""

    name = "alphaq_portal"

    def ready(self) -> None:
        """Load the Celery app, so that tasks are sent to our broker from web processes and commands too."""
        importlib.import_module("alphaq_portal.celery")
