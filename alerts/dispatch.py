"""From an alert to the groups it is told with: routing, and routing again after the tree was edited.

What happens when a group is due is in alerts.flush; both are offered here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import connection, transaction

from alerts import bulk, metrics, policy
from alerts.engine import timing
from alerts.engine.routing import Destination, without_labels
from alerts.flush import due_groups, flush, flush_due
from alerts.models import Alert, Group, GroupAlert
from alerts.restate import restate

__all__ = ["due_groups", "flush", "flush_due", "group_key", "reroute", "restate", "route"]

logger = structlog.get_logger(__name__)
# A group that the sweep removes between being found and being locked is made again; twice in a row is no accident.
_TRIES = 3
_JOIN = """
INSERT INTO alerts_groupalert (group_id, alert_id, joined_at, muted_reason)
SELECT v.group_id, v.alert_id, %s, '' FROM unnest(%s::bigint[], %s::bigint[]) AS v (group_id, alert_id)
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT id, key, next_flush_at, first_flush_at FROM alerts_group WHERE key = ANY(%s) ORDER BY id FOR NO KEY UPDATE
"""
_HURRY = """
UPDATE alerts_group AS g SET next_flush_at = v.due FROM unnest(%s::bigint[], %s::timestamptz[]) AS v (id, due)
WHERE g.id = v.id
"""
Wanted = Mapping[str, tuple[Destination, list[Alert]]]


class _Locked(NamedTuple):
    """What is read of a group that an alert joins."""

    pk: int
    key: str
    next_flush_at: datetime
    first_flush_at: datetime | None


def group_key(destination: Destination) -> str:
    """The key of a group's row: a digest of route id and group labels (AD-13)."""
    return hashlib.sha256(destination.group_key.encode()).hexdigest()


def route(alerts: Sequence[Alert], at: datetime) -> int:
    """How many memberships were made: each alert is put into every group its labels lead to (AR, AG-1 to AG-4).

    Call it inside the transaction that saved the alerts. Pending and shadow alerts go nowhere; a resolved one joins
    only when somebody posted it, since its group may have been told that it fires (AL-3).
    """
    tree = policy.routing()
    wanted: Wanted = _wanted([alert for alert in alerts if _is_routed(alert)], tree)
    if not wanted:
        return 0
    with transaction.atomic(savepoint=False):
        groups, wanted = _locked_groups(wanted, tree, at)
        _hurry(groups, wanted, at)
        return _join(groups, wanted, at)


def reroute(at: datetime) -> int:
    """How many memberships changed after the tree was edited: groups of active alerts are built anew (AL-4).

    A group whose route and labels are unchanged keeps its clock and what it was told, so it stays silent; others are
    told under their new key (AL-5).
    """
    with transaction.atomic():
        active = list(Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False).order_by("id"))
        tree = policy.routing()
        wanted = _wanted(active, tree)
        pairs = {(key, alert.pk) for key, (_, alerts) in wanted.items() for alert in alerts}
        members = GroupAlert.objects.filter(alert__in=active).values_list("pk", "group__key", "alert_id")
        gone = [pk for pk, key, alert_id in members if (key, alert_id) not in pairs]
        GroupAlert.objects.filter(pk__in=gone).delete()
        _repoint(tree)
        return len(gone) + route(active, at)


def _is_routed(alert: Alert) -> bool:
    if alert.is_shadow or alert.state == Alert.State.PENDING:
        return False
    return alert.state == Alert.State.FIRING or alert.source == Alert.Source.API


def _wanted(alerts: Iterable[Alert], tree: policy.Routing) -> dict[str, tuple[Destination, list[Alert]]]:
    """Alerts by the key of each group they belong to."""
    found: dict[str, tuple[Destination, list[Alert]]] = {}
    keys: dict[str, str] = {}
    for alert in alerts:
        for destination in tree.tree.match(alert.label_set):
            key = keys.get(destination.group_key)
            if key is None:
                key = keys[destination.group_key] = group_key(destination)
            found.setdefault(key, (destination, []))[1].append(alert)
    return found


def _locked_groups(wanted: Wanted, tree: policy.Routing, at: datetime) -> tuple[dict[str, _Locked], Wanted]:
    """The rows of all wanted groups, made where they are missing and there is room; and who belongs into which.

    Locked against the sweep of empty groups and in the order of their ids, so that two evaluations cannot deadlock.
    """
    is_bounded = False
    for _ in range(_TRIES):
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [list(wanted)])
            locked = {row[1]: _Locked(*row) for row in cursor.fetchall()}
        missing = [key for key in wanted if key not in locked]
        if not missing:
            return locked, wanted
        room = 0 if is_bounded else settings.ENV.most_groups - Group.objects.count()
        if not is_bounded and len(missing) > room:
            wanted, is_bounded = _together(wanted, missing[max(room, 0) :], tree), True
            missing = [key for key in wanted if key not in locked]
        bulk.insert([_new_group(key, *wanted[key], tree, at) for key in missing], ignore_conflicts=True)
    raise RuntimeError(f"{len(missing)} groups vanish as soon as they are made")


def _together(wanted: Wanted, over: Sequence[str], tree: policy.Routing) -> Wanted:
    """Alerts that have no room in groups of their own, in one group of their route instead (AG-10): told, and counted.

    Without a bound a label that grows for ever would make a group, and a message, for each of its values.
    """
    metrics.GROUPS_OVER_LIMIT.inc(len(over))
    logger.warning("too_many_alert_groups", most=settings.ENV.most_groups, told_together=len(over))
    left = set(over)
    found = {key: (destination, list(alerts)) for key, (destination, alerts) in wanted.items() if key not in left}
    for key in over:
        destination, alerts = wanted[key]
        together = without_labels(destination, tree.routes[destination.route_id])
        found.setdefault(group_key(together), (together, []))[1].extend(alerts)
    return found


def _new_group(
    key: str, destination: Destination, alerts: Sequence[Alert], tree: policy.Routing, at: datetime
) -> Group:
    first = min(timing.first_tick(_starts_at(alert), at, destination.group_wait_seconds) for alert in alerts)
    return Group(
        key=key,
        route_id=destination.route_id or None,
        receiver_id=tree.receiver_ids.get(destination.receiver),
        labels=destination.group_labels.as_dict(),
        created_at=at,
        next_flush_at=first,
    )


def _hurry(groups: Mapping[str, _Locked], wanted: Wanted, at: datetime) -> None:
    """Let groups that never ticked tick at once for alerts that began long ago (AG-4)."""
    changed = []
    for key, group in groups.items():
        destination, alerts = wanted[key]
        due = group.next_flush_at
        for alert in alerts:
            due = timing.tick_after_arrival(
                due, group.first_flush_at is not None, _starts_at(alert), at, destination.group_wait_seconds
            )
        if due != group.next_flush_at:
            changed.append((group.pk, due))
    if changed:
        bulk.run(_HURRY, [*map(list, zip(*changed, strict=True))])


def _join(groups: Mapping[str, _Locked], wanted: Wanted, at: datetime) -> int:
    pairs = [(groups[key].pk, alert.pk) for key, (_, alerts) in wanted.items() for alert in alerts]
    return bulk.run(_JOIN, [at, *map(list, zip(*pairs, strict=True))])  # who is a member already stays as he is


def _repoint(tree: policy.Routing) -> None:
    """Give each group the receiver its route has now."""
    groups = Group.objects.select_for_update(no_key=True).order_by("id")
    changed = []
    for group in groups:
        route_now = tree.routes.get(group.route_id or policy.BUILT_IN_ROOT_ID)
        receiver_id = tree.receiver_ids.get(route_now.receiver) if route_now else None
        if group.receiver_id != receiver_id:
            group.receiver_id = receiver_id
            changed.append(group)
    bulk.update(changed, ["receiver"])


def _starts_at(alert: Alert) -> datetime:
    return alert.fired_at or alert.active_since
