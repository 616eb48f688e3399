"""The rows of monitoring."""

from .registry import Host
from .samples import Block, Chunk, Day, Layout, Mark, PlannedDrop, Row, SeriesKey, Source, SourceLayout, StoreState

__all__ = [
    "Block",
    "Chunk",
    "Day",
    "Host",
    "Layout",
    "Mark",
    "PlannedDrop",
    "Row",
    "SeriesKey",
    "Source",
    "SourceLayout",
    "StoreState",
]
