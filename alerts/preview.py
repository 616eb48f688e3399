"""The live check of a rule as it is typed: nothing is saved, nothing is told.

Joins parser, store, thresholds, sentence and lint into one answer that a form can show. It asks the same question with
the same code as the evaluator, so "would fire" here is what the next evaluation would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from alerts import graph, message_preview, outgoing, winners
from alerts.condition import Finding, find
from alerts.engine import lint, template, thresholds
from alerts.engine.durations import format_duration
from alerts.engine.findings import Finding as Remark
from alerts.engine.findings import Level, RuleDraft
from alerts.engine.identity import IdentityBuilder
from alerts.engine.sentence import RuleWords, record_sentence, sentence
from alerts.engine.state import DuplicateLabelsError, NoDataPolicy, RuleSpec, StateError
from alerts.engine.thresholds import Threshold as Limit
from alerts.engine.units import PLAIN, Unit, format_value, unit_of
from alerts.facts import Known
from alerts.models import Rule, Threshold
from alerts.nearest import Past, SeriesNow, excess_of, nearest, plain
from alerts.prepared import PreparedRule, limit_of
from alerts.spread import reach, scopes
from monitoring import promql, query
from monitoring.promql import Labels, Limits, QueryError

# A form is checked at every pause of the typist: a question that takes longer is not worth waiting for there.
CHECK_LIMITS = Limits(timeout_seconds=5.0, max_series=50_000)
CHART_SPAN = timedelta(hours=1)
# Rows typed and not saved yet are newer than every saved one.
_UNSAVED = 1 << 40
# How many series a row matches is counted one by one; past this only how many it rules.
_COUNTED_ROWS = 50


@dataclass(frozen=True)
class TypedRow:
    """A threshold row of the form: its place there, and the row unless what was typed cannot be one."""

    place: str
    row: Threshold | None = None
    problem: str = ""


@dataclass(frozen=True)
class RowNow:
    """What one threshold row does now, in words; `tone` is "firing", "quiet" or "problem"."""

    place: str
    words: str
    tone: str = "quiet"


@dataclass(frozen=True)
class ParseProblem:
    """Where and why the expression is no PromQL; `caret` is the line with a caret under the place."""

    message: str
    line: int
    column: int
    caret: str


@dataclass
class Check:
    """All that can be said about a rule as typed."""

    parse_problem: ParseProblem | None = None
    problem: str = ""  # it parses, but cannot be evaluated
    type: str = ""
    sentence: str = ""
    series_count: int = 0
    outcome: str = ""  # would it fire now
    tone: str = "ok"  # of the outcome: ok, critical or warning
    split_value: str = ""  # a plain condition was measured by this part of it
    nearest: list[SeriesNow] = field(default_factory=list)
    more: int = 0
    rows: list[RowNow] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    unit: Unit = PLAIN
    reach: str = ""  # what the question speaks of: 3 models on 2 hosts
    scopes: dict[str, list[str]] = field(default_factory=dict)  # the labels that a limit can be told apart by
    ties: dict[str, str] = field(default_factory=dict)  # by place: another row is as exact
    series: list[str] = field(default_factory=list)  # of which one may ask which row wins
    chosen: str = ""
    rulings: list[winners.Ruling] = field(default_factory=list)
    told: message_preview.Told | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the rule could be evaluated."""
        return self.parse_problem is None and not self.problem


def check(
    rule: Rule, rows: Sequence[TypedRow], at: datetime, interval_seconds: float = 15.0, chosen: str = ""
) -> Check:
    """Check a rule as typed with its rows; `rule` need not be saved, nor valid. `chosen`: a series to explain."""
    found = Check()
    try:
        parsed = promql.parse(rule.expr)
    except promql.ParseError as error:
        found.parse_problem = ParseProblem(error.message, error.line, error.column, error.caret_text)
        found.rows = [RowNow(one.place, one.problem, "problem") for one in rows if one.problem]
        return found
    limits, found.rows = _limits(rows)
    enabled = [limit for limit in limits.values() if limit.is_enabled]
    unit = unit_of(parsed)
    found.type = parsed.type
    found.sentence = _sentence(rule, enabled, interval_seconds)
    prepared = _ready(rule, tuple(limits.values()), found)
    finding = _ask(prepared, at, found) if prepared is not None else None
    if prepared is not None and finding is not None:
        found.series_count = finding.series_count
        found.unit = unit
        found.scopes = scopes(finding.labels)
        found.reach = reach(finding.labels)
        behind = _weigh(found, rule, finding, limits, unit, at)
        if rule.kind == Rule.Kind.ALERT:
            found.told = message_preview.told(prepared, finding, behind)
        if finding.resolution is not None and len(limits) > 1:
            places = {number: one.place for number, one in enumerate(rows, 1)}
            _tell_rows_apart(found, finding, limits, places, chosen)
    numbered = {number: limits[one.place] for number, one in enumerate(rows, 1) if one.place in limits}
    places = {number: one.place for number, one in enumerate(rows, 1)}
    found.remarks = [_placed(remark, places) for remark in _remarks(rule, numbered, finding, at, interval_seconds)]
    return found


def chart(expr: str, rows: Sequence[TypedRow], at: datetime) -> dict[str, Any]:
    """The last hour of a rule's value with its default limits as lines; raises QueryError.

    {"data": columns, "unit": the browser's word, "thresholds": [{"value", "label", "severity"}]}.
    """
    parsed = promql.parse(expr)
    limits, _ = _limits(rows)
    lines = [
        {"value": value, "label": limit.severity, "severity": limit.severity}
        for limit in limits.values()
        if limit.is_enabled and not limit.matchers
        for value in (limit.value, limit.upper)
        if value is not None
    ]
    split = promql.split_condition(parsed)
    if split is not None and not limits:
        parsed = promql.parse(split.value)
        lines = [{"value": split.number, "label": "limit", "severity": "warning"}]
    data = graph.columns(parsed, at - CHART_SPAN, at, limits=CHECK_LIMITS)
    return {"data": data, "unit": graph.unit_name(unit_of(parsed)), "thresholds": lines}


def _limits(rows: Sequence[TypedRow]) -> tuple[dict[str, Limit], list[RowNow]]:
    """The engine's form of the usable rows by place, and what is wrong with the others."""
    usable: dict[str, Limit] = {}
    told: list[RowNow] = []
    for number, typed in enumerate(rows):
        if typed.row is None or typed.problem:
            told.append(RowNow(typed.place, typed.problem or "not complete", "problem"))
            continue
        try:
            limit = limit_of(typed.row)
        except (ValueError, QueryError) as error:
            told.append(RowNow(typed.place, str(error), "problem"))
            continue
        known = typed.row.pk or _UNSAVED + number
        usable[typed.place] = replace(limit, id=known, created_seq=known)
    return usable, told


def _sentence(rule: Rule, enabled: Sequence[Limit], interval_seconds: float) -> str:
    if rule.kind == Rule.Kind.RECORD:
        return record_sentence(rule.name, rule.expr, interval_seconds)
    return sentence(
        RuleWords(
            expr=rule.expr,
            thresholds=enabled,
            hold_seconds=rule.hold_seconds or 0.0,
            keep_firing_seconds=rule.keep_firing_seconds or 0.0,
            no_data=NoDataPolicy(rule.no_data),
            no_data_seconds=rule.no_data_resolve_seconds or 0.0,
            labels=_texts(rule.labels),
        )
    )


def _ready(rule: Rule, limits: tuple[Limit, ...], found: Check) -> PreparedRule | None:
    """The rule as the evaluator takes it; why it cannot be one is noted in `found`."""
    try:
        return PreparedRule(
            rule=rule,
            query=promql.parse(rule.expr),
            problem="",
            spec=RuleSpec(),
            limits=limits,
            has_thresholds=bool(limits),
            identities=IdentityBuilder(rule.name or "unnamed", _texts(rule.labels)),
            annotations=dict(_templates(_texts(rule.annotations))),
            outgoing=outgoing.current(),
        )
    except template.TemplateError as error:
        found.problem = str(error)
        return None


def _templates(texts: Mapping[str, str]) -> Iterator[tuple[str, template.Template]]:
    """The annotations that can be expanded; what is wrong with the others is said beside them."""
    for name, text in texts.items():
        with suppress(template.TemplateError):
            yield name, template.compile(text)


def _ask(prepared: PreparedRule, at: datetime, found: Check) -> Finding | None:
    """What the evaluator would find now; the reason it could not is noted in `found`."""
    try:
        finding = find(prepared, at, query.for_slot(at), {})
        _refuse_twins(finding)
    except (QueryError, StateError, template.TemplateError) as error:
        found.problem = str(error)
        return None
    return finding


def _refuse_twins(finding: Finding) -> None:
    """Raise what the evaluator's next step would: two series must not become one alert (PA-3)."""
    seen: set[Labels] = set()
    for identity in finding.active.identities:
        if identity in seen:
            raise DuplicateLabelsError(identity)
        seen.add(identity)


def _texts(pairs: Any) -> dict[str, str]:
    """The pairs that are texts; anything else is said beside its field."""
    if not isinstance(pairs, dict):
        return {}
    return {name: text for name, text in pairs.items() if isinstance(text, str)}


def _weigh(
    found: Check, rule: Rule, finding: Finding, limits: dict[str, Limit], unit: Unit, at: datetime
) -> tuple[Sequence[Labels], Sequence[float]]:
    """Say what the values mean: per row, nearest to the limit, and whether it would fire.

    Returns labels and values that a plain condition compares; nothing where rows compare.
    """
    behind: tuple[Sequence[Labels], Sequence[float]] = ((), ())
    if rule.kind == Rule.Kind.RECORD:
        found.outcome = f"Would store {_count(finding.series_count, 'series', 'series')} as {rule.name or 'its name'}."
        found.nearest, found.more = plain(finding.labels, finding.values, unit)
        return behind
    if finding.resolution is not None:
        past = thresholds.compare(finding.values, finding.resolution, None)
        found.rows += _rows_now(finding, finding.resolution, past, limits, unit, at)
        found.nearest, found.more = nearest(finding.labels, finding.values, finding.resolution, past, unit)
    else:
        found.nearest, found.more, behind = _of_condition(found, rule, finding, unit, at)
    _tell_outcome(found, rule, finding)
    return behind


def _tell_rows_apart(
    found: Check, finding: Finding, limits: dict[str, Limit], places: dict[int, str], chosen: str
) -> None:
    """Name ties between rows, and say which row wins for the chosen series; rows are counted from 1."""
    numbered = {number: limits[place] for number, place in places.items() if place in limits}
    if len(limits) <= _COUNTED_ROWS:
        told = winners.ties(numbered, finding.labels, finding.at)
        found.ties = {places[number]: words for number, words in told.items()}
    by_text = {str(labels): labels for labels in finding.labels[: winners.MOST_SERIES]}
    found.series = sorted(by_text)
    if chosen in by_text:
        found.chosen = chosen
        found.rulings = winners.rulings(numbered, by_text[chosen], finding.at, found.unit)


def _tell_outcome(found: Check, rule: Rule, finding: Finding) -> None:
    severities: dict[str, int] = {}
    for identity in finding.active.identities:
        severity = identity.get("severity")
        severities[severity] = severities.get(severity, 0) + 1
    found.tone = "critical" if severities else "ok"
    if not severities:
        found.outcome = "Would not fire now." if finding.series_count or finding.resolution is None else ""
        if finding.resolution is not None and not finding.series_count:
            found.outcome, found.tone = "Cannot fire: the expression finds no series now.", "warning"
        return
    counts = [f"{count} {severity}".strip() for severity, count in sorted(severities.items())]
    holds = finding.active.hold_seconds
    hold = min((rule.hold_seconds or 0.0) if one is None else one for one in (holds or [None]))
    when = f"is past its limit now and fires after {format_duration(hold)}" if hold else "would fire at once"
    total = sum(severities.values())
    if total > 1:
        when = when.replace("is past its limit now and fires", "are past their limits now and fire")
    found.outcome = f"{' and '.join(counts)} {'alert' if total == 1 else 'alerts'} {when}."


def _rows_now(
    finding: Finding,
    resolution: thresholds.Resolution,
    past: Past,
    limits: dict[str, Limit],
    unit: Unit,
    at: datetime,
) -> Iterator[RowNow]:
    places = {row.id: index for index, row in enumerate(resolution.rows)}
    for place, limit in limits.items():
        index = places.get(limit.id)
        if index is None:
            words = "switched off" if not limit.is_enabled else "expired"
            yield RowNow(place, words)
            continue
        ruled = resolution.winners[limit.severity] == index
        count, firing = int(ruled.sum()), int((past[limit.severity] & ruled).sum())
        yield RowNow(place, _row_words(finding, limit, ruled, count, firing, len(limits), unit), _tone(firing))


def _tone(firing: int) -> str:
    return "firing" if firing else "quiet"


def _row_words(
    finding: Finding, limit: Limit, ruled: np.ndarray, count: int, firing: int, rows: int, unit: Unit
) -> str:
    matched = count
    if not limit.matchers:
        matched = finding.series_count
    elif rows <= _COUNTED_ROWS:
        matched = sum(limit.matches(labels) for labels in finding.labels)
    if not count:
        if matched:
            return f"matches {_count(matched, 'series', 'series')}, all ruled by stronger rows"
        return "matches no series now"
    says = [f"matches {_count(matched, 'series', 'series')}"]
    if matched != count:
        says.append(f"rules {count} of them")
    places = np.flatnonzero(ruled)
    worst = places[np.argmax(excess_of(finding.values[places], limit))]
    now = format_value(float(finding.values[worst]), unit)
    says.append(f"now {now}" if count == 1 else f"nearest {now}")
    says.append(f"would fire: {firing if firing > 1 else 'yes' if firing else 'no'}")
    return ", ".join(says)


def _of_condition(
    found: Check, rule: Rule, finding: Finding, unit: Unit, at: datetime
) -> tuple[list[SeriesNow], int, tuple[Sequence[Labels], Sequence[float]]]:
    """The values behind a plain condition: of `value > 5` the value, else what it returned."""
    returned = (finding.labels, finding.values.tolist())
    split = promql.split_condition(rule.expr)
    try:
        answer = query.instant(split.value, at, limits=CHECK_LIMITS) if split is not None else None
    except QueryError:
        answer = None
    if split is None or answer is None:
        return *plain(finding.labels, finding.values, unit, is_past=True), returned
    found.split_value = split.value
    limit = Limit(0, "", thresholds.Operator(split.operator), split.number)
    values = np.asarray(answer.values, dtype=float)
    resolution = thresholds.resolve((limit,), answer.labels, at)
    past = thresholds.compare(values, resolution, None)
    order = np.argsort(-excess_of(values, limit), kind="stable")[: message_preview.MOST_SERIES].tolist()
    behind = ([answer.labels[place] for place in order], values[order].tolist())
    return *nearest(answer.labels, values, resolution, past, unit), behind


def _placed(remark: Remark, places: Mapping[int, str]) -> Remark:
    """The remark with the name of the form's field in place of a row's number."""
    kind, _, number = remark.field.partition(".")
    return replace(remark, field=f"{places[int(number)]}-value") if kind == "thresholds" else remark


def _remarks(
    rule: Rule, rows: Mapping[int, Limit], finding: Finding | None, at: datetime, interval_seconds: float
) -> list[Remark]:
    """What lint says, the warnings of the evaluation first; rows are counted from 1, as they stand in the form."""
    draft = RuleDraft(
        name=rule.name,
        expr=rule.expr,
        kind=rule.kind,
        hold_seconds=rule.hold_seconds or 0.0,
        keep_firing_seconds=rule.keep_firing_seconds or 0.0,
        interval_seconds=interval_seconds,
        labels=_texts(rule.labels),
        annotations=_texts(rule.annotations),
        thresholds=[replace(row, id=number) for number, row in rows.items() if row.is_enabled],
    )
    facts = Known().about(rule.expr, list(finding.labels) if finding is not None else None)
    own = [Remark("evaluation", Level.WARNING, text) for text in (finding.warnings if finding else ())]
    return [*own, *lint.lint(draft, facts, at)]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
