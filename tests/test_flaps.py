"""Alerts that fire and resolve again and again: told as one flapping problem, plain ones exactly as before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings

from alerts import actions, deliver, dispatch, escalate
from alerts.channels.base import Receipt
from alerts.models import Alert, Flap, GroupAlert, Integration, Notification
from alerts.transmit import Outcome
from tests import build
from tests.build import T0
from tests.people import member

pytestmark = pytest.mark.django_db


def minutes(n: float):
    """T0 plus n minutes."""
    return T0 + timedelta(minutes=n)


def fire(n: float, tok: str = "1") -> Alert:
    """The alert, firing anew at T0 + n minutes."""
    row = build.alert("A", minutes(n), labels={"tok": tok})
    dispatch.route([row], minutes(n))
    return row


def flap(start: float, end: float, until: float | None = None, period: float = 2) -> list[tuple[float, str, str]]:
    """Fire and resolve from start to end, tick until `until`: messages as (minute, firing or resolved, why)."""
    told, row, n = [], None, start
    while n <= (until or end):
        if n < end and (n - start) % period == 0:
            row = fire(n)
        elif row and (n - start) % period == period / 2 and row.state == Alert.State.FIRING:
            build.resolve(row, minutes(n))
        told += [(n, message.status, message.why) for message in tick(n)]
        n += 0.5
    return told


def tick(n: float) -> list[Notification]:
    """Flush and deliver at T0 + n minutes."""
    dispatch.flush_due(minutes(n))
    return [one for one in build.arrive(minutes(n)) if one.kind != Notification.Kind.THREAD]


@pytest.fixture
def root():
    """Everything to one receiver: 0 s, 1 min, 4 h."""
    return build.route(group_wait_seconds=0, group_interval_seconds=60)


@pytest.fixture
def way(root):
    """A webhook."""
    return build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")


def test_a_stream_of_changes_becomes_one_problem_and_ends_once(way) -> None:
    told = flap(0, 20, until=60)
    stream = [one for one in told if one[0] < 9]
    assert [why for _, _, why in stream] == ["first", "all_resolved", *["new_alerts", "all_resolved"] * 3, "new_alerts"]
    after = [one for one in told if one[0] >= 9]
    assert after == [(9, "firing", "flapping"), (47, "resolved", "all_resolved")]


def test_the_message_says_that_it_flaps_and_how_often(way) -> None:
    flap(0, 20)
    message = Notification.objects.get(why="flapping").message
    assert message["alerts"][0]["state"] == "flapping: 10 changes in 30 min, the last 0 s ago"
    assert message["alerts"][0]["ends_at"] is None


def test_the_problem_is_a_row_with_its_count(way) -> None:
    flap(0, 20, until=60)
    row = Flap.objects.get()
    assert (row.name, row.changes, row.began_at, row.ended_at) == ("A", 20, minutes(9), minutes(47))


def test_on_a_bot_token_it_is_the_living_message(root) -> None:
    build.integration(root.receiver)
    flap(0, 20)
    row = Notification.objects.get(why="flapping")
    assert row.kind == Notification.Kind.UPDATE


def test_an_alert_that_calms_while_it_fires_is_told_so(way) -> None:
    flap(0, 20)
    fire(21)
    told = [(n, one.why, one.reason) for n in range(21, 60) for one in tick(n)]
    assert told == [(48, "flapping", "no longer flapping, still firing")]


def test_few_changes_are_told_as_alertmanager_does(way) -> None:
    assert [why for _, _, why in flap(0, 6, until=30)] == ["first", "all_resolved", *["new_alerts", "all_resolved"] * 2]
    assert not Flap.objects.exists()


def test_a_burst_within_two_minutes_is_told_as_alertmanager_does(root) -> None:
    root.group_interval_seconds = 1
    root.save()
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")
    row, told = None, 0
    for second in range(0, 100, 2):
        if second % 4 == 0:
            row = fire(second / 60)
        elif row:
            build.resolve(row, minutes(second / 60))
        told += len(tick(second / 60))
    assert told == 50
    assert not Flap.objects.exists()


def test_flapping_can_be_switched_off(way, monkeypatch) -> None:
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, flapping_changes=0))
    assert len(flap(0, 20)) == 20


def test_other_alerts_of_the_group_are_told_as_ever(way) -> None:
    flap(0, 20)
    row = fire(20.5, "2")
    assert [one.why for one in tick(21)] == ["new_alerts"]
    build.resolve(row, minutes(21.5))
    assert [one.why for one in tick(22)] == ["some_resolved"]
    assert Flap.objects.get().ended_at is None
    assert GroupAlert.objects.count() == 1


def test_who_has_a_flapping_problem_keeps_it_when_it_fires_anew(way) -> None:
    flap(0, 20)
    row = fire(20.5)
    tick(21)
    rita = member("Responder", "rita")
    actions.acknowledge(row.pk, rita, minutes(21))
    build.resolve(row, minutes(21.5))
    tick(22)
    again = fire(22.5)
    tick(23)
    again.refresh_from_db()
    assert again.acknowledged_by == rita


def test_a_flapping_problem_is_escalated_also_while_it_is_quiet(way) -> None:
    flap(0, 20)
    oncall = build.receiver("oncall")
    build.integration(oncall, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")
    build.policy("p1", (60, oncall))
    assert Alert.objects.order_by("-id")[0].state == Alert.State.RESOLVED
    tick(21)
    escalate.run_due(minutes(22))
    assert [one.receiver_name for one in tick(22)] == ["oncall"]


def test_what_ends_while_a_message_is_on_its_way_is_still_told(way) -> None:
    one, two = fire(0, "1"), fire(0, "2")
    tick(0)
    build.resolve(two, minutes(0.5))
    dispatch.flush_due(minutes(1))
    parcels = deliver.claim(minutes(1), "test")
    build.resolve(one, minutes(1.1))
    results = [(parcel, Outcome(parcel.kind, receipt=Receipt()), 0.0) for parcel in parcels]
    deliver.settle(results, minutes(1.2), "test")
    assert [(message.why, message.resolved) for message in tick(2)] == [("all_resolved", [one.fingerprint])]
