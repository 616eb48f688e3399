"""What the alerts of a message measure now, and what was their worst: asked just before the message is sent.

The rows of alerts change only with their state (a flush composes from them); in between the evaluator writes each
value to the series ALERTS_VALUE, which this module asks. No answer is no reason to hold a message back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import structlog
from django.db import DatabaseError

from alerts.alert_series import VALUE_SERIES
from alerts.engine.message import AlertLine, Message
from monitoring import query
from monitoring.promql import NAME, Labels, Matcher, QueryError

log = structlog.get_logger(__name__)
# More lines than a message shows one by one would only be measured for nobody.
MAX_LINES = 15
# A peak is read over the whole episode; of a very long one, over its last days.
MAX_PEAK = timedelta(days=7)
_NAME = frozenset((NAME,))


def refreshed(message: Message, at: datetime) -> Message:
    """The message with values of now for what fires and peaks for what has ended; unchanged where nobody knows."""
    if len(message.alerts) > MAX_LINES or all(line.value is None for line in message.alerts):
        return message
    try:
        now = _values_now(message.firing, at)
        lines = tuple(_refreshed(line, now) for line in message.alerts)
    except (QueryError, DatabaseError, OSError) as error:
        log.warning("values_not_refreshed", group=message.group_key, error=str(error))
        return message
    return replace(message, alerts=lines)


def _refreshed(line: AlertLine, now: dict[Labels, float]) -> AlertLine:
    if line.value is None:
        return line
    if not line.is_resolved:
        return replace(line, value=now.get(line.labels, line.value))
    return replace(line, peak=_peak(line))


def _values_now(lines: Iterable[AlertLine], at: datetime) -> dict[Labels, float]:
    """Values at `at` by label set, in one question for each name of an alert."""
    found: dict[Labels, float] = {}
    for name in sorted({line.name for line in lines if line.value is not None}):
        result = query.instant(_selector(Labels.of({"alertname": name})), at)
        pairs = zip(result.labels, result.values, strict=True)
        found |= {labels.without(_NAME): float(value) for labels, value in pairs}
    return found


def _peak(line: AlertLine) -> float | None:
    """The worst value from the start to the end of an alert: the highest, or the lowest where less is worse."""
    assert line.ends_at is not None  # noqa: S101  (only asked of what has ended)
    seconds = max(1, round(min(line.ends_at - line.starts_at, MAX_PEAK).total_seconds()))
    function = "min_over_time" if line.operator.startswith("<") else "max_over_time"
    result = query.instant(f"{function}({_selector(line.labels)}[{seconds}s])", line.ends_at)
    own = [float(v) for labels, v in zip(result.labels, result.values, strict=True) if labels == line.labels]
    known: Sequence[float] = [*own, *([line.value] if line.value is not None and not own else [])]
    return reduce(min if function == "min_over_time" else max, known) if known else None


def _selector(labels: Labels) -> str:
    matchers = [Matcher("=", NAME, VALUE_SERIES), *(Matcher("=", name, value) for name, value in labels)]
    return "{" + ", ".join(str(matcher) for matcher in matchers) + "}"
