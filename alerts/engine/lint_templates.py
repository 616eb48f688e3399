"""Lint of label and annotation templates: errors, and labels that make a new alert with every value (PT-7)."""

import re
from collections.abc import Iterator

from alerts.engine import template
from alerts.engine.findings import Facts, Finding, Level, RuleDraft
from alerts.engine.sentence_query import describe_query
from alerts.engine.template import Context, Surroundings, Template, TemplateError
from alerts.engine.units import Quantity, unit_of
from monitoring.promql import Labels, ParseError, Query, parse, split_condition

_CHANGING = {"value": "$value", "query": "query", "now": "now"}
_LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)")
_PERCENTAGE = re.compile(r"humanizePercentage")
# How a value of each quantity is written in a template, with what follows it; anything else is a plain number.
_READABLE = {
    Quantity.SECONDS: ("humanizeDuration", ""), Quantity.RATIO: ("humanizePercentage", ""),
    Quantity.BYTES: ("humanize1024", "B"), Quantity.PERCENT: ('printf "%.1f"', "%"),
}  # fmt: skip
# What an alert is about, the most telling first.
_SUBJECTS = ("model_name", "host", "instance")
# Functions that fail on an empty answer would be reported for every rule, so a trial gets one sample.
_TRIAL_ANSWER = [(Labels.of({"__name__": "trial"}), 1.0)]


def lint_templates(rule: RuleDraft, facts: Facts) -> list[Finding]:
    """Return the findings about all templates of a rule."""
    found: list[Finding] = []
    for kind, texts in (("labels", rule.labels or {}), ("annotations", rule.annotations or {})):
        for name, text in texts.items():
            found += _lint_template(f"{kind}.{name}", text, rule, facts)
    return found


def _lint_template(field: str, text: str, rule: RuleDraft, facts: Facts) -> Iterator[Finding]:
    try:
        compiled = template.compile(text)
    except TemplateError as error:
        yield Finding("template-error", Level.ERROR, error.message, field, error.line, error.column)
        return
    try:
        compiled.render(_trial(rule, facts))
    except TemplateError as error:
        message = f"a trial expansion failed: {_without_place(error.message)}"
        yield Finding("template-trial", Level.WARNING, message, field, error.line, error.column)
    if field.startswith("labels."):
        yield from _changing(field, compiled)
    yield from _unknown_labels(field, text, facts)
    yield from _percent_twice(field, text, rule)


def _without_place(message: str) -> str:
    """Drop Go's "template: name:1:5: executing …" from a message whose place is told apart."""
    return re.sub(r'^template: .*?: executing ".*?" ', "", message, flags=re.DOTALL)


def _trial(rule: RuleDraft, facts: Facts) -> Context:
    series = facts.series[0] if facts.series else Labels.of({})
    threshold = rule.thresholds[0] if rule.thresholds else None
    limit, severity = (threshold.value, threshold.severity) if threshold else (None, "")
    return Context(series, 1.0, limit, severity, Surroundings(query=lambda _: _TRIAL_ANSWER))


def _changing(field: str, compiled: Template) -> Iterator[Finding]:
    causes = [word for use, word in _CHANGING.items() if use in compiled.uses]
    if causes:
        text = (
            f"a label made from {' and '.join(causes)} is a new alert, with its own waiting time, whenever it changes"
        )
        if "value" in compiled.uses and field == "labels.severity":
            text += "; use one threshold row per severity instead"
        yield Finding("changing-label", Level.WARNING, text, field)


def _unknown_labels(field: str, text: str, facts: Facts) -> Iterator[Finding]:
    if not facts.series:
        return
    known = {name for series in facts.series for name, _ in series}
    for match in _LABEL.finditer(text):
        if match[1] not in known:
            message = f'no series of this rule has the label "{match[1]}": the text will be empty there'
            line = text.count("\n", 0, match.start()) + 1
            column = match.start() - text.rfind("\n", 0, match.start())
            yield Finding("unknown-template-label", Level.WARNING, message, field, line, column)


def _percent_twice(field: str, text: str, rule: RuleDraft) -> Iterator[Finding]:
    """humanizePercentage multiplies by 100, so 85 percent would read 8500%."""
    match = _PERCENTAGE.search(text)
    if match is None:
        return
    try:
        query = parse(rule.expr)
    except ParseError:
        return
    condition = split_condition(query)
    unit = unit_of(query if condition is None else parse(condition.value))
    if unit.quantity is Quantity.PERCENT:
        message = "the value is in percent already; humanizePercentage shows it 100 times too large"
        better = re.sub(r"\|\s*humanizePercentage", '| printf "%.1f%%"', text)
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        yield Finding("percent-twice", Level.WARNING, message, field, line, column, better if better != text else "")


def suggested_summary(rule: RuleDraft, query: Query, facts: Facts) -> str:
    """Return a summary that says what is measured, of whom, how much it is and beside which limit; "" for no words."""
    condition = None if rule.thresholds else split_condition(query)
    measured = parse(condition.value) if condition is not None else query
    phrase = describe_query(measured)
    if "{{" in phrase:  # it would be read as a template
        return ""
    unit = unit_of(measured)
    function, after = _READABLE.get(unit.quantity, ("humanize", ""))
    after += "/s" if unit.is_rate else ""
    known = {name for series in (facts.series or ())[:1] for name, _ in series}
    subject = next((f" of {{{{ $labels.{name} }}}}" for name in _SUBJECTS if name in known), "")
    limit = f", limit {{{{ $threshold | {function} }}}}{after}" if rule.thresholds else ""
    phrase = f"T{phrase[1:]}" if phrase.startswith("the ") else phrase  # a metric keeps its name
    return f"{phrase}{subject} is {{{{ $value | {function} }}}}{after}{limit}"
