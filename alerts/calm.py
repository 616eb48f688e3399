"""Due groups of which a glance shows that nothing is to be told or written: most, at most of their ticks.

The glance is one row a group, made by the database, instead of its alerts one by one. It only ever says that a group is
calm; all others, and all about which it cannot be sure, are read as a whole (alerts.flush).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from alerts import escalation_policies, notify_log, policy
from alerts.engine import timing
from alerts.engine.matching import MatcherIndex
from alerts.engine.muting import Muter
from alerts.engine.timing import GroupView
from alerts.models import Escalation, Flap, Group, Integration, Notification, NotifyLog

_STATE = Notification.State
# One row a group. Posted alerts are of no rule, and a severity mutes only below the same rule.
_GLANCE = """
SELECT m.group_id, array_agg(a.fingerprint),
       bool_and(a.state = 'firing' AND (a.source <> 'api' OR a.ends_at IS NULL OR a.ends_at > %s)),
       bool_or(m.muted_reason <> '' OR a.acknowledged_at IS NOT NULL OR a.snoozed_until IS NOT NULL),
       array_agg(DISTINCT a.rule_id) FILTER (WHERE a.rule_id IS NOT NULL),
       array_agg(DISTINCT a.labels ->> 'severity') FILTER (WHERE a.rule_id IS NOT NULL)
FROM alerts_groupalert m JOIN alerts_alert a ON a.id = m.alert_id
WHERE m.group_id = ANY(%s) GROUP BY m.group_id
"""


@dataclass(frozen=True)
class _Glance:
    """What all that fires in a group has in common; groups in which anything else is, have none."""

    fingerprints: frozenset[str]
    rule_ids: Sequence[int]
    severities: Sequence[str]


def words(groups: Sequence[Group], routing: policy.Routing, at: datetime) -> dict[int, str]:
    """What the tick of each calm group comes to, in words for people, by group id.

    The groups are due and locked; what is not among the answers must be ticked in full.
    """
    glances = _glances([group for group in groups if group.first_flush_at], at)
    calm = _told_already([group for group in groups if group.pk in glances], glances, routing)
    if not calm:
        return {}
    left = [group for group in groups if group.pk in calm]
    flapping = set(Flap.objects.filter(ended_at__isnull=True).values_list("fingerprint", flat=True))
    escalations = _Escalations([*calm])
    # After the members, so that no source committed together with its target is overlooked (AI-9).
    muter = policy.muter(at, {pk for group in left for pk in glances[group.pk].rule_ids}, routing.intervals)
    if muter.inhibitor.dependencies:
        return {}  # something is down: its message says how much hangs on it
    return {
        group.pk: calm[group.pk]
        for group in left
        if glances[group.pk].fingerprints.isdisjoint(flapping)
        and not escalations.concern(group)
        and not _may_be_muted(group, glances[group.pk], routing, muter)
    }


def _glances(groups: Sequence[Group], at: datetime) -> dict[int, _Glance]:
    """The groups in which everything fires, nothing is muted and nobody has anything in hand."""
    if not groups:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_GLANCE, [at, [group.pk for group in groups]])
        rows = cursor.fetchall()
    return {
        pk: _Glance(frozenset(fingerprints), rule_ids or (), [one for one in severities or () if one])
        for pk, fingerprints, all_fire, is_special, rule_ids, severities in rows
        if all_fire and not is_special and len(set(fingerprints)) == len(fingerprints)
    }


def _may_be_muted(group: Group, one: _Glance, routing: policy.Routing, muter: Muter) -> bool:
    route = routing.route_of(group.route_id)
    times = route.active_intervals, route.mute_intervals
    return muter.may_mute(group.labels, one.rule_ids, one.severities, *times)


class _Escalations:
    """Which groups escalation may have to do with."""

    def __init__(self, group_ids: Sequence[int]) -> None:
        self._book = escalation_policies.book()
        self._general = MatcherIndex([one.matchers for one in self._book.general])
        open_ = Escalation.objects.filter(group__in=group_ids, ended_at__isnull=True)
        self._open = set(open_.values_list("group_id", flat=True))

    def concern(self, group: Group) -> bool:
        """Whether one is open, or a policy may take an alert of the group."""
        if group.pk in self._open or self._book.by_route.get(group.route_id or 0) is not None:
            return True
        return next(self._general.reaching(group.labels), None) is not None


def _told_already(groups: Sequence[Group], glances: dict[int, _Glance], routing: policy.Routing) -> dict[int, str]:
    """Those of the groups of which each way out knows all that fires, and need not be reminded, with the words."""
    if not groups:
        return {}
    keys = [group.key for group in groups]
    # Before the log: a message that arrives between the two is then found in both, else it would be in neither.
    waiting = Notification.objects.filter(group_key__in=keys, state__in=(_STATE.QUEUED, _STATE.SENDING))
    is_waiting = set(waiting.values_list("group_key", flat=True))
    logs: dict[str, dict[int, NotifyLog]] = defaultdict(dict)
    for log in NotifyLog.objects.filter(group_key__in=keys):
        logs[log.group_key][log.integration_id] = log
    ways_out = notify_log.ways_out(routing.receiver_of(group.route_id) for group in groups)
    found: dict[int, str] = {}
    for group in groups:
        ways = ways_out.get(routing.receiver_of(group.route_id) or 0, [])
        view = GroupView(glances[group.pk].fingerprints)
        reasons = [_reason(group, way, logs[group.key].get(way.pk), view, routing) for way in ways]
        if reasons and None not in reasons and group.key not in is_waiting:
            found[group.pk] = "\n".join(f"{way}: {reason}" for way, reason in zip(ways, reasons, strict=True))
    return found


def _reason(
    group: Group, way: Integration, log: NotifyLog | None, view: GroupView, routing: policy.Routing
) -> str | None:  # fmt: skip
    """Why a way out is told nothing although everything fires; None where it is told, or nobody ever told it."""
    settings = notify_log.settings(routing.route_of(group.route_id), send_resolved=way.send_resolved)
    decision = timing.decide(view, notify_log.entry(log), group.next_flush_at, settings)
    return decision.reason if decision.why == "unchanged" else None
