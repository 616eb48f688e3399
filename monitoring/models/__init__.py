"""The rows of monitoring."""

from .dashboards import Dashboard, Panel, PanelQuery
from .registry import Deployment, HealthKind, Host, ModelVersion, ServedModel, Team
from .samples import (
    Block,
    Chunk,
    Day,
    Layout,
    Mark,
    PlannedDrop,
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
    "Deployment",
    "HealthKind",
    "Host",
    "Layout",
    "Mark",
    "ModelVersion",
    "Panel",
    "PanelQuery",
    "PlannedDrop",
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
