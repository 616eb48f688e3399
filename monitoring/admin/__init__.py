"""What is watched, in the admin."""

from monitoring.admin.hosts import HostAdmin
from monitoring.admin.registry import DeploymentAdmin, ModelVersionAdmin, ServedModelAdmin, TargetAdmin, TeamAdmin

__all__ = ["DeploymentAdmin", "HostAdmin", "ModelVersionAdmin", "ServedModelAdmin", "TargetAdmin", "TeamAdmin"]
