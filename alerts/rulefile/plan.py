"""From a rule file to rows: what an import would change, and the import itself, all or nothing.

Rules keep their alerts through an import as Prometheus' do (PR-7): matched by name and labels in order of occurrence,
whatever becomes of expression, "for" and annotations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import transaction

from alerts import revisions
from alerts.engine.durations import format_duration
from alerts.models import Alert, GlobalConfig, GroupClock, Rule, RuleGroup, Threshold
from alerts.prepared import latest_slot
from alerts.rulefile.read import FileGroup
from alerts.rulefile.wanted import Defaults, Unit, WantedGroup, WantedRule, units_of, wanted
from alerts.running_out import close_series, hold_clocks, let_run_out

User = Any
_RULE_FIELDS = (
    "expr", "hold_seconds", "keep_firing_seconds", "labels", "annotations", "no_data", "mutes_lower", "position",
    "kind", "name",
)  # fmt: skip
_GROUP_FIELDS = ("interval_seconds", "query_offset_seconds", "limit")
_ROW_FIELDS = ("operator", "value", "upper", "recover_value", "hold_seconds", "priority", "expires_at", "is_enabled")
_WORDS = {
    "expr": "expression", "hold_seconds": "for", "keep_firing_seconds": "keep_firing_for", "no_data": "no data",
    "mutes_lower": "severities", "position": "order", "interval_seconds": "interval",
    "query_offset_seconds": "query_offset",
}  # fmt: skip
_ACTIVE = (Alert.State.PENDING, Alert.State.FIRING)


class Kind(StrEnum):
    """What an import does to a rule."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    GONE = "gone"


@dataclass
class Change:
    """One rule in the plan: the row it becomes, what differs, and why it stays a condition of its own."""

    kind: Kind
    group: str
    rule: Rule
    wanted: WantedRule | None = None
    details: list[str] = field(default_factory=list)

    @property
    def why_whole(self) -> str:
        """Why an alerting rule was not split, "" when it was or is none."""
        return self.wanted.why_whole if self.wanted is not None and self.rule.kind == Rule.Kind.ALERT else ""


@dataclass
class GroupPlan:
    """One group in the plan.

    moved: units whose alerts change their row; ended: units that are no more; split: ids of the rules that had rows of
    limits, whose units have the alerts of one severity each.
    """

    row: RuleGroup
    details: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    moved: list[tuple[Unit, Rule, Rule]] = field(default_factory=list)
    ended: list[tuple[Unit, Rule]] = field(default_factory=list)
    split: frozenset[int] = frozenset()
    is_gone: bool = False


@dataclass
class Plan:
    """What an import of one file would do."""

    owner: str
    groups: list[GroupPlan]

    @property
    def changes(self) -> list[Change]:
        """Every rule, in the order of the file, those that go last."""
        found = [change for group in self.groups for change in group.changes]
        return sorted(found, key=lambda change: change.kind is Kind.GONE)

    def count(self, kind: Kind) -> int:
        """How many rules are new, changed, the same or gone."""
        return sum(change.kind is kind for change in self.changes)

    @property
    def is_empty(self) -> bool:
        """Whether the import would change nothing."""
        return all(change.kind is Kind.SAME for change in self.changes) and not any(
            group.details or group.is_gone for group in self.groups
        )


def defaults(splits: bool = True, interval_seconds: float | None = None) -> Defaults:
    """What holds for groups that do not say it: an interval that is given, else the global settings."""
    row = GlobalConfig.objects.first() or GlobalConfig()
    return Defaults(interval_seconds or row.evaluation_interval_seconds, row.query_offset_seconds, splits)


def plan(groups: Iterable[FileGroup], owner: str, given: Defaults) -> Plan:
    """Return what an import would change; writes nothing. Raises FileError with every rule that could never work."""
    asked = wanted(groups, owner, given)
    there = {group.name: group for group in RuleGroup.objects.filter(managed_by=owner).order_by("id")}
    found = [_group(there.pop(one.group.name, None), one) for one in asked]
    for row in there.values():
        rules = list(row.rules.prefetch_related("thresholds").order_by("position", "id"))
        changes = [Change(Kind.GONE, row.name, rule) for rule in rules]
        ended = [(unit, rule) for rule in rules for unit in _units_now(rule)]
        found.append(GroupPlan(row, changes=changes, ended=ended, split=_split(rules), is_gone=True))
    return Plan(owner, found)


@transaction.atomic
def import_rules(groups: Sequence[FileGroup], owner: str, given: Defaults, at: datetime, user: User = None) -> Plan:
    """Make the rows of a file; returns what was done. Raises FileError, and changes nothing then."""
    held = RuleGroup.objects.select_for_update().filter(managed_by=owner).order_by("id")
    hold_clocks([group.pk for group in held])
    made = plan(groups, owner, given)
    for group in made.groups:
        _write(group, owner, at, user)
    return made


# -- comparing ---------------------------------------------------------------------------------------------------------


def _owned(rule: Rule) -> list[Threshold]:
    """The rows that the file owns: limits for all series. Those for some series are staff's; an import leaves them."""
    rows = sorted(rule.thresholds.all(), key=lambda row: row.pk)
    return [row for row in rows if row.is_default]


def _split(rules: Iterable[Rule]) -> frozenset[int]:
    return frozenset(rule.pk for rule in rules if _owned(rule))


def _units_now(rule: Rule) -> list[Unit]:
    return units_of(rule, [row.severity for row in _owned(rule)])


def _group(row: RuleGroup | None, asked: WantedGroup) -> GroupPlan:
    if row is None:
        return GroupPlan(
            asked.group, changes=[Change(Kind.NEW, asked.group.name, one.rule, one) for one in asked.rules]
        )
    found = GroupPlan(row)
    for name in _GROUP_FIELDS:
        old, new = getattr(row, name), getattr(asked.group, name)
        if old != new:
            found.details.append(_told(name, old, new))
            setattr(row, name, new)
    rules = list(row.rules.prefetch_related("thresholds").order_by("position", "id"))
    found.split = _split(rules)
    left: dict[Unit, list[Rule]] = defaultdict(list)
    for rule in rules:
        for unit in _units_now(rule):
            left[unit].append(rule)
    taken: set[int] = set()
    for one in asked.rules:
        found.changes.append(_match(found, one, left, taken))
    found.ended = [(unit, rule) for unit, old in left.items() for rule in old]
    found.changes += [Change(Kind.GONE, row.name, rule) for rule in rules if rule.pk not in taken]
    return found


def _match(found: GroupPlan, one: WantedRule, left: dict[Unit, list[Rule]], taken: set[int]) -> Change:
    """Give a wanted rule the row of the first of its units that has one to give, and note where others come from."""
    sources = {unit: left[unit].pop(0) for unit in one.units if left.get(unit)}
    row = next((rule for rule in sources.values() if rule.pk not in taken), None)
    if row is None:
        change = Change(Kind.NEW, found.row.name, one.rule, one)
    else:
        taken.add(row.pk)
        details = _differences(row, one)
        change = Change(Kind.CHANGED if details else Kind.SAME, found.row.name, row, one, details)
    found.moved += [(unit, rule, change.rule) for unit, rule in sources.items() if rule is not row]
    return change


def _differences(row: Rule, one: WantedRule) -> list[str]:
    told = [
        _told(name, getattr(row, name), getattr(one.rule, name))
        for name in _RULE_FIELDS
        if getattr(row, name) != getattr(one.rule, name)
    ]
    now, then = {limit.severity: limit for limit in _owned(row)}, {limit.severity: limit for limit in one.limits}
    for severity in dict.fromkeys([*now, *then]):
        old, new = now.get(severity), then.get(severity)
        if old is None or new is None or any(getattr(old, name) != getattr(new, name) for name in _ROW_FIELDS):
            told.append(f"{severity} {_limit(old)} → {_limit(new)}")
    if not told and len(_owned(row)) > len(now):
        told.append("threshold rows")
    return told


def _limit(row: Threshold | None) -> str:
    if row is None:
        return "none"
    hold = f" for {format_duration(row.hold_seconds)}" if row.hold_seconds is not None else ""
    return f"{row.operator} {row.value:g}{hold}"


def _told(name: str, old: Any, new: Any) -> str:
    word = _WORDS.get(name, name)
    if name.endswith("_seconds"):
        return f"{word} {format_duration(old)} → {format_duration(new)}"
    return f"{word} {old} → {new}" if name in ("limit", "name", "kind") else word


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(group: GroupPlan, owner: str, at: datetime, user: User) -> None:
    reason = f"Import of {owner}"[:100]
    if group.is_gone:
        _remove_group(group, owner, at)
        return
    is_new = group.row.pk is None
    if is_new or group.details:
        group.row._change_reason = reason  # type: ignore[attr-defined]
        group.row.save()
        _hurry(group.row, at)
    _make_room(group)
    for change in group.changes:
        if change.kind in (Kind.NEW, Kind.CHANGED) and change.wanted is not None:
            _write_rule(change, group.row, reason, user)
            revisions.keep(change.rule, user, at, reason)
    for unit, old, new in group.moved:
        rows = Alert.objects.filter(rule=old, state__in=_ACTIVE)
        if old.pk in group.split:
            rows = rows.filter(severity=unit.severity)
        rows.update(rule=new, updated_at=at)
    _end_units(group, owner, at)
    for change in group.changes:
        if change.kind is Kind.GONE:
            change.rule._change_reason = reason  # type: ignore[attr-defined]
            change.rule.delete()


def _hurry(group: RuleGroup, at: datetime) -> None:
    """A shorter interval counts at once, not after the old one has passed."""
    following = latest_slot(group, at) + timedelta(seconds=group.interval_seconds)
    GroupClock.objects.filter(group=group, next_slot_at__gt=following).update(next_slot_at=following)


def _make_room(group: GroupPlan) -> None:
    """Move rules whose place is taken by another of their name out of the way; the database allows one a place."""
    moving = [c.rule.pk for c in group.changes if c.rule.pk and c.kind in (Kind.CHANGED, Kind.GONE)]
    for number, pk in enumerate(moving):
        Rule.objects.filter(pk=pk).update(position=1_000_000 + number)


def _write_rule(change: Change, group: RuleGroup, reason: str, user: User) -> None:
    asked = change.wanted
    assert asked is not None  # noqa: S101  (rules that go are not written)
    rule = change.rule
    for name in _RULE_FIELDS:
        setattr(rule, name, getattr(asked.rule, name))
    rule.group = group
    before = {row.severity: row for row in reversed(_owned(rule))} if rule.pk else {}
    surplus = [row for row in (_owned(rule) if rule.pk else []) if before.get(row.severity) is not row]
    rule._change_reason = reason  # type: ignore[attr-defined]
    rule.save()
    for row in asked.limits:
        kept = before.pop(row.severity, None)
        if kept is None:
            row.rule, row.author = rule, user
            row.save()
        elif any(getattr(kept, name) != getattr(row, name) for name in _ROW_FIELDS):
            for name in _ROW_FIELDS:
                setattr(kept, name, getattr(row, name))
            kept.author = user
            kept.save()
    for row in (*before.values(), *surplus):
        row.delete()


def _end_units(group: GroupPlan, owner: str, at: datetime) -> None:
    """Let the alerts run out of the rules that the file has no more; before their rows go."""
    for unit, rule in group.ended:
        if unit.kind == Rule.Kind.ALERT:
            let_run_out(rule, unit.severity if rule.pk in group.split else None, at, f"{owner} has the rule no more.")


def _remove_group(group: GroupPlan, owner: str, at: datetime) -> None:
    _end_units(group, owner, at)
    close_series(group.row, at)
    group.row.delete()
