"""A rule in plain words: when it fires, as what, when it ends; for the form, the list and messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerts.engine.sentence_query import comparison_words, describe_query
from alerts.engine.state import NoDataPolicy
from alerts.engine.threshold_explain import describe_limit
from alerts.engine.thresholds import Operator, Threshold
from alerts.engine.units import Unit, format_value, in_words, unit_of
from monitoring.promql import ParseError, Query, parse, split_condition

# From the mildest to the worst; the sentence goes up. Other severities come last, by name.
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class RuleWords:
    """What the sentence needs to know of a rule; times in seconds, thresholds only those that are enabled."""

    expr: str
    thresholds: Sequence[Threshold] = ()
    hold_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    no_data: NoDataPolicy = NoDataPolicy.KEEP
    no_data_seconds: float = 0.0
    labels: Mapping[str, str] | None = None


def severity_rank(severity: str) -> tuple[int, str]:
    """Return where a severity stands, the mildest first; unknown ones come last, by name."""
    known = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
    return known, severity


def sentence(rule: RuleWords) -> str:
    """Return the rule in plain words, one to four sentences; an expression with an error says only that."""
    try:
        query = parse(rule.expr)
    except ParseError as error:
        return f"Cannot be evaluated: line {error.line}, column {error.column}: {error.message}."
    first = _with_thresholds(rule, query) if rule.thresholds else _plain(rule, query)
    return " ".join([first, *_endings(rule, bool(rule.thresholds), unit_of(query))])


def record_sentence(name: str, expr: str, interval_seconds: float) -> str:
    """Return in plain words what a recording rule does."""
    try:
        measured = describe_query(parse(expr))
    except ParseError as error:
        return f"Cannot be evaluated: line {error.line}, column {error.column}: {error.message}."
    return f"Stores {measured} as {name} every {in_words(interval_seconds)}."


def _with_thresholds(rule: RuleWords, query: Query) -> str:
    defaults = [row for row in rule.thresholds if not row.matchers]
    overrides = len(rule.thresholds) - len(defaults)
    unit, measured = unit_of(query), describe_query(query)
    ordered = sorted(_ruling(defaults), key=lambda row: severity_rank(row.severity))
    if not ordered:
        return f"Fires for the series named by {_count(overrides, 'row')} below when {measured} is past their limit."
    clauses = [_clause(row, rule, unit, measured if position == 0 else "") for position, row in enumerate(ordered)]
    tail = f" {_count(overrides, 'override')} for some series." if overrides else ""
    return f"Fires {'; '.join(clauses)}.{tail}"


def _ruling(defaults: Sequence[Threshold]) -> list[Threshold]:
    """Return the default row of each severity that counts: the highest priority, then the newest."""
    best: dict[str, Threshold] = {}
    for row in sorted(defaults, key=lambda row: (row.priority, row.created_seq, row.id)):
        best[row.severity] = row
    return list(best.values())


def _clause(row: Threshold, rule: RuleWords, unit: Unit, measured: str) -> str:
    hold = rule.hold_seconds if row.hold_seconds is None else row.hold_seconds
    same_hold = not measured and row.hold_seconds is None
    when = f"when {measured} is " if measured else ""
    return f"as {row.severity} {when}{describe_limit(row, unit)}{'' if same_hold else _hold(hold)}"


def _hold(seconds: float) -> str:
    return f" for {in_words(seconds)}" if seconds else ", at once"


def _plain(rule: RuleWords, query: Query) -> str:
    severity = _severity_words((rule.labels or {}).get("severity", ""))
    found = split_condition(query)
    if found is not None:
        value = parse(found.value)
        limit = f"{comparison_words(found.operator)} {format_value(found.number, unit_of(value))}"
        return f"Fires{severity} when {describe_query(value)} is {limit}{_hold(rule.hold_seconds)}."
    measured = describe_query(query)
    if measured.startswith("the absence of "):
        return f"Fires{severity} when {measured.removeprefix('the absence of ')} is missing{_hold(rule.hold_seconds)}."
    return f"Fires{severity} for every series that {measured} returns{_hold(rule.hold_seconds)}."


def _severity_words(severity: str) -> str:
    if "{{" in severity:
        return " with a severity from a template"
    return f" as {severity}" if severity else ""


def _endings(rule: RuleWords, has_values: bool, unit: Unit) -> list[str]:
    """Return the sentences about recovery, keep firing and missing data; the last only where they are told apart."""
    recovering = [(row, row.recover_value) for row in rule.thresholds if not row.matchers]
    said = [_recovery(row, recover, unit) for row, recover in recovering if recover is not None]
    if rule.keep_firing_seconds:
        said.append(f"Keeps firing for {in_words(rule.keep_firing_seconds)} after it ends.")
    if has_values:
        said.append(_NO_DATA[rule.no_data].format(in_words(rule.no_data_seconds)))
    return said


def _recovery(row: Threshold, recover: float, unit: Unit) -> str:
    limit = format_value(recover, unit)
    if row.operator.is_band:
        side = "inside" if row.operator is Operator.OUTSIDE else "outside"
        return f"A firing {row.severity} ends {limit} {side} the band."
    return f"A firing {row.severity} ends when no longer {comparison_words(row.operator)} {limit}."


_NO_DATA = {
    NoDataPolicy.KEEP: "Without data it stays as it is.",
    NoDataPolicy.FIRE: "Missing data counts as too much.",
    NoDataPolicy.RESOLVE: "Without data it ends, told as no data.",
    NoDataPolicy.RESOLVE_AFTER: "After {} without data it ends, told as no data.",
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
