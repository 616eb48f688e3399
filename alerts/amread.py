"""The firing alerts as Alertmanager's API shows them: who is told, and what keeps each quiet.

Source of the shapes: Alertmanager 0.25, api/v2/api.go getAlertsHandler and getAlertGroupsHandler (ALERTING.md AP-3, 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts import amlease, annotated, policy
from alerts.engine.matching import matches_all
from alerts.models import Alert, Group, GroupAlert
from monitoring.promql import Labels, Matcher

# An alert of our own rules has no end while it fires; clients want one that is ahead.
_OWN_LIFE = timedelta(minutes=5)
_CHUNK = 5000


@dataclass(frozen=True)
class Wanted:
    """Which alerts to show. receiver: an anchored regular expression as a matcher on the receiver's name."""

    matchers: tuple[Matcher, ...] = ()
    receiver: Matcher | None = None
    active: bool = True
    silenced: bool = True
    inhibited: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """One firing alert with its state at the moment it was asked for."""

    alert: Alert
    labels: Labels
    ends_at: datetime
    receivers: tuple[str, ...]
    silenced_by: tuple[str, ...]
    inhibited_by: tuple[str, ...]

    @property
    def state(self) -> str:
        """Upstream's word: suppressed when anything keeps it quiet, else active."""
        return "suppressed" if self.silenced_by or self.inhibited_by else "active"


def alerts(wanted: Wanted, at: datetime) -> list[Shown]:
    """The firing alerts that are wanted, by fingerprint."""
    rows = _firing(at)
    return sorted(_shown(rows, wanted, at), key=lambda one: one.alert.fingerprint)


def groups(wanted: Wanted, at: datetime) -> list[tuple[Group, str, list[Shown]]]:
    """The groups with the name of the receiver and those of their firing alerts that are wanted; empty ones left out.

    Sorted by labels, then by receiver.
    """
    members = GroupAlert.objects.filter(alert__state=Alert.State.FIRING).values_list("group_id", "alert_id")
    shown = {one.alert.pk: one for one in _shown(_firing(at), wanted, at)}
    by_group: dict[int, list[Shown]] = {}
    for group_id, alert_id in members.order_by("alert_id"):
        if alert_id in shown:
            by_group.setdefault(group_id, []).append(shown[alert_id])
    tree = policy.routing()
    found = []
    for group in Group.objects.filter(pk__in=by_group):
        route = tree.route_of(group.route_id)
        if wanted.receiver is None or wanted.receiver.matches(route.receiver):
            found.append((group, route.receiver, by_group[group.pk]))
    return sorted(found, key=lambda one: (sorted(one[0].labels.items()), one[1]))


def _firing(at: datetime) -> list[Alert]:
    rows = Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False).select_related("rule")
    firing = [row for row in rows.iterator(chunk_size=_CHUNK) if not policy.is_resolved(row, at)]
    for row, words in annotated.by_row(firing, at):
        row.annotations = words  # as they read now; nobody saves these rows
    return firing


def _shown(rows: Sequence[Alert], wanted: Wanted, at: datetime) -> Iterator[Shown]:
    tree = policy.routing()
    muter = policy.muter(at, {row.rule_id for row in rows}, tree.intervals)
    ends = _ends(rows, at)
    for row in rows:
        labels = row.label_set
        if not matches_all(wanted.matchers, labels):
            continue
        receivers = tuple(dict.fromkeys(one.receiver for one in tree.tree.match(labels)))
        if wanted.receiver is not None and not any(map(wanted.receiver.matches, receivers)):
            continue
        silenced, inhibited = muter.silenced(labels), muter.inhibited(policy.subject(row, at))
        one = Shown(
            row, labels, row.ends_at or ends.get(row.pk) or at + _OWN_LIFE, receivers,
            silenced.by if silenced else (), inhibited.by if inhibited else (),
        )  # fmt: skip
        is_shown = (
            (wanted.active or one.state != "active")
            and (wanted.silenced or not one.silenced_by)
            and (wanted.inhibited or not one.inhibited_by)
        )
        if is_shown:
            yield one


def _ends(rows: Iterable[Alert], at: datetime) -> dict[int, datetime]:
    return amlease.ends_of([row.pk for row in rows if row.source == Alert.Source.API and row.ends_at is None], at)
