"""A rule with its limits as JSON and back, saved or as typed, so that a worker can try it later exactly as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from alerts.engine.thresholds import Operator
from alerts.engine.thresholds import Threshold as Limit
from alerts.models import Rule, RuleGroup, Threshold
from alerts.prepared import PreparedRule, limit_of, ready
from monitoring import promql

# Rows typed and not saved yet are newer than every saved one (alerts.preview).
_UNSAVED = 1 << 40
_FIELDS = (
    "id", "name", "kind", "expr", "hold_seconds", "keep_firing_seconds", "no_data", "no_data_resolve_seconds", "labels",
)  # fmt: skip


@dataclass(frozen=True)
class Content:
    """One side of a comparison: a rule that is evaluated as `prepared` says; `name` is "saved" or "as typed"."""

    name: str
    rule: Rule
    group: RuleGroup
    limits: tuple[Limit, ...]

    def prepared(self) -> PreparedRule:
        """The rule ready to evaluate; raises TemplateError."""
        return ready(self.rule, self.group, self.limits, {})


def freeze(name: str, rule: Rule, rows: Sequence[Threshold]) -> dict[str, Any]:
    """The JSON of a rule and its rows; raises ValueError or QueryError for a row that cannot be used."""
    limits = [_numbered(limit_of(row), row.pk or _UNSAVED + number) for number, row in enumerate(rows)]
    group = rule.group if rule.group_id else RuleGroup(name="new")
    return {
        "name": name,
        "rule": {field: getattr(rule, field) for field in _FIELDS} | _given(rule),
        "group": {
            "id": group.pk, "name": group.name, "managed_by": group.managed_by, "limit": group.limit,
            "interval_seconds": group.interval_seconds, "query_offset_seconds": group.query_offset_seconds,
        },
        "limits": [_frozen_limit(limit) for limit in limits],
    }  # fmt: skip


def _given(rule: Rule) -> dict[str, Any]:
    """What a form may leave empty or badly filled; what is wrong there is said beside the field."""
    numbers = ("hold_seconds", "keep_firing_seconds", "no_data_resolve_seconds")
    labels = rule.labels if isinstance(rule.labels, dict) else {}
    return {
        **{name: getattr(rule, name) or 0.0 for name in numbers},
        "name": rule.name or "unnamed",
        "labels": {name: text for name, text in labels.items() if isinstance(text, str)},
    }


def thaw(content: Mapping[str, Any]) -> Content:
    """The rule of such JSON."""
    group = RuleGroup(**content["group"])
    rule = Rule(**content["rule"])
    rule.group = group
    return Content(content["name"], rule, group, tuple(_thawed_limit(limit) for limit in content["limits"]))


def freeze_saved(rule: Rule) -> dict[str, Any]:
    """The JSON of a rule as it is saved."""
    return freeze("saved", rule, list(rule.thresholds.order_by("pk")))


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sides ask the same, whatever they are called."""
    keys = ("rule", "group", "limits")
    return all(_plain(one[key]) == _plain(other[key]) for key in keys)


def _plain(value: Any) -> Any:
    """Limits without their ids, which an edit of other columns does not change."""
    if not isinstance(value, list):
        return value
    return [{name: item for name, item in limit.items() if name not in ("id", "created_seq")} for limit in value]


def _numbered(limit: Limit, number: int) -> Limit:
    return replace(limit, id=number, created_seq=number)


def _frozen_limit(limit: Limit) -> dict[str, Any]:
    plain = {one.name: getattr(limit, one.name) for one in fields(limit)}
    plain["operator"] = str(limit.operator)
    plain["matchers"] = "{" + ",".join(str(matcher) for matcher in limit.matchers) + "}"
    plain["expires_at"] = limit.expires_at.isoformat() if limit.expires_at else None
    return plain


def _thawed_limit(plain: Mapping[str, Any]) -> Limit:
    given = dict(plain)
    given["operator"] = Operator(given["operator"])
    given["matchers"] = promql.parse_matchers(given["matchers"])
    given["expires_at"] = datetime.fromisoformat(given["expires_at"]) if given["expires_at"] else None
    return Limit(**given)
