"""The one check of rules and thresholds, for admin, API, import and commands alike."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from alerts.engine import template
from monitoring import promql

if TYPE_CHECKING:
    from alerts.models.rules import Rule, Threshold

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def describe_parse_error(error: promql.ParseError) -> str:
    """The parser's message with line, column and a caret under the place."""
    return f"Line {error.line}, column {error.column}: {error.message}\n{error.caret_text}"


def _clean_map(value: Any, what: str, forbidden: frozenset[str]) -> None:
    if not isinstance(value, dict):
        raise ValidationError(f'Give {what} as a JSON object such as {{"team": "ml"}}.')
    problems = []
    for name, text in value.items():
        if not LABEL_NAME.fullmatch(name) or name in forbidden:
            problems.append(f"{name!r} cannot be a name here: use letters, digits and _, not starting with a digit.")
        elif not isinstance(text, str):
            problems.append(f"{name}: give a text in quotes, not {text!r}.")
        else:
            try:
                template.compile(text)
            except template.TemplateError as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise ValidationError(problems)


def clean_labels(value: Any) -> None:
    """Labels are names and templates; the names Prometheus reserves are refused. Raises ValidationError."""
    _clean_map(value, "labels", frozenset({"__name__", "alertname"}))


def clean_annotations(value: Any) -> None:
    """Annotations are names and templates. Raises ValidationError."""
    _clean_map(value, "annotations", frozenset())


def clean_rule(rule: Rule) -> None:
    """Refuse an expression that does not parse or gives no vector, and options a recording rule cannot have.

    Source of the rules: Prometheus 3, model/rulefmt (PR-10). Raises ValidationError by field.
    """
    problems: dict[str, list[str]] = {}
    try:
        query = promql.parse(rule.expr)
        if query.type not in ("vector", "scalar"):
            problems["expr"] = [f"The expression gives a {query.type}; a rule needs an instant vector or a scalar."]
    except promql.ParseError as error:
        problems["expr"] = [describe_parse_error(error)]
    if rule.kind == "record":
        if not METRIC_NAME.fullmatch(rule.name):
            problems["name"] = ["A recording rule is named like a metric: letters, digits, _ and :, no space."]
        if rule.hold_seconds or rule.keep_firing_seconds or rule.annotations:
            problems["kind"] = ["A recording rule has no “for”, no “keep firing for” and no annotations."]
    elif not rule.name.strip():
        problems["name"] = ["Give the rule a name."]
    if problems:
        raise ValidationError(problems)


def clean_threshold(row: Threshold) -> None:
    """Refuse a limit that is no finite number, a bad selector, half a band, a missing reason, a useless recovery."""
    problems: dict[str, list[str]] = {}
    for field in ("value", "upper", "recover_value"):
        number = getattr(row, field)
        if number is not None and not math.isfinite(number):
            problems[field] = ["Give a number."]
    try:
        promql.parse_matchers(row.selector or "{}")
    except promql.ParseError as error:
        problems["selector"] = [describe_parse_error(error)]
    is_band = row.operator in ("outside", "inside")
    if is_band and (row.upper is None or row.value is None or row.upper <= row.value):
        problems["upper"] = ["A band needs an upper limit that is greater than the limit."]
    if not is_band and row.upper is not None:
        problems["upper"] = ["Only a band (inside, outside) has an upper limit; empty this field."]
    if row.recover_value is not None and row.value is not None and not problems:
        wrong_side = (row.operator in (">", ">=") and row.recover_value > row.value) or (
            row.operator in ("<", "<=") and row.recover_value < row.value
        )
        if wrong_side or row.operator not in (">", ">=", "<", "<="):
            problems["recover_value"] = ["Recovery lies on the good side of the limit, for above and below only."]
    problems.update(_scope_problems(row))
    if not row.is_default and not row.reason.strip():
        problems["reason"] = ["Say why these series have a limit of their own; your colleagues will ask."]
    if problems:
        raise ValidationError(problems)


def _scope_problems(row: Threshold) -> dict[str, list[str]]:
    """What is wrong with the objects of the registry that a limit is for, by field."""
    if row.version_id is not None and row.version is not None:
        if row.model_id is not None and row.model_id != row.version.model_id:
            return {"version": [f"{row.version} is no version of {row.model}; choose one of its own or no model."]}
        if row.stage:
            return {"stage": ["A version is at one stage at a time: choose the version or the stage."]}
    elif row.stage and row.model_id is None:
        return {"model": ["Choose the model whose versions at this stage are meant."]}
    return {}
