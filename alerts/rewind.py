"""How things stood at a moment of the past: the rule and its limits then, what fired then, who was silenced then.

Hides that rules and thresholds come from their history, and firing alerts from when each fired and ended.
Routes and inhibit rules are those of now; `changed_since` says when that may matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q

from alerts import policy
from alerts.engine.muting import SEVERITY_ORDER, Inhibitor, Muter, Subject
from alerts.models import Alert, InhibitRule, Route, Rule, RuleGroup, Threshold
from alerts.prepared import PreparedRule, limit_of, ready
from monitoring.promql import Labels


def rule_at(rule: Rule, when: datetime) -> PreparedRule | None:
    """The rule as it stood at `when`, with the limits of that time; None when it did not exist yet."""
    row = Rule.history.as_of(when).filter(pk=rule.pk).first()
    if row is None:
        return None
    row.group = RuleGroup.history.as_of(when).filter(pk=row.group_id).first() or rule.group
    limits = [limit_of(limit) for limit in Threshold.history.as_of(when).filter(rule_id=rule.pk).order_by("pk")]
    return ready(row, row.group, limits, {})


def muter_at(when: datetime, rule_id: int | None) -> Muter:
    """What could mute alerts of one rule at `when`: the silences that held then, and what fired then."""
    rules = policy.inhibit_rules()
    inhibitor = Inhibitor(rules)
    wanted = Q(pk__isnull=False) if rules else Q(rule_id=rule_id, severity__in=SEVERITY_ORDER[1:])
    firing = Alert.objects.filter(wanted, fired_at__lte=when, is_shadow=False)
    live = firing.filter(Q(resolved_at__isnull=True) | Q(resolved_at__gt=when))
    for labels, source, mutes_lower in live.values_list("labels", "rule_id", "rule__mutes_lower"):
        inhibitor.add(Subject(Labels.of(labels), source if mutes_lower else None))
    return Muter(when, inhibitor, policy.silences(when), policy.intervals())


def changed_since(when: datetime) -> Sequence[str]:
    """What was edited after `when` of the things a walk can only take as they are now."""
    looked_at = (("routes", Route), ("inhibit rules", InhibitRule))
    return [name for name, model in looked_at if model.history.filter(history_date__gt=when).exists()]
