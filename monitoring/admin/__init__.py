"""What is watched, in the admin."""

from monitoring.admin.dashboards import DashboardAdmin, PanelAdmin
from monitoring.admin.hosts import HostAdmin
from monitoring.admin.probes import DeployAdmin, ProbeAdmin
from monitoring.admin.profiles import ProfileAdmin, ProfileRateAdmin
from monitoring.admin.registry import DeploymentAdmin, ModelVersionAdmin, ServedModelAdmin, TargetAdmin, TeamAdmin
from monitoring.admin.retention import RetentionAdmin
from monitoring.admin.tokens import ApiTokenAdmin

__all__ = [
    "ApiTokenAdmin",
    "DashboardAdmin",
    "DeployAdmin",
    "DeploymentAdmin",
    "HostAdmin",
    "ModelVersionAdmin",
    "PanelAdmin",
    "ProbeAdmin",
    "ProfileAdmin",
    "ProfileRateAdmin",
    "RetentionAdmin",
    "ServedModelAdmin",
    "TargetAdmin",
    "TeamAdmin",
]
