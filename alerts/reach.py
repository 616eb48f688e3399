"""Which limits reach a model: live rules that ask for metrics of it, with the rows that apply to its series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from alerts.engine.units import Unit, format_value, unit_of
from alerts.models import Rule, Severity
from alerts.prepared import EVALUATED, limit_of
from monitoring import promql, query
from monitoring.promql import NAME, Labels, Matcher

MODEL = "model_name"
_BANDS = {"outside": "outside {} to {}", "inside": "inside {} to {}"}


@dataclass(frozen=True)
class Reaching:
    """One limit on a model: of a threshold row, or written into a rule's condition.

    `selector` is the row's; `is_override` when it names the model. `values`: the numbers of the limit, for charts.
    """

    rule_id: int
    rule: str
    severity: str
    words: str
    selector: str
    is_override: bool
    metrics: frozenset[str]
    values: tuple[float, ...]


def reaching(model: str, at: datetime) -> list[Reaching]:
    """Return the limits that reach a model at `at`, overrides of a rule before its defaults; raises QueryError."""
    there = set(query.label_values(NAME, (Matcher("=", MODEL, model),)))
    if not there:
        return []
    rules = Rule.objects.filter(life__in=EVALUATED, kind=Rule.Kind.ALERT, group__is_enabled=True)
    found: list[Reaching] = []
    for rule in rules.prefetch_related("thresholds").order_by("name"):
        try:
            asked = promql.parse(rule.expr)
        except promql.ParseError:
            continue  # the rule's own page says so
        if any(_asks(selector.matchers, there, model) for selector in asked.selectors()):
            found += sorted(_limits(rule, asked, model, at), key=lambda one: (not one.is_override, one.severity))
    return found


def _asks(matchers: tuple[Matcher, ...], there: set[str], model: str) -> bool:
    """Whether a selector asks for a metric that the model has, of that model."""
    labels = Labels.of({MODEL: model})
    if any(one.name == MODEL and not one.matches(labels.get(MODEL)) for one in matchers):
        return False
    names = [one for one in matchers if one.name == NAME]
    return any(all(one.matches(name) for one in names) for name in there)


def _limits(rule: Rule, asked: promql.Query, model: str, at: datetime) -> Iterator[Reaching]:
    rows = list(rule.thresholds.all())
    metrics = frozenset(asked.metric_names())
    if not rows:
        yield _condition(rule, asked, metrics)
    for row in rows:
        limit = limit_of(row)
        of_model = [one for one in limit.matchers if one.name == MODEL]
        if limit.counts_at(at) and all(one.matches(model) for one in of_model):
            values = (limit.value,) if limit.upper is None else (limit.value, limit.upper)
            words = _words(row.operator, values, unit_of(asked))
            yield Reaching(rule.pk, rule.name, row.severity, words, row.applies_to, bool(of_model), metrics, values)


def _condition(rule: Rule, asked: promql.Query, metrics: frozenset[str]) -> Reaching:
    split = promql.split_condition(asked)
    severity = rule.labels.get("severity", "")
    severity = severity if severity in Severity.values else ""
    if split is None:
        return Reaching(rule.pk, rule.name, severity, rule.expr[:200], "", False, metrics, ())
    words = _words(split.operator, (split.number,), unit_of(promql.parse(split.value)))
    return Reaching(rule.pk, rule.name, severity, words, "", False, metrics, (split.number,))


def _words(operator: str, values: tuple[float, ...], unit: Unit) -> str:
    texts = [format_value(value, unit) for value in values]
    return _BANDS[operator].format(*texts) if operator in _BANDS else f"{operator} {texts[0]}"
