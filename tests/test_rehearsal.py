"""What a backtest says about messages is what the dispatcher decides when the same alerts fire and resolve."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from alerts import backtest, dispatch
from alerts.engine import timing
from alerts.engine.rehearsal import Change, rehearse
from alerts.history import Span
from alerts.models import Alert, Group, InhibitRule, Notification, TimeInterval
from monitoring.promql import Labels
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
Message = tuple[datetime, str, str, bool, int]


def a_policy(chance: random.Random) -> None:
    """Routes, ways out and what mutes, some of each."""
    root = build.route(
        group_by=chance.choice((["alertname"], ["alertname", "host"], [])), group_wait_seconds=chance.choice((0, 30)),
        group_interval_seconds=chance.choice((60, 300)), repeat_interval_seconds=chance.choice((600, 3600)),
    )  # fmt: skip
    build.integration()
    build.integration(kind="webhook", url="http://127.0.0.1/hook", send_resolved=chance.random() < 0.7)
    if chance.random() < 0.5:
        other = build.receiver("batch")
        build.integration(other, kind="webhook", url="http://127.0.0.1/other")
        child = build.route(
            root, receiver=other, matchers=['host="ben"'], goes_on=chance.random() < 0.5, group_wait_seconds=10
        )
        if chance.random() < 0.5:
            night = TimeInterval.objects.create(
                name="quiet", spec=[{"times": [{"start_time": "12:30", "end_time": "13:10"}]}]
            )
            child.mute_intervals.add(night)
    if chance.random() < 0.6:
        begin = T0 + timedelta(minutes=chance.randrange(60))
        build.silence('host="ana"', starts_at=begin, ends_at=begin + timedelta(minutes=chance.choice((3, 30))))
    if chance.random() < 0.4:
        InhibitRule.objects.create(source_matchers=['host="cleo"'], target_matchers=['host="ana"'], equal=["alertname"])


def some_changes(chance: random.Random) -> list[Change]:
    """Alerts of three hosts that fire and resolve for two hours, on the slots of a rule."""
    found: list[Change] = []
    firing: set[str] = set()
    at = T0
    while at < T0 + timedelta(hours=2):
        at += timedelta(seconds=15 * chance.choice((1, 2, 7, 20, 60)))
        host = chance.choice(("ana", "ben", "cleo"))
        found.append(Change(at, Labels.of({"alertname": "X", "host": host}), host not in firing))
        firing ^= {host}
    return found


def really_told(changes: list[Change], end: datetime) -> list[Message]:
    """What the dispatcher told, each message arriving at once; time jumps from one thing that is due to the next."""
    rows: dict[Labels, Alert] = {}
    left, emptied = list(changes), dict[int, datetime]()
    while True:
        due = Group.objects.filter(members__isnull=False).order_by("next_flush_at").first()
        next_tick = due.next_flush_at if due else end
        now = min(next_tick, left[0].at if left else end)
        if now >= end:
            break
        _sweep(emptied, now)
        if left and left[0].at <= next_tick:
            _apply(left.pop(0), rows)
        else:
            dispatch.flush_due(next_tick)
            _arrive(next_tick)
        _note_empty(emptied, now)
    told = Notification.objects.exclude(state=Notification.State.SUPERSEDED).order_by("pk")
    return sorted(
        (one.flushed_at, f"{one.receiver_name} {one.integration}", one.why, one.kind == "update", len(one.firing))
        for one in told
    )


def _arrive(at: datetime) -> None:
    """Let every message arrive; those to one channel go out a second apart."""
    while Notification.objects.filter(state=Notification.State.QUEUED).exists():
        build.arrive(at)
        at += timedelta(seconds=1)


def _sweep(emptied: dict[int, datetime], now: datetime) -> None:
    """Remove groups that have been empty long enough, as keeping house does meanwhile."""
    gone = [pk for pk, since in emptied.items() if timing.is_swept(since, now)]
    Group.objects.filter(pk__in=gone).delete()


def _note_empty(emptied: dict[int, datetime], now: datetime) -> None:
    empty = set(Group.objects.filter(members__isnull=True).values_list("pk", flat=True))
    for pk in emptied.keys() - empty:
        del emptied[pk]
    for pk in empty:
        emptied.setdefault(pk, now)


def _apply(change: Change, rows: dict[Labels, Alert]) -> None:
    if change.is_firing:
        labels = change.labels.as_dict()
        row = rows[change.labels] = build.alert(labels.pop("alertname"), change.at, labels=labels)
        dispatch.route([row], change.at)
    else:
        build.resolve(rows[change.labels], change.at)


def rehearsed(changes: list[Change], end: datetime) -> list[Message]:
    stage: Any = backtest.stage_of(Span(T0, end, 15))
    told = rehearse(changes, stage, end).told
    return sorted((one.at, f"{one.receiver} {one.way}", one.why, one.is_edit, one.firing) for one in told)


@pytest.mark.parametrize("seed", range(10))
def test_a_rehearsal_tells_what_the_dispatcher_tells(seed: int) -> None:
    chance = random.Random(seed)
    a_policy(chance)
    changes, end = some_changes(chance), T0 + timedelta(hours=3)
    said = rehearsed(changes, end)
    assert said == really_told(changes, end)


def test_too_many_ticks_are_cut_and_told() -> None:
    build.route(repeat_interval_seconds=300)
    change = Change(T0, Labels.of({"alertname": "X"}), True)
    found = rehearse(
        [change], backtest.stage_of(Span(T0, T0 + timedelta(days=9), 15)), T0 + timedelta(days=9), None, 10
    )
    assert found.cut_at is not None and len(found.told) <= 10
