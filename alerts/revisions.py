"""The history of a rule and its thresholds as one thing: a revision a change, and the difference between two.

Every door that changes rules ends with `keep`: form, bulk change, file, Slack. A change that changed nothing leaves no
revision. Hides which columns count, so that a new column of rule or threshold is part of the history by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from alerts.models import Rule, RuleRevision, Threshold

User = Any  # settings.AUTH_USER_MODEL, or None for the portal itself
Content = dict[str, Any]
# Columns that say who wrote a row and when, or count: not what it says.
_BESIDE = frozenset({"id", "rule", "revision", "updated_at", "created_at", "author", "starter_key"})


@dataclass(frozen=True)
class Change:
    """One difference between two revisions; `where` is "rule" or a threshold in words, "" for not there."""

    where: str
    field: str
    old: str
    new: str


def content_of(rule: Rule, rows: Iterable[Threshold]) -> Content:
    """What a rule says, with its thresholds by id (`new 1` … for rows that are not saved yet), as plain JSON."""
    thresholds = {str(row.pk or f"new {number}"): _values(row) for number, row in enumerate(rows, 1)}
    plain = {"rule": _values(rule), "thresholds": thresholds}
    found: Content = json.loads(json.dumps(plain, cls=DjangoJSONEncoder))
    return found


def keep(rule: Rule, user: User, at: datetime, words: str) -> RuleRevision | None:
    """Keep what a rule says now as its next revision; None when it says what the last one says.

    Call it inside the transaction of the change.
    """
    content = content_of(rule, rule.thresholds.order_by("pk"))
    last = RuleRevision.objects.filter(rule=rule).order_by("-number").first()
    if last is not None and last.content == content:
        return None
    if last is not None and rule.revision <= last.number:
        rule.revision = last.number + 1
        # Only thresholds changed: the rule's row must move too, or alerts would be stamped with the old number.
        Rule.objects.filter(pk=rule.pk).update(revision=rule.revision, updated_at=at)
    return RuleRevision.objects.create(
        rule=rule, rule_name=rule.name, number=rule.revision, at=at, actor=user, words=words[:500], content=content
    )


def keep_missing(at: datetime) -> int:
    """Give each rule that has no revision yet its first one; returns how many."""
    rules = Rule.objects.filter(revisions__isnull=True)
    return sum(keep(rule, None, at, "as the portal found it") is not None for rule in rules)


def differences(old: Content | None, new: Content) -> list[Change]:
    """What changed from one content to another, the rule first, then its thresholds; all of it when `old` is None."""
    before: Content = old or {"rule": {}, "thresholds": {}}
    found = list(_fields("rule", Rule, before["rule"], new["rule"]))
    for key in dict.fromkeys([*before["thresholds"], *new["thresholds"]]):
        was, now = before["thresholds"].get(key), new["thresholds"].get(key)
        if was is None:
            found.append(Change(_row_words(now), "", "", "added"))
        elif now is None:
            found.append(Change(_row_words(was), "", "removed", ""))
        else:
            found += _fields(_row_words(now), Threshold, was, now)
    return found


def columns(model: type[models.Model]) -> dict[str, models.Field[Any, Any]]:
    """The columns that a revision keeps, by name."""
    return {field.name: field for field in model._meta.concrete_fields if field.name not in _BESIDE}


def _values(row: models.Model) -> dict[str, Any]:
    return {name: field.value_from_object(row) for name, field in columns(type(row)).items()}


def _fields(where: str, model: type[models.Model], old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Change]:
    for name, field in columns(model).items():
        was, now = old.get(name), new.get(name)
        if name not in new or was == now:
            continue
        if isinstance(now, dict):
            yield from _entries(where, str(field.verbose_name), was or {}, now)
        else:
            yield Change(where, str(field.verbose_name), _words(field, was), _words(field, now))


def _entries(where: str, field: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterable[Change]:
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield Change(where, f"{field}: {key}", old.get(key, ""), new.get(key, ""))


def _words(field: models.Field[Any, Any], value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return ""
    if field.is_relation and field.related_model is not None:
        row = field.related_model._default_manager.filter(pk=value).first()  # type: ignore[union-attr]
        return str(row) if row is not None else f"number {value} (deleted)"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    choices = dict(field.flatchoices)
    if value in choices:
        return str(choices[value])
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row_words(values: Mapping[str, Any]) -> str:
    known = {name: field.to_python(values[name]) for name, field in columns(Threshold).items() if name in values}
    plain = {name: value for name, value in known.items() if not columns(Threshold)[name].is_relation}
    return f"threshold {Threshold(**plain)}"
