"""Lint of a rule: one list for form, import and command. Hides which check lives where.

Every check is a function of the draft and of facts that the caller brings; nothing is asked of a store.
"""

from datetime import UTC, datetime

from alerts.engine.durations import format_duration
from alerts.engine.findings import Facts, Finding, Level, RuleDraft
from alerts.engine.lint_expr import lint_expr
from alerts.engine.lint_templates import lint_templates, suggested_summary
from alerts.engine.lint_thresholds import lint_thresholds
from monitoring.promql import ParseError, Query, parse, split_condition

__all__ = ["Facts", "Finding", "Level", "RuleDraft", "lint"]

_ORDER = {Level.ERROR: 0, Level.WARNING: 1, Level.INFO: 2}
_NOTHING_KNOWN = Facts()
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)


def lint(rule: RuleDraft, facts: Facts = _NOTHING_KNOWN, at: datetime = _BEFORE_ALL) -> list[Finding]:
    """Return what is wrong or surprising about a rule, errors first; an expression that does not parse is one error.

    at (aware) decides which threshold rows have expired; without it none has.
    """
    findings = [*_lint_names(rule), *lint_templates(rule, facts)]
    try:
        query = parse(rule.expr)
    except ParseError as error:
        findings.append(Finding("parse-error", Level.ERROR, error.message, "expr", error.line, error.column))
        return _sorted(findings)
    findings += lint_expr(query, facts)
    findings += _lint_times(rule)
    if rule.kind == "alert":
        findings += lint_thresholds(rule, query, facts, at)
        findings += _lint_shape(rule, query, facts)
    return _sorted(findings)


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: _ORDER[finding.level])


def _lint_names(rule: RuleDraft) -> list[Finding]:
    """Check a recording rule's name, which says level, metric and operation: job:http_requests:rate5m."""
    if rule.kind == "record" and ":" not in rule.name:
        text = f'"{rule.name}" reads like a measured metric; name what is recorded level:metric:operation'
        return [Finding("record-name", Level.INFO, text, "name")]
    return []


def _lint_times(rule: RuleDraft) -> list[Finding]:
    if rule.kind != "alert":
        return []
    found = []
    holds = [rule.hold_seconds if row.hold_seconds is None else row.hold_seconds for row in rule.thresholds]
    if not any(holds or [rule.hold_seconds]):
        text = 'there is no "for": a single evaluation past the limit fires'
        found.append(Finding("missing-for", Level.WARNING, text, "hold_seconds", suggestion="5m"))
    if rule.hold_seconds and rule.hold_seconds % rule.interval_seconds:
        steps = -(-rule.hold_seconds // rule.interval_seconds)
        real, interval = format_duration(steps * rule.interval_seconds), format_duration(rule.interval_seconds)
        text = f'evaluated every {interval}, "for" {format_duration(rule.hold_seconds)} lasts {real} in truth'
        found.append(Finding("for-rounds-up", Level.INFO, text, "hold_seconds", suggestion=real))
    return found


def _lint_shape(rule: RuleDraft, query: Query, facts: Facts) -> list[Finding]:
    """Check whether the rule could be told apart into value and threshold, and what its messages will lack."""
    found = []
    condition = split_condition(query)
    if condition is not None and not rule.thresholds:
        text = f'can be split into the value `{condition.value}` and a threshold "{condition.operator} '
        text += f'{condition.number:g}", which staff can change per series'
        found.append(Finding("can-split", Level.INFO, text, suggestion=condition.value))
    if not rule.thresholds and "severity" not in (rule.labels or {}):
        text = "there is no severity: routes that ask for one will not match"
        found.append(Finding("missing-severity", Level.INFO, text, "labels"))
    if not (rule.annotations or {}).get("summary"):
        text = "there is no summary: messages will show only labels"
        better = suggested_summary(rule, query, facts)
        found.append(Finding("missing-summary", Level.INFO, text, "annotations.summary", suggestion=better))
    return found
