"""Limits that fit: reads the history behind one limit of a rule and counts what each candidate would have caused.

Nothing is applied: somebody chooses a number and saves the rule. Hides how much of a long history fits into memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from alerts import history
from alerts.backtest_content import Content
from alerts.engine import suggest as counting
from alerts.engine import thresholds
from alerts.engine.durations import format_duration
from alerts.engine.suggest import Curve, Past, Terms
from alerts.engine.thresholds import Operator
from alerts.engine.thresholds import Threshold as Limit
from alerts.engine.units import Unit, format_value, unit_of
from alerts.graph import unit_name
from alerts.history import Coverage, Meter, Span
from monitoring import promql, query
from monitoring.promql import Labels

NEEDED = timedelta(days=3)
# Values kept at once: 32 MB of numbers. A longer or wider history is read at a multiple of the interval.
CELLS = 4_000_000
_UP = (Operator.GREATER, Operator.GREATER_EQUAL)
_DOWN = (Operator.LESS, Operator.LESS_EQUAL)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Refused(Exception):
    """Nothing can be suggested; the words say why and what to do."""


@dataclass(frozen=True)
class Question:
    """Which limit is asked about: what measures, how it is compared, and the row, None for a plain condition."""

    expr: promql.Query
    operator: Operator
    now: float
    hold_seconds: float
    keep_firing_seconds: float
    row: int | None

    @property
    def sign(self) -> float:
        """-1 for a floor: its values are turned round, so that past always means above."""
        return 1.0 if self.operator in _UP else -1.0


def question(content: Content, row: int | None) -> Question:
    """What is asked about one row of limits, or about the number of a plain condition; raises Refused."""
    rule = content.rule
    keep = rule.keep_firing_seconds
    if row is not None:
        if not 0 <= row < len(content.limits):
            raise Refused("This row of limits is not complete yet: give its limit and operator.")
        limit = content.limits[row]
        hold = rule.hold_seconds if limit.hold_seconds is None else limit.hold_seconds
        found = Question(_parsed(rule.expr), limit.operator, limit.value, hold, keep, row)
    else:
        split = promql.split_condition(_parsed(rule.expr))
        if split is None:
            raise Refused("Add a row of limits, or write the rule as value > number: then a number can be suggested.")
        hold = rule.hold_seconds
        found = Question(promql.parse(split.value), Operator(split.operator), split.number, hold, keep, None)
    if found.operator not in _UP + _DOWN:
        raise Refused("A limit can be suggested for above and below, not for a band or for equality.")
    return found


def _parsed(expr: str) -> promql.Query:
    try:
        return promql.parse(expr)
    except promql.ParseError as error:
        raise Refused(f"Line {error.line}, column {error.column}: {error.message}") from error


def widened(asked: Question, span: Span, at: datetime) -> Span:
    """The span with a step so long that its values fit into memory: a multiple of the interval."""
    series = max(len(query.instant(asked.expr, at).labels), 1)
    times = max(1, math.ceil(span.steps * series / CELLS))
    return span if times == 1 else history.aligned(span.start, span.end, span.step_seconds * times, span.end)


def suggest(content: Content, asked: Question, span: Span, meter: Meter) -> dict[str, Any]:
    """The curve and its marks as JSON; raises Refused, QueryError, and Stopped when the meter's watch says so."""
    meter.share = 0.8
    values, coverage = _read(content, asked, span, meter)
    covered = timedelta() if coverage.first is None or coverage.last is None else coverage.last - coverage.first
    if covered < NEEDED - timedelta(seconds=2 * span.step_seconds):
        reach = format_duration(round(covered.total_seconds() / 60) * 60)
        raise Refused(f"History reaches back {reach}; a limit can be suggested from 3 days on.")
    past = Past(values * asked.sign, span.start.timestamp(), span.step_seconds)
    is_inclusive = asked.operator in (Operator.GREATER_EQUAL, Operator.LESS_EQUAL)
    terms = Terms(asked.hold_seconds, asked.keep_firing_seconds, is_inclusive)
    meter.base, meter.share = 0.8, 0.2
    found = counting.curve(past, terms, lambda done: meter.note(done, 0))
    unit = unit_of(asked.expr)
    return {
        "row": asked.row,
        "expr": str(asked.expr),
        "operator": str(asked.operator),
        "unit": unit_name(unit),
        "now": asked.now,
        "now_per_week": counting.firings(past, asked.now * asked.sign, terms) / past.weeks,
        "hold": format_duration(asked.hold_seconds) if asked.hold_seconds else "",
        "points": sorted((asked.sign * limit, rate) for limit, rate in found.points()),
        "marks": _marks(asked, past, found, terms, unit),
        "series": len(values),
        "days": covered.total_seconds() / 86_400,
        "step_seconds": span.step_seconds,
        "gap_seconds": coverage.gap_seconds,
    }


def _read(content: Content, asked: Question, span: Span, meter: Meter) -> tuple[np.ndarray, Coverage]:
    """(series, slots) values with NaN for nothing, of the series that the row rules; and how far they reach."""
    rows: dict[Labels, np.ndarray] = {}
    coverage = Coverage(span.step_seconds)
    for answer in history.read(asked.expr, span, meter, content.group.query_offset_seconds):
        if not answer.present.size:
            continue
        ruled = _ruled(content, asked, answer.labels, span.end)
        kept = np.flatnonzero(ruled)
        coverage.take(_only(answer, kept))
        begin = round((answer.ts[0] / 1000 - span.start.timestamp()) / span.step_seconds)
        for place in kept.tolist():
            line = rows.get(answer.labels[place])
            if line is None:
                if (len(rows) + 1) * span.steps > 2 * CELLS:
                    raise Refused("There are too many series over this time: choose a shorter one, or aggregate.")
                line = rows[answer.labels[place]] = np.full(span.steps, np.nan)
            piece = np.where(answer.present[place], answer.values[place], np.nan)
            line[begin : begin + len(piece)] = np.where(np.isfinite(piece), piece, np.nan)
    return (np.stack(list(rows.values())) if rows else np.empty((0, span.steps))), coverage


def _ruled(content: Content, asked: Question, labels: list[Labels], at: datetime) -> np.ndarray:
    """Which series the row rules: those of an override do not count for the limit of all others."""
    if asked.row is None:
        return np.ones(len(labels), dtype=bool)
    limit = content.limits[asked.row]
    rows: list[Limit] = [one for one in content.limits if one.counts_at(at) or one is limit]
    resolution = thresholds.resolve(rows, labels, at)
    place = next((number for number, one in enumerate(resolution.rows) if one.id == limit.id), None)
    if place is None:  # switched off or expired: what it would match
        return np.array([limit.matches(one) for one in labels], dtype=bool)
    return resolution.winners[limit.severity] == place


def _only(answer: promql.Result, rows: np.ndarray) -> promql.Result:
    labels = [answer.labels[row] for row in rows.tolist()]
    return promql.Result(answer.type, labels, answer.ts, answer.values[rows], answer.present[rows])


def _marks(asked: Question, past: Past, found: Curve, terms: Terms, unit: Unit) -> list[dict[str, Any]]:
    """The numbers worth a look, each with how often it would have fired; one that does not exist is left out."""
    usual = counting.usual_by_hour(past)
    is_up = asked.operator in _UP
    share = "99" if is_up else "1"
    candidates: list[tuple[str, str, str, float | None]] = [
        ("day", "one a day", "", counting.lowest_for(past, found, terms, 7.0)),
        ("week", "one a week", "", counting.lowest_for(past, found, terms, 1.0)),
        ("p99", f"p{share}", f"{share}% of all values lie below", counting.quantile(past, 0.99)),
    ]
    if usual is not None:
        hour = f"{_DAYS[usual.hour // 24]} {usual.hour % 24:02d}:00 UTC"
        side = "+" if is_up else "−"
        candidates.append(
            (
                "mad",
                f"median {side} 4·MAD",
                f"beyond the usual of every hour; it reaches farthest on {hour}",
                usual.limit,
            )
        )
    return [
        _mark(key, name, words, counting.nice(asked.sign * value, is_up), asked, past, terms, unit)
        for key, name, words, value in candidates
        if value is not None
    ]


def _mark(
    key: str, name: str, words: str, value: float, asked: Question, past: Past, terms: Terms, unit: Unit
) -> dict[str, Any]:
    rate = counting.firings(past, asked.sign * value, terms) / past.weeks
    text = format_value(value, unit)
    return {"key": key, "name": name, "words": words, "value": value, "text": text, "per_week": rate}


def replaced(expr: str, value: float) -> str:
    """A plain condition with another number; raises Refused when it is none."""
    split = promql.split_condition(expr)
    if split is None:
        raise Refused("The expression is no value compared with a number.")
    return f"{split.value} {split.operator} {value:.12g}"
