"""The rows of monitoring."""

from .dashboards import Dashboard, Panel, PanelQuery
from .deploys import Deploy
from .metadata import MetricMetadata
from .probes import Probe, ProbeState
from .profiles import LogLine, Profile, ProfileRate
from .registry import Deployment, HealthKind, Host, ModelVersion, ServedModel, Team
from .samples import (
    Block,
    Chunk,
    Day,
    Layout,
    Mark,
    PlannedDrop,
    Refusal,
    Retention,
    Row,
    SeriesKey,
    Source,
    SourceLayout,
    StoreState,
    TrimmedDay,
)
from .targets import ScrapeClaim, Scraper, Target, TargetStatus
from .tokens import ApiToken

__all__ = [
    "ApiToken",
    "Block",
    "Chunk",
    "Dashboard",
    "Day",
    "Deploy",
    "Deployment",
    "HealthKind",
    "Host",
    "Layout",
    "LogLine",
    "Mark",
    "MetricMetadata",
    "ModelVersion",
    "Panel",
    "PanelQuery",
    "PlannedDrop",
    "Probe",
    "ProbeState",
    "Profile",
    "ProfileRate",
    "Refusal",
    "Retention",
    "Row",
    "ScrapeClaim",
    "Scraper",
    "SeriesKey",
    "ServedModel",
    "Source",
    "SourceLayout",
    "StoreState",
    "Target",
    "TargetStatus",
    "Team",
    "TrimmedDay",
]
