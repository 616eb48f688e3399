"""Rules and thresholds as a plain rule file of Prometheus that fires for the same series.

A rule with threshold rows becomes a rule for each severity and limit. What Prometheus cannot say, such as recovery
values and what happens without data, stands in comments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from alerts.engine import template
from alerts.engine.durations import format_duration
from alerts.engine.sentence import severity_rank
from alerts.engine.thresholds import Operator, Threshold
from alerts.models import Rule, RuleGroup
from alerts.prepared import limit_of
from alerts.rulefile.guards import Condition, conditions

_NO_DATA = {
    Rule.NoData.KEEP: "without data the portal keeps the alert; Prometheus resolves it",
    Rule.NoData.FIRE: "without data the portal fires; Prometheus resolves",
    Rule.NoData.RESOLVE_AFTER: "without data the portal waits before it resolves; Prometheus resolves at once",
}


@dataclass(frozen=True)
class PlainRule:
    """One rule of the file: its fields in Prometheus' order, and what it cannot say."""

    fields: Mapping[str, Any]
    comments: tuple[str, ...] = ()


def plain_rules(rule: Rule, rows: Iterable[Threshold], at: datetime) -> list[PlainRule]:
    """Return the rules of Prometheus that a rule with its rows stands for at `at`; rows that count no more are out."""
    if rule.kind == Rule.Kind.RECORD:
        labels = {"labels": dict(rule.labels)} if rule.labels else {}
        return [PlainRule({"record": rule.name, "expr": rule.expr, **labels})]
    given = list(rows)
    if not given:
        return [PlainRule(_alert(rule, rule.expr, rule.labels, rule.annotations, rule.hold_seconds))]
    by_severity: dict[str, list[Threshold]] = defaultdict(list)
    for row in given:
        if row.counts_at(at):
            by_severity[row.severity].append(row)
    return [
        _limited(rule, severity, condition)
        for severity in sorted(by_severity, key=severity_rank)
        for condition in conditions(rule.expr, by_severity[severity])
    ]


def _limited(rule: Rule, severity: str, condition: Condition) -> PlainRule:
    row = condition.row
    head = _presets(row, severity)
    labels = {name: _preset(head, text) for name, text in rule.labels.items()} | {"severity": severity}
    annotations = {name: _preset(head, text) for name, text in rule.annotations.items()}
    hold = rule.hold_seconds if row.hold_seconds is None else row.hold_seconds
    return PlainRule(_alert(rule, condition.text, labels, annotations, hold), tuple(_comments(rule, row)))


def _alert(
    rule: Rule, expr: str, labels: Mapping[str, str], annotations: Mapping[str, str], hold_seconds: float
) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.name, "expr": expr}
    if hold_seconds:
        found["for"] = format_duration(hold_seconds)
    if rule.keep_firing_seconds:
        found["keep_firing_for"] = format_duration(rule.keep_firing_seconds)
    return found | {name: dict(texts) for name, texts in (("labels", labels), ("annotations", annotations)) if texts}


def _presets(row: Threshold, severity: str) -> Mapping[str, str]:
    """What defines $threshold and $severity, which Prometheus does not know, at the start of a template."""
    # With a point: Go compares a float with no whole number.
    limit = f"{{{{ $threshold := {float(row.value)!r} }}}}"
    if row.operator is Operator.OUTSIDE and row.upper is not None:
        upper = repr(float(row.upper))
        limit += f"{{{{ if gt $value {upper} }}}}{{{{ $threshold = {upper} }}}}{{{{ end }}}}"
    return {"threshold": limit, "severity": f'{{{{ $severity := "{severity}" }}}}'}


def _preset(head: Mapping[str, str], text: str) -> str:
    try:
        uses = template.compile(text).uses
    except template.TemplateError:
        return text
    return "".join(definition for name, definition in head.items() if name in uses) + text


def _comments(rule: Rule, row: Threshold) -> Iterator[str]:
    if row.reason:
        yield row.reason
    if row.recover_value is not None:
        word = "with a margin of" if row.operator.is_band else "at"
        yield f"the portal resolves {word} {row.recover_value:g}; Prometheus as soon as the condition is false"
    if row.expires_at is not None:
        yield f"the limit holds until {row.expires_at:%Y-%m-%d %H:%M} UTC in the portal"
    if rule.no_data in _NO_DATA:
        yield _NO_DATA[Rule.NoData(rule.no_data)]


def export(
    groups: Sequence[RuleGroup],
    at: datetime,
    lives: Iterable[str] = (Rule.Life.LIVE,),
    only: Collection[int] = (),
) -> str:
    """Return the text of a rule file with the rules of these groups in one of `lives`; `only`: the ids of some."""
    names: set[str] = set()
    parts = []
    for group in groups:
        rules = group.rules.filter(life__in=list(lives)).prefetch_related("thresholds").order_by("position", "id")
        rules = rules.filter(pk__in=only) if only else rules
        plain = [one for rule in rules for one in plain_rules(rule, map(limit_of, rule.thresholds.all()), at)]
        if plain:
            parts.append(_group_text(group, _unused(group.name, names), plain))
    return "groups:\n" + "".join(parts) if parts else "groups: []\n"


def _unused(name: str, names: set[str]) -> str:
    """A name that no other group of the file has: ours are told apart by their file as well."""
    found = next(one for one in (name, *(f"{name} {number}" for number in range(2, 100_000))) if one not in names)
    names.add(found)
    return found


def _group_text(group: RuleGroup, name: str, rules: Iterable[PlainRule]) -> str:
    head: dict[str, Any] = {"name": name, "interval": format_duration(group.interval_seconds)}
    if group.limit:
        head["limit"] = group.limit
    if group.query_offset_seconds:
        head["query_offset"] = format_duration(group.query_offset_seconds)
    text = _item(_dumped(head), "") + "  rules:\n"
    for rule in rules:
        text += "".join(f"  # {line}\n" for comment in rule.comments for line in comment.splitlines())
        text += _item(_dumped(rule.fields), "  ")
    return text


def _dumped(value: Mapping[str, Any]) -> str:
    return str(yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000))


def _item(text: str, indent: str) -> str:
    """A mapping's text as an item of a list."""
    first, *others = text.splitlines()
    return f"{indent}- {first}\n" + "".join(f"{indent}  {line}\n" if line else "\n" for line in others)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text and not any(line != line.rstrip() for line in text.splitlines()) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
