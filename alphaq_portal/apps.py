"""The project as an app: carries management commands and start-up checks."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Composition of the portal."""

    name = "alphaq_portal"
