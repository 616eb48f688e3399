"""Rules that could never fire as things stand: nothing of what they ask for is measured."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from alerts.models import Rule
from monitoring import promql, query
from monitoring.promql import Limits, QueryError

# Looked at while somebody waits.
_LIMITS = Limits(timeout_seconds=5.0, max_series=50_000)
# How long ago a series may have been measured last.
_BACK = timedelta(hours=1)


def finds_nothing(expr: str, at: datetime, select: promql.Select | None = None) -> bool:
    """Whether no series that an expression asks for was measured lately; never of one that cannot be asked."""
    try:
        asked = promql.parse(expr)
        if asked.type not in ("vector", "scalar"):
            return False
        if len(query.instant(asked, at, select=select, limits=_LIMITS).values):
            return False
        window = timedelta(milliseconds=max((one.range_ms for one in asked.selectors()), default=0))
        start = at - max(window, _BACK)
        return not any(query.series(one.matchers, start, at) for one in asked.selectors())
    except QueryError:
        return False


def blind(rules: Iterable[Rule], at: datetime) -> list[Rule]:
    """Those of the rules that find nothing; what several ask for is read once."""
    select = query.for_slot(at)
    return [rule for rule in rules if finds_nothing(rule.expr, at, select)]
