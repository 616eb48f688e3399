"""Lint of threshold rows: rows that never count, contradict each other, or ask for more than the unit allows."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import combinations

from alerts.engine.findings import Facts, Finding, Level, RuleDraft
from alerts.engine.sentence import SEVERITIES, severity_rank
from alerts.engine.threshold_explain import conflicts, describe_limit, unreachable
from alerts.engine.thresholds import NO_ROW, Operator, Threshold, matching_positions, resolve
from alerts.engine.units import Quantity, Unit, format_value, unit_of
from monitoring.promql import Labels, Query, parse, split_condition

_UP = frozenset({Operator.GREATER, Operator.GREATER_EQUAL})
_DOWN = frozenset({Operator.LESS, Operator.LESS_EQUAL})


def lint_thresholds(rule: RuleDraft, query: Query, facts: Facts, at: datetime) -> list[Finding]:
    """Return the findings about the rows of a rule, or about the number in its condition when it has none."""
    if not rule.thresholds:
        condition = split_condition(query)
        if condition is None:
            return []
        unit = unit_of(parse(condition.value))
        return [*_out_of_range("expr", condition.operator, condition.number, unit)]
    rows = [row for row in rule.thresholds if row.counts_at(at)]
    unit = unit_of(query)
    found = [_row("unreachable", entry.threshold, entry.reason, Level.WARNING) for entry in unreachable(rows)]
    matched = matching_positions(rows, facts.series or ())
    for row, positions in zip(rows, matched, strict=True):
        found += _lint_row(row, unit, matches_nothing=bool(facts.series) and not len(positions))
    found += _beyond(rows, facts.series or (), unit, at)
    for conflict in conflicts(rows, facts.series or (), at):
        text = f"row {conflict.winner.id} counts for {conflict.example} only because it is newer: give one a priority"
        found.append(_row("conflict", conflict.loser, text, Level.WARNING))
    condition = split_condition(query)
    if condition is not None:
        text = "the expression compares already, so the rows below see only what passed: leave the comparison to them"
        found.append(Finding("double-condition", Level.WARNING, text, suggestion=condition.value))
    return found


def _row(code: str, row: Threshold, message: str, level: Level) -> Finding:
    return Finding(code, level, message, f"thresholds.{row.id}")


def _lint_row(row: Threshold, unit: Unit, matches_nothing: bool) -> Iterator[Finding]:
    if row.matchers and not row.reason.strip():
        text = "an override needs a reason: who reads it in a year must know why"
        yield _row("missing-reason", row, text, Level.WARNING)
    if row.matchers and matches_nothing:
        yield _row("matches-nothing", row, "the selector matches none of the rule's series now", Level.WARNING)
    yield from _out_of_range(f"thresholds.{row.id}", row.operator, row.value, unit)


def _out_of_range(field: str, operator: str, value: float, unit: Unit) -> Iterator[Finding]:
    """A ratio is at most 1 and a percentage mostly runs to 100: find limits in the other unit."""
    if operator not in (*_UP, *_DOWN):
        return
    if unit == Unit(Quantity.RATIO) and value > 1.5:
        text = f"the value is a ratio from 0 to 1, the limit {value:g} is {format_value(value, unit)}"
        yield Finding("ratio-as-percent", Level.WARNING, text, field, suggestion=f"{value / 100:g}")
    elif unit == Unit(Quantity.PERCENT) and 0 < value <= 1:
        text = f"the value is in percent from 0 to 100, the limit {value:g} is {format_value(value, unit)}"
        yield Finding("percent-as-ratio", Level.WARNING, text, field, suggestion=f"{value * 100:g}")
    elif unit == Unit(Quantity.PERCENT) and value >= 100 and operator == Operator.GREATER:
        yield Finding("never-true", Level.WARNING, f"a percentage is hardly ever above {value:g}", field)


def _beyond(rows: Sequence[Threshold], series: Sequence[Labels], unit: Unit, at: datetime) -> Iterator[Finding]:
    """Find milder rows whose limit is passed only after that of a worse one: they never speak first."""
    told: set[tuple[Threshold, Threshold]] = set()
    for mild, worse, where in (*_same_selector(rows), *_on_series(rows, series, at)):
        if (mild, worse) not in told and _is_beyond(mild, worse):
            told.add((mild, worse))
            text = f"{mild.severity} {describe_limit(mild, unit)} lies beyond {worse.severity} "
            text += f"{describe_limit(worse, unit)}{where}: it never speaks first"
            yield _row("beyond", mild, text, Level.WARNING)


Pair = tuple[Threshold, Threshold, str]


def _same_selector(rows: Sequence[Threshold]) -> Iterator[Pair]:
    by_selector: dict[frozenset[object], list[Threshold]] = {}
    for row in rows:
        by_selector.setdefault(frozenset(row.matchers), []).append(row)
    for group in by_selector.values():
        # Of several rows for one severity the ruling one is the last in rank; unreachable() names the others.
        ruling = {row.severity: row for row in sorted(group, key=lambda row: (row.priority, row.created_seq))}
        for mild, worse in combinations(sorted(ruling.values(), key=lambda row: severity_rank(row.severity)), 2):
            if worse.severity in SEVERITIES:
                yield mild, worse, ""


def _on_series(rows: Sequence[Threshold], series: Sequence[Labels], at: datetime) -> Iterator[Pair]:
    """Yield the pairs of rows that rule one series together, each pair once."""
    resolution = resolve(rows, series, at)
    known = [severity for severity in SEVERITIES if severity in resolution.winners]
    for mild, worse in combinations(known, 2):
        pairs: dict[tuple[int, int], int] = {}
        columns = zip(resolution.winners[mild].tolist(), resolution.winners[worse].tolist(), strict=True)
        for position, pair in enumerate(columns):
            pairs.setdefault(pair, position)
        for (first, second), position in pairs.items():
            if NO_ROW not in (first, second):
                yield resolution.rows[first], resolution.rows[second], f" for {series[position]}"


def _is_beyond(mild: Threshold, worse: Threshold) -> bool:
    if mild.operator in _UP and worse.operator in _UP:
        return mild.value > worse.value
    if mild.operator in _DOWN and worse.operator in _DOWN:
        return mild.value < worse.value
    if mild.operator is worse.operator is Operator.OUTSIDE and mild.upper is not None and worse.upper is not None:
        return mild.value < worse.value and mild.upper > worse.upper
    return False
