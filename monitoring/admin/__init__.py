"""What is watched, in the admin."""

from monitoring.admin.hosts import HostAdmin

__all__ = ["HostAdmin"]
