"""What lint says about a rule, and what it must be told to say it: values without behaviour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alerts.engine.thresholds import Threshold
from monitoring.promql import Labels


class Level(StrEnum):
    """How much a finding matters: an error cannot work, a warning will surprise, an info is good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. field: where it belongs (expr, name, hold_seconds, labels.x, annotations.x, thresholds.41, metric).

    line and column count from 1 inside that field, 0 where there is no place. suggestion: a text to put into the field
    instead of what is there, "" when there is none.
    """

    code: str
    level: Level
    message: str
    field: str = "expr"
    line: int = 0
    column: int = 0
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule as typed, saved or not. kind is "alert" or "record"; times in seconds."""

    name: str
    expr: str
    kind: str = "alert"
    hold_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    interval_seconds: float = 60.0
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    thresholds: Sequence[Threshold] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the data; None means unknown, and checks that need it stay silent.

    metric_types: every stored metric's name with counter, gauge, histogram, summary or "" (type unknown).
    label_values: per metric and label the values there are. series: what the value expression returns now.
    """

    metric_types: Mapping[str, str] | None = None
    label_values: Mapping[str, Mapping[str, frozenset[str]]] | None = None
    series: Sequence[Labels] | None = None
    scrape_interval_seconds: float | None = None
    model_names: Sequence[str] = ()
