"""Where labels would go: every route with what it said, and for each group the way from now to its first messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts import dispatch, policy
from alerts.engine.fingerprint import fingerprint
from alerts.engine.muting import MuteReason, Subject, time_reason
from alerts.engine.routing import Destination, Route, RouteStep, explain
from alerts.models import Alert, Group, GroupAlert, Integration
from monitoring.promql import Labels

SHOWN_TIMES = 3


@dataclass(frozen=True)
class TreeLine:
    """One route of the tree and what it said to the labels."""

    route: Route
    step: RouteStep
    title: str


@dataclass(frozen=True)
class Telling:
    """One message that would go out: when, why, and why it would not after all ("" when nothing is in its way)."""

    at: datetime
    words: str
    muted: str = ""


@dataclass(frozen=True)
class Way:
    """One group that the labels would join, who hears of it by which ways out, and when."""

    destination: Destination
    route_title: str
    ways_out: tuple[Integration, ...]
    group: Group | None  # the group when there is one now
    members: int
    muted: MuteReason | None
    tellings: tuple[Telling, ...]


@dataclass(frozen=True)
class RouteReport:
    """The whole answer for one label set."""

    labels: Labels
    fingerprint: str
    lines: tuple[TreeLine, ...]
    ways: tuple[Way, ...]
    alert: Alert | None  # the firing or pending alert that has these labels, if there is one


def report(labels: Labels, at: datetime, rule_id: int | None = None) -> RouteReport:
    """Walk the tree for an alert with `labels` that fires at `at`; raises RouteError when the tree is broken."""
    routing = policy.routing()
    key = fingerprint(labels)
    active = (Alert.State.PENDING, Alert.State.FIRING)
    alert = Alert.objects.filter(fingerprint=key, state__in=active).select_related("rule").first()
    rule_id = rule_id if rule_id is not None else (alert.rule_id if alert else None)
    lines = tuple(
        TreeLine(routing.routes[step.route_id], step, routing.routes[step.route_id].title)
        for step in explain(routing.tree, labels)
    )
    muter = policy.muter(at, [rule_id], routing.intervals)
    subject = Subject(labels, rule_id)
    ways = []
    for destination in routing.tree.match(labels):
        muted = muter.reason(subject, destination.active_intervals, destination.mute_intervals)
        ways.append(_way(destination, routing, muted, at))
    return RouteReport(labels, key, lines, tuple(ways), alert)


def ways_out(receiver: str) -> tuple[Integration, ...]:
    """The ways out of a receiver that are switched on."""
    rows = Integration.objects.filter(receiver__name=receiver, is_enabled=True)
    return tuple(rows.select_related("receiver").order_by("pk"))


def _way(destination: Destination, routing: policy.Routing, muted: MuteReason | None, at: datetime) -> Way:
    group = Group.objects.filter(key=dispatch.group_key(destination)).first()
    members = GroupAlert.objects.filter(group=group).count() if group else 0
    return Way(
        destination=destination,
        route_title=routing.routes[destination.route_id].title,
        ways_out=ways_out(destination.receiver),
        group=group,
        members=members,
        muted=muted,
        tellings=tuple(_tellings(destination, routing, group, at)),
    )


def _tellings(
    destination: Destination, routing: policy.Routing, group: Group | None, at: datetime
) -> Sequence[Telling]:
    """The first messages of an alert that fires now and goes on firing (AG-3, AD-5)."""
    first = at + timedelta(seconds=destination.group_wait_seconds)
    words = f"after group_wait of {destination.group_wait_seconds:g} s"
    if group is not None and group.first_flush_at is not None:
        first, words = max(group.next_flush_at, at), "with the group's next flush: the group is there already"
    interval = timedelta(seconds=destination.group_interval_seconds)
    # A repeat goes out with the first flush that is not before the repeat_interval is over.
    step = interval * math.ceil(destination.repeat_interval_seconds / destination.group_interval_seconds)
    found = [Telling(first, words, _muted_by_time(destination, routing, first))]
    for number in range(1, SHOWN_TIMES):
        when = first + step * number
        again = f"repeated, if it still fires and nobody has acknowledged it ({_ordinal(number)} repeat)"
        found.append(Telling(when, again, _muted_by_time(destination, routing, when)))
    return found


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second"}.get(number, f"{number}th")


def _muted_by_time(destination: Destination, routing: policy.Routing, when: datetime) -> str:
    reason = time_reason(destination.active_intervals, destination.mute_intervals, routing.intervals, when)
    return reason.words if reason else ""
