"""The sample store: append samples, select them back, ask what there is. Nobody outside knows its tables."""

from .head import SlotReader, shared_select
from .keys import BadKey, sample_key
from .read import label_names, label_values, metric_names, select, series
from .records import Receipt, Scrape, StoreError
from .rows import append

__all__ = [
    "BadKey",
    "Receipt",
    "Scrape",
    "SlotReader",
    "StoreError",
    "append",
    "label_names",
    "label_values",
    "metric_names",
    "sample_key",
    "select",
    "series",
    "shared_select",
]
