"""How models do now and did lately, read from the store: a handful of questions for all models together.

Hides the questions. Errors are a share of inferences: the histogram counts failed ones as well (monitoring.instrument).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitoring import query
from monitoring.charts import Span
from monitoring.dashboards import marks
from monitoring.promql import NAME, Labels, Matcher, Select

#: The window of rates, and how far an instant looks back.
LOOK_BACK = timedelta(minutes=5)
HISTORY = timedelta(days=30)
#: Rules are evaluated more often; a firing alert is seen for the five minutes of the look-back.
HISTORY_STEP_SECONDS = 300

#: All metrics that the questions ask for: they are read at once.
_NAMES = (
    "model_inference_duration_seconds_(count|bucket)|model_inference_errors_total|model_accuracy|model_queue_size"
    "|model_batch_size|ALERTS"
)
_QUESTIONS = {
    "requests_per_second": "sum by (model_name) (rate(model_inference_duration_seconds_count{%s}[5m]))",
    "p95_seconds": (
        "histogram_quantile(0.95, sum by (model_name, le) (rate(model_inference_duration_seconds_bucket{%s}[5m])))"
    ),
    "errors_per_second": "sum by (model_name) (rate(model_inference_errors_total{%s}[5m]))",
    "accuracy": "min by (model_name) (model_accuracy{%s})",
    "queue": "sum by (model_name) (model_queue_size{%s})",
    "batch": "avg by (model_name) (model_batch_size{%s})",
    "firing": 'count by (model_name, severity) (ALERTS{alertstate="firing",%s})',
    "seen": (
        "count by (model_name, model_version, exported_model_version)"
        ' ({__name__=~"model_inference_duration_seconds_count|model_accuracy|model_queue_size",%s})'
    ),
}


@dataclass
class Facts:
    """What is known of a model now; None where nothing tells. `seen`: the versions its servers say they are."""

    requests_per_second: float | None = None
    p95_seconds: float | None = None
    errors_per_second: float | None = None
    accuracy: float | None = None
    queue: float | None = None
    batch: float | None = None
    seen: tuple[str, ...] = ()
    firing: dict[str, int] = field(default_factory=dict)

    @property
    def error_ratio(self) -> float | None:
        """Failed inferences as a share of all, 0 to 1; None without inferences."""
        if not self.requests_per_second:
            return None
        return (self.errors_per_second or 0.0) / self.requests_per_second

    @property
    def firing_count(self) -> int:
        """How many alerts of it fire."""
        return sum(self.firing.values())

    @property
    def worst(self) -> str:
        """The highest severity that fires, "" when nothing does."""
        return next((one for one in ("critical", "warning", "info") if one in self.firing), next(iter(self.firing), ""))


@dataclass(frozen=True)
class PastAlert:
    """One alert of a model in the last 30 days: how often it fired, for how long in all, when last."""

    name: str
    severity: str
    episodes: int
    seconds: float
    last_from: datetime
    last_to: datetime
    is_firing: bool


def newest(at: datetime, model: str = "") -> dict[str, Facts]:
    """Return the facts of each model that has samples, or of one; raises QueryError."""
    of_model = Matcher("=", "model_name", model) if model else Matcher("!=", "model_name", "")
    select = query.read_once((Matcher("=~", NAME, _NAMES), of_model), at - LOOK_BACK, at)
    found: dict[str, Facts] = defaultdict(Facts)
    seen: dict[str, set[str]] = defaultdict(set)
    parts = (f'label_replace({expr % of_model}, "fact", "{name}", "", "")' for name, expr in _QUESTIONS.items())
    for labels, value in _answers(" or ".join(parts), at, select):
        name, fact = labels.get("model_name"), labels.get("fact")
        if fact == "firing":
            found[name].firing[labels.get("severity") or "none"] = round(value)
        elif fact == "seen":
            seen[name].add(labels.get("exported_model_version") or labels.get("model_version"))
        else:
            setattr(found[name], fact, value)
    for name, versions in seen.items():
        found[name].seen = tuple(sorted(versions - {""}))
    return dict(found)


def _answers(expr: str, at: datetime, select: Select) -> Iterator[tuple[Labels, float]]:
    answer = query.instant(expr, at, select=select)
    for labels, value in zip(answer.labels, answer.values.tolist(), strict=True):
        if math.isfinite(value):
            yield labels, value


def past_alerts(model: str, at: datetime) -> list[PastAlert]:
    """Return the alerts of a model in the last 30 days from ALERTS, the newest first; raises QueryError."""
    # Up to now and not to a round time: what began a minute ago is what people look for.
    end = at.replace(microsecond=0)
    span = Span(end - HISTORY, end, HISTORY_STEP_SECONDS)
    scope = marks.Scope((Matcher("=", "model_name", model),))
    groups: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for band in marks.bands(span, scope):
        groups[band["label"], band["severity"]].append((band["from"], band["to"]))
    found = [_past(name, severity, bands, end) for (name, severity), bands in groups.items()]
    return sorted(found, key=lambda one: one.last_to, reverse=True)


def _past(name: str, severity: str, bands: Sequence[tuple[int, int]], end: datetime) -> PastAlert:
    first, last = max(bands, key=lambda band: band[1])
    return PastAlert(
        name=name,
        severity=severity or "none",
        episodes=len(bands),
        seconds=float(sum(to - begin + HISTORY_STEP_SECONDS for begin, to in bands)),
        last_from=datetime.fromtimestamp(first, tz=UTC),
        last_to=datetime.fromtimestamp(last, tz=UTC),
        is_firing=last >= end.timestamp(),
    )
