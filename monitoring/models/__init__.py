"""The rows of monitoring."""

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

__all__ = [
    "Block",
    "Chunk",
    "Day",
    "Deployment",
    "HealthKind",
    "Host",
    "Layout",
    "Mark",
    "ModelVersion",
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
