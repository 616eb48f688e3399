"""What the rows of a rule file would be: each rule checked, and where it can be, split into value and threshold.

A split rule fires for the same series under the same labels as the file's own condition: the label severity, taken
off the rule, comes back from its threshold row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from django.core.exceptions import ValidationError

from alerts.engine.identity import SEVERITY
from alerts.models import Rule, RuleGroup, Severity, Threshold
from alerts.rulefile.read import FileGroup, FileRule
from alerts.rulefile.yaml_nodes import FileError
from monitoring import promql

_FIELD_NAMES = {"hold_seconds": "for", "keep_firing_seconds": "keep_firing_for"}


class Unit(NamedTuple):
    """What Prometheus takes for the same rule in an old and a new file: kind, name and labels (manager.go CopyState).

    One rule of ours may stand for several, one a severity.
    """

    kind: str
    name: str
    labels: tuple[tuple[str, str], ...]
    severity: str


@dataclass
class WantedRule:
    """One rule as it shall be: unsaved rows, and why it was not split."""

    rule: Rule
    limits: list[Threshold] = field(default_factory=list)
    why_whole: str = ""
    line: int = 0

    @property
    def units(self) -> list[Unit]:
        """Which rules of Prometheus it stands for."""
        return units_of(self.rule, [row.severity for row in self.limits])


@dataclass
class WantedGroup:
    """One group as it shall be."""

    group: RuleGroup
    rules: list[WantedRule]


@dataclass(frozen=True)
class Defaults:
    """What holds for groups that do not say it themselves, and whether conditions are split."""

    interval_seconds: float = 60.0
    query_offset_seconds: float = 0.0
    splits: bool = True


def units_of(rule: Rule, severities: Iterable[str]) -> list[Unit]:
    """Which rules of Prometheus a rule with threshold rows of these severities stands for."""
    labels = {name: text for name, text in rule.labels.items() if name != SEVERITY}
    key = tuple(sorted(labels.items()))
    found = dict.fromkeys(severities) or {rule.labels.get(SEVERITY, ""): None}
    return [Unit(rule.kind, rule.name, key, severity) for severity in found]


def wanted(groups: Iterable[FileGroup], owner: str, defaults: Defaults) -> list[WantedGroup]:
    """Return the rows that a file asks for; raises FileError with every rule that could never work."""
    problems: list[str] = []
    found = [_group(group, owner, defaults, problems) for group in groups]
    if problems:
        raise FileError(problems)
    return found


def _group(file: FileGroup, owner: str, defaults: Defaults, problems: list[str]) -> WantedGroup:
    interval, offset = file.interval_seconds, file.query_offset_seconds
    row = RuleGroup(
        name=file.name,
        interval_seconds=interval or defaults.interval_seconds,
        query_offset_seconds=defaults.query_offset_seconds if offset is None else offset,
        limit=file.limit,
        managed_by=owner,
    )
    try:
        row.clean_fields()
    except ValidationError as error:
        problems += [f"line {file.line}: group {file.name!r}: {text}" for text in error.messages]
    rules: list[WantedRule] = []
    for one in file.rules:
        problems += check(one)
        found = split(one) if defaults.splits else WantedRule(whole(one), line=one.line)
        if not rules or not _join(rules[-1], found, file.limit):
            rules.append(found)
    for position, found in enumerate(rules):
        found.rule.position = position
    return WantedGroup(row, rules)


def whole(file: FileRule) -> Rule:
    """The rule with its own condition, unsaved."""
    return Rule(
        kind=file.kind,
        name=file.name,
        expr=file.expr,
        hold_seconds=file.hold_seconds,
        keep_firing_seconds=file.keep_firing_seconds,
        labels=dict(file.labels),
        annotations=dict(file.annotations),
        no_data=Rule.NoData.RESOLVE,
        mutes_lower=False,
    )


def check(file: FileRule) -> list[str]:
    """What is wrong with a rule, each with the line it stands on: the same check as the form's."""
    try:
        whole(file).clean()
    except ValidationError as error:
        return [
            f"line {_line(file, name)}: {file.kind} {file.name!r}, {_FIELD_NAMES.get(name, name)}: {message}"
            for name, messages in error.message_dict.items()
            for message in messages
        ]
    return [f"line {file.line}: the name has more than 200 characters"] if len(file.name) > 200 else []


def _line(file: FileRule, name: str) -> int:
    return file.lines.get({"name": file.kind, "kind": file.kind}.get(name, name), file.line)


def split(file: FileRule) -> WantedRule:
    """The rule as value and threshold row where that says the same, else whole with the reason."""
    rule = whole(file)
    why = why_whole(file)
    condition = None if why else promql.split_condition(file.expr)
    if condition is None:
        return WantedRule(rule, why_whole=why, line=file.line)
    rule.expr = condition.value
    severity = rule.labels.pop(SEVERITY)
    row = Threshold(severity=severity, operator=condition.operator, value=condition.number)
    return WantedRule(rule, [row], line=file.line)


def why_whole(file: FileRule) -> str:
    """Why a rule stays a condition of its own, "" when it can be split."""
    if file.kind == Rule.Kind.RECORD:
        return "it records"
    try:
        condition = promql.split_condition(file.expr)
    except promql.ParseError as error:
        return error.message
    if condition is None:
        return "it does not compare a vector with a number"
    if not isfinite(condition.number):
        return "its limit is not finite"
    severity = file.labels.get(SEVERITY, "")
    if not severity:
        return "it has no label severity"
    if severity not in Severity.values:
        known = ", ".join(Severity.values)
        return f"its severity {severity!r} is none of {known}"
    uses = [text for text in file.labels.values() if "$severity" in text or "$threshold" in text]
    return "its labels use $severity or $threshold" if uses else ""


def _join(before: WantedRule, found: WantedRule, limit: int) -> bool:
    """Put a rule into the one before it when they differ only in severity and limit; whether that was done.

    Not in a group with a limit, which counts the alerts of each of the file's rules on their own.
    """
    one, other = before.rule, found.rule
    if (
        limit
        or not before.limits
        or not found.limits
        or found.limits[0].severity in {r.severity for r in before.limits}
    ):
        return False
    if _nature(one) != _nature(other):
        return False
    row = found.limits[0]
    if other.hold_seconds != one.hold_seconds:
        row.hold_seconds = other.hold_seconds
    before.limits.append(row)
    return True


def _nature(rule: Rule) -> tuple[object, ...]:
    return (rule.name, rule.expr, rule.keep_firing_seconds, rule.labels, rule.annotations)
