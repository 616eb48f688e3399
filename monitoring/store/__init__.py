"""The sample store: append samples, select them back, ask what there is. Nobody outside knows its tables."""

from .compact import Compacted, compact
from .head import SlotReader, shared_select
from .keys import BadKey, sample_key
from .pivot import pivot
from .read import label_names, label_values, metric_names, select, series
from .records import Receipt, Scrape, StoreError
from .rows import append

__all__ = [
    "BadKey",
    "Compacted",
    "Receipt",
    "Scrape",
    "SlotReader",
    "StoreError",
    "append",
    "compact",
    "label_names",
    "label_values",
    "metric_names",
    "pivot",
    "sample_key",
    "select",
    "series",
    "shared_select",
]
