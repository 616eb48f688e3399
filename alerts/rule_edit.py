"""Changes to rules with their thresholds, whole or not at all: saving, the way back to a revision, many rules at once.

A bulk change is planned first: what each rule would say, with its faults, for a page that shows the differences; then
it is applied to exactly the revisions that were shown, in one transaction, or refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction

from alerts import actions, revisions
from alerts.blind import blind
from alerts.models import Rule, RuleGroup, RuleRevision, Severity, Threshold
from alerts.models.validate import LABEL_NAME
from alerts.revisions import Change, columns, content_of

User = Any  # settings.AUTH_USER_MODEL
# What makes the alerts of a rule these and no others.
IDENTITY = ("name", "labels", "life", "kind", "group")


def restore(revision: RuleRevision, user: User, at: datetime) -> RuleRevision | None:
    """Bring rule and thresholds back to a revision, as a new one; None when they already are as it says.

    Raises PermissionDenied, and ValidationError when what it says cannot be any more: its group is gone, say.
    """
    if user is not None and not user.has_perm("alerts.change_rule"):
        raise PermissionDenied("alerts.change_rule")
    with transaction.atomic():
        rule = Rule.objects.select_for_update(of=("self",)).filter(revisions=revision).first()
        if rule is None:
            raise ValidationError("The rule was deleted; import it or make it anew.")
        old = content_of(rule, rule.thresholds.order_by("pk"))
        before = Rule.objects.get(pk=rule.pk)
        _fill(rule, revision.content["rule"])
        rows = [_threshold(rule, key, values, user) for key, values in revision.content["thresholds"].items()]
        if content_of(rule, rows) == old:
            return None
        save(rule, rows, before, user, at)
        return revisions.keep(rule, user, at, f"revision {revision.number} restored")


def save(rule: Rule, rows: Sequence[Threshold], before: Rule, user: User, at: datetime) -> None:
    """Save a rule with exactly these thresholds, and end alerts that it would never end by itself.

    Raises ValidationError with every fault of rule and rows. Call it inside a transaction, then `keep`.
    """
    problems = problems_of(rule, rows)
    if problems:
        raise ValidationError(problems)
    rule.save()
    kept = {row.pk for row in rows if row.pk}
    for gone in rule.thresholds.exclude(pk__in=kept):
        gone.delete()
    for row in rows:
        row.rule = rule
        row.save()
    if any(_value(before, name) != _value(rule, name) for name in IDENTITY):
        actions.end_alerts(rule, user, at, "The rule was changed; it starts anew.", group_ids=[before.group_id])


def problems_of(rule: Rule, rows: Iterable[Threshold]) -> list[str]:
    """What is wrong with a rule and its thresholds, one sentence each."""
    found = _faults("", rule)
    for row in rows:
        found += _faults(f"{row}: ", row, exclude={"rule"})
    return found


def _faults(prefix: str, row: models.Model, exclude: set[str] | None = None) -> list[str]:
    try:
        row.full_clean(exclude=exclude)
    except ValidationError as error:
        return [f"{prefix}{name}: {words}" for name, texts in error.message_dict.items() for words in texts]
    return []


def _fill(row: models.Model, values: Mapping[str, Any]) -> None:
    """Put a revision's values into a row; columns that it does not know yet stay as they are."""
    for name, field in columns(type(row)).items():
        if name in values:
            setattr(row, field.attname, field.to_python(values[name]))
    if isinstance(row, Rule) and not RuleGroup.objects.filter(pk=row.group_id).exists():
        raise ValidationError("Its group was deleted; make the rule anew in another group.")


def _threshold(rule: Rule, key: str, values: Mapping[str, Any], user: User) -> Threshold:
    """The row of this id, changed back; made again with its id when it was deleted, so that "row 41" stays row 41."""
    row = rule.thresholds.filter(pk=int(key)).first()
    if row is None:
        row = Threshold(pk=int(key), rule=rule, author=user)
    _fill(row, values)
    return row


def _value(row: models.Model, name: str) -> Any:
    return columns(type(row))[name].value_from_object(row)


# -- many at once ------------------------------------------------------------------------------------------------------


class Operation(Protocol):
    """One change to many rules: `words` name it, `apply` changes a rule and its rows in memory."""

    @property
    def words(self) -> str:
        """What it does, for the history."""

    def apply(self, rule: Rule, rows: list[Threshold]) -> None:
        """Change them; nothing is saved here."""


@dataclass(frozen=True)
class SetLife:
    """Bring rules to live, shadow or disabled."""

    life: str

    @property
    def words(self) -> str:
        """What it does, for the history."""
        return f"all changed to {Rule.Life(self.life).label}"

    def apply(self, rule: Rule, rows: list[Threshold]) -> None:
        """Set the life."""
        rule.life = Rule.Life(self.life)


@dataclass(frozen=True)
class MapSeverity:
    """Turn severities into others, in thresholds and in the rule's own label."""

    mapping: Mapping[str, str]

    @property
    def words(self) -> str:
        """What it does, for the history."""
        return "severity " + ", ".join(f"{old} → {new}" for old, new in self.mapping.items())

    def apply(self, rule: Rule, rows: list[Threshold]) -> None:
        """Map them all at once, so that two may be swapped."""
        for row in rows:
            row.severity = self.mapping.get(row.severity, row.severity)
        own = rule.labels.get("severity", "")
        if own in self.mapping:
            rule.labels = {**rule.labels, "severity": self.mapping[own]}


@dataclass(frozen=True)
class SetLabel:
    """Give every rule a label, or take it away when `value` is empty."""

    name: str
    value: str

    @property
    def words(self) -> str:
        """What it does, for the history."""
        return f"label {self.name} set to {self.value!r}" if self.value else f"label {self.name} removed"

    def apply(self, rule: Rule, rows: list[Threshold]) -> None:
        """Set or remove the label."""
        rest = {name: text for name, text in rule.labels.items() if name != self.name}
        rule.labels = {**rest, self.name: self.value} if self.value else rest


@dataclass(frozen=True)
class Multiply:
    """Multiply limits, ends of bands and recovery values by a factor; of one severity, or of all when it is empty."""

    factor: float
    severity: str = ""

    @property
    def words(self) -> str:
        """What it does, for the history."""
        which = f"{self.severity} limits" if self.severity else "limits"
        return f"{which} multiplied by {self.factor:g}"

    def apply(self, rule: Rule, rows: list[Threshold]) -> None:
        """Multiply, rounded to ten digits: 0.1 times 3 is 0.3 to people."""
        for row in rows:
            if self.severity in ("", row.severity):
                row.value = self._times(row.value)
                row.upper = None if row.upper is None else self._times(row.upper)
                row.recover_value = None if row.recover_value is None else self._times(row.recover_value)

    def _times(self, value: float) -> float:
        return float(f"{value * self.factor:.10g}")


@dataclass(frozen=True)
class Planned:
    """What a bulk change would do to one rule: the differences, what speaks against it, and its revision now."""

    rule: Rule
    revision: int
    changes: tuple[Change, ...]
    problems: tuple[str, ...] = ()


def operation_of(kind: str, given: Mapping[str, str]) -> Operation:
    """The operation that a form describes; raises ValidationError with what to change in it."""
    match kind:
        case "life":
            if given.get("life") not in (Rule.Life.LIVE, Rule.Life.SHADOW, Rule.Life.DISABLED):
                raise ValidationError("Choose live, shadow or disabled.")
            return SetLife(given["life"])
        case "severity":
            return MapSeverity(_mapping(given))
        case "label":
            name, value = given.get("name", "").strip(), given.get("value", "").strip()
            if not LABEL_NAME.fullmatch(name) or name in ("alertname", "__name__"):
                raise ValidationError("Give the label a name of letters, digits and _, not alertname.")
            return SetLabel(name, value)
        case "multiply":
            return Multiply(_factor(given.get("factor", "")), given.get("severity", ""))
    raise ValidationError("Choose what to change.")


def plan(rules: Iterable[Rule], operation: Operation) -> list[Planned]:
    """What an operation would do to each rule; nothing is saved."""
    return [_planned(rule, operation)[0] for rule in rules]


def goes_blind(planned: Iterable[Planned], operation: Operation, at: datetime) -> list[Rule]:
    """The rules that a change brings live although nothing matches them now."""
    if not isinstance(operation, SetLife) or operation.life != Rule.Life.LIVE:
        return []
    return blind((one.rule for one in planned if one.changes), at)


def apply(seen: Mapping[int, int], operation: Operation, user: User, at: datetime, *, may_be_blind: bool = True) -> int:
    """Apply an operation to rules (id to the revision that was shown), all or none; returns how many changed.

    Raises PermissionDenied, and ValidationError when a rule has changed since, would be faulty, or, unless
    `may_be_blind`, would go live although nothing matches it.
    """
    if not user.has_perm("alerts.change_rule"):
        raise PermissionDenied("alerts.change_rule")
    changed = 0
    with transaction.atomic():
        rules = Rule.objects.select_for_update(of=("self",)).filter(pk__in=seen).order_by("pk")
        found = {rule.pk: rule for rule in rules.select_related("group")}
        _refuse_stale(seen, found)
        if not may_be_blind and goes_blind(plan(Rule.objects.filter(pk__in=seen), operation), operation, at):
            raise ValidationError("Some of them match nothing now: tick “metric not there yet” if that is meant.")
        for rule in found.values():
            before = Rule.objects.get(pk=rule.pk)
            planned, rows = _planned(rule, operation)
            if planned.problems:
                raise ValidationError([f"{rule.name}: {words}" for words in planned.problems])
            if planned.changes:
                save(rule, rows, before, user, at)
                revisions.keep(rule, user, at, operation.words)
                changed += 1
    return changed


def _planned(rule: Rule, operation: Operation) -> tuple[Planned, list[Threshold]]:
    rows = list(rule.thresholds.order_by("pk"))
    old, revision = content_of(rule, rows), rule.revision
    operation.apply(rule, rows)
    changes = tuple(revisions.differences(old, content_of(rule, rows)))
    problems = []
    if changes:
        problems = problems_of(rule, rows)
        # What a file owns would come back with its next import; whether it is live is the portal's own affair.
        if rule.group.managed_by and not isinstance(operation, SetLife):
            problems.insert(0, f"It belongs to {rule.group.managed_by}: change it there, or detach it first.")
    return Planned(rule, revision, changes, tuple(problems)), rows


def _refuse_stale(seen: Mapping[int, int], found: Mapping[int, Rule]) -> None:
    problems = [f"Rule {pk} was deleted meanwhile." for pk in seen if pk not in found]
    problems += [
        f"{rule.name} was changed meanwhile; look again." for pk, rule in found.items() if rule.revision != seen[pk]
    ]
    if problems:
        raise ValidationError(problems)


def _mapping(given: Mapping[str, str]) -> dict[str, str]:
    wanted = {old: given.get(f"severity_{old}", "") for old in Severity.values}
    mapping = {old: new for old, new in wanted.items() if new and new != old}
    if not mapping:
        raise ValidationError("Choose at least one severity that becomes another.")
    if not set(mapping.values()) <= set(Severity.values):
        raise ValidationError(f"A severity is one of {', '.join(Severity.values)}.")
    return mapping


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor) or factor <= 0:
        raise ValidationError("Give a factor above 0, such as 1.2.")
    return factor
