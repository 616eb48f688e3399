"""What lint says of rules in a file: the same checks with the same facts as in the form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from alerts.engine.findings import Finding, RuleDraft
from alerts.engine.lint import lint
from alerts.facts import Known
from alerts.models import Rule, Threshold
from alerts.prepared import limit_of
from alerts.rulefile.plan import Plan
from monitoring import promql, query
from monitoring.promql import Labels, Limits, QueryError

# Whether a rule "can be split" is said by the import itself, with the reason when it cannot.
_SAID_ELSEWHERE = frozenset({"can-split"})
# A remark is not worth waiting for.
_LIMITS = Limits(timeout_seconds=5.0, max_series=50_000)


@dataclass
class Linter:
    """Lints many rules against what is known at one time."""

    at: datetime
    known: Known = field(default_factory=Known)

    def __post_init__(self) -> None:
        """Read each selector once for all rules."""
        self._select: promql.Select = query.for_slot(self.at)

    def remarks(self, rule: Rule, rows: Sequence[Threshold], interval_seconds: float) -> list[Finding]:
        """Return what is wrong or surprising about a rule now, errors first; nothing need be saved."""
        draft = RuleDraft(
            name=rule.name,
            expr=rule.expr,
            kind=rule.kind,
            hold_seconds=rule.hold_seconds,
            keep_firing_seconds=rule.keep_firing_seconds,
            interval_seconds=interval_seconds,
            labels=rule.labels,
            annotations=rule.annotations,
            thresholds=[limit_of(row) for row in rows],
        )
        # A condition that is false returns nothing when all is well; only a value ought to be there.
        series = self._series(rule.expr) if rows or rule.kind == Rule.Kind.RECORD else None
        found = lint(draft, self.known.about(rule.expr, series), self.at)
        return [one for one in found if one.code not in _SAID_ELSEWHERE]

    def of_plan(self, plan: Plan) -> list[list[Finding]]:
        """The remarks on each rule of a plan, in the order of its changes; none on those that go."""
        intervals = {group.row.name: group.row.interval_seconds for group in plan.groups}
        return [
            self.remarks(one.wanted.rule, one.wanted.limits, intervals[one.group]) if one.wanted is not None else []
            for one in plan.changes
        ]

    def _series(self, expr: str) -> list[Labels] | None:
        try:
            return list(query.instant(expr, self.at, select=self._select, limits=_LIMITS).labels)
        except QueryError:
            return None
