"""What a host or deployment that is down keeps quiet below it, for its own message and page ("suppressed: 11 alerts").

Counted are alerts that fire, that nobody was told of, and that the registry says hang on what is down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db.models import Exists, OuterRef, Q

from alerts import dependencies
from alerts.engine.message_words import counted, more
from alerts.engine.muting import InhibitRule, muted_children
from alerts.models import Alert, Notification
from monitoring.promql import Labels

# So many models are named; the rest is counted.
_NAMED = 3
_TOLD = (Notification.State.SENT, Notification.State.QUEUED, Notification.State.SENDING)


def words(parents: Collection[Labels], rules: Sequence[InhibitRule], at: datetime) -> str:
    """What `parents` suppress at `at` in words, "" for nothing; `rules` are the dependencies that hold now."""
    found = [alert.label_set for alert in below(parents, rules, at)]
    if not found:
        return ""
    models = sorted({labels.get("model_name") for labels in found} - {""})
    kind = "model alert" if all(labels.get("model_name") for labels in found) else "alert"
    names = ", ".join(models[:_NAMED]) + (f" {more(len(models) - _NAMED, 'models')}" if len(models) > _NAMED else "")
    return f"suppressed: {counted(len(found), kind)}" + (f" ({names})" if names else "")


def of(alert: Alert, at: datetime) -> list[Alert]:
    """The alerts that one alert suppresses at `at`, the newest first."""
    if alert.state != Alert.State.FIRING or alert.is_shadow:
        return []
    return below([alert.label_set], dependencies.now(at).rules, at)


def below(parents: Collection[Labels], rules: Sequence[InhibitRule], at: datetime) -> list[Alert]:
    """The firing alerts that nobody was told of and that `rules` mute because of `parents`, the newest first."""
    wanted = _by_target(rules) if parents else None
    if wanted is None:
        return []
    told = Notification.alerts.through.objects.filter(alert=OuterRef("pk"), notification__state__in=_TOLD)
    firing = Alert.objects.filter(wanted, ~Exists(told), state=Alert.State.FIRING, is_shadow=False)
    rows = list(firing.exclude(source=Alert.Source.API, ends_at__lte=at).order_by("-id"))
    muted = set(muted_children(parents, rules, [row.label_set for row in rows]))
    return [row for row in rows if row.label_set in muted]


def _by_target(rules: Iterable[InhibitRule]) -> Q | None:
    """Alerts with the labels that a rule pins its targets to; dependencies always pin some."""
    wanted = None
    for rule in rules:
        pinned = {matcher.name: matcher.value for matcher in rule.target if matcher.op == "=" and matcher.value}
        wanted = Q(labels__contains=pinned) | (wanted or Q(pk__in=[]))
    return wanted
