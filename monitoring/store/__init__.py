"""The sample store: append samples, select them back, ask what there is. Nobody outside knows its tables."""

from . import queue
from .backfill import Batch, gather, write
from .cardinality import Cardinality, Count, LabelCount, cardinality
from .codec import CorruptChunk
from .compact import Compacted, compact
from .exposition import BadLine, read_lines, sample_line
from .gauges import Gauge, gauges, record
from .halves import join_halves
from .head import SlotReader, shared_select
from .house import HouseReport, ensure_partitions, keep_house
from .keys import BadKey, sample_key
from .merge import Merged, merge
from .pivot import pivot, pivot_before
from .preview import Kept, kept_by
from .read import label_names, label_values, metric_names, select, series
from .records import Receipt, Scrape, StoreError
from .retention import Dropped, Purged, drop_before, purge_keys, retain
from .rhythm import Rhythm, behind, rhythms
from .room import LEAST_FREE_BYTES, DiskFull, check_room
from .rows import MAX_SERIES_PER_SOURCE, append
from .status import StoreStatus, Tier, samples_per_second, status
from .verify import Problem, Verified, verify

__all__ = [
    "LEAST_FREE_BYTES",
    "MAX_SERIES_PER_SOURCE",
    "BadKey",
    "BadLine",
    "Batch",
    "Cardinality",
    "Compacted",
    "CorruptChunk",
    "Count",
    "DiskFull",
    "Dropped",
    "Gauge",
    "HouseReport",
    "Kept",
    "LabelCount",
    "Merged",
    "Problem",
    "Purged",
    "Receipt",
    "Rhythm",
    "Scrape",
    "SlotReader",
    "StoreError",
    "StoreStatus",
    "Tier",
    "Verified",
    "append",
    "behind",
    "cardinality",
    "check_room",
    "compact",
    "drop_before",
    "ensure_partitions",
    "gather",
    "gauges",
    "join_halves",
    "keep_house",
    "kept_by",
    "label_names",
    "label_values",
    "merge",
    "metric_names",
    "pivot",
    "pivot_before",
    "purge_keys",
    "queue",
    "read_lines",
    "record",
    "retain",
    "rhythms",
    "sample_key",
    "sample_line",
    "samples_per_second",
    "select",
    "series",
    "shared_select",
    "status",
    "verify",
    "write",
]
