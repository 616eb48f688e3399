"""What a tick asks first: nothing that a look would find is left out, and a tick without work costs one question."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from alerts import agenda, amingest, amlease, dispatch, evaluate, flush, tasks
from alerts.models import Alert, Escalation, Group, GroupClock, Ingest, Notification, RuleGroup
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
MOMENT = timedelta(milliseconds=1)


def looks(at=T0):
    return agenda.looks(at, at + SECOND)


@pytest.fixture(autouse=True)
def _nothing_to_do():
    """A portal on which nothing is due for an hour, though there is something of everything."""
    amlease.settings(T0)
    Ingest.objects.update(next_check_at=T0 + timedelta(hours=1))
    group = build.rule("Slow").group
    RuleGroup.objects.create(name="off", is_enabled=False)
    evaluate.due(T0)
    later = T0 + timedelta(hours=1)
    GroupClock.objects.filter(group=group).update(next_slot_at=later, settle_at=later)
    Group.objects.create(key="k", created_at=T0, next_flush_at=later)


def test_where_nothing_is_due_no_look_is_taken():
    assert looks() == ()


def test_from_the_first_look_that_finds_something_all_are_taken():
    GroupClock.objects.update(next_slot_at=T0)
    assert looks() == agenda.LOOKS


@pytest.mark.parametrize("slot", [T0 - timedelta(hours=1), T0, T0 + SECOND])
def test_a_slot_that_comes_before_the_next_tick_is_planned(slot):
    GroupClock.objects.update(next_slot_at=slot)
    assert looks()[:1] == ("evaluate",)
    assert evaluate.due(T0 + SECOND).quick
    GroupClock.objects.update(next_slot_at=T0 + SECOND + MOMENT)
    assert looks() == ()


def test_a_group_without_a_clock_gets_one():
    GroupClock.objects.all().delete()
    assert looks()[:1] == ("evaluate",)


@pytest.mark.parametrize("settle_at", [None, T0])
def test_a_group_whose_rhythm_is_to_be_looked_at_is_looked_at(settle_at):
    GroupClock.objects.update(settle_at=settle_at)
    assert looks()[:1] == ("evaluate",)


def test_groups_that_are_off_wait_for_nothing():
    RuleGroup.objects.update(is_enabled=False)
    GroupClock.objects.update(next_slot_at=T0, settle_at=None)
    assert looks() == ()


@pytest.mark.parametrize("flush_at", [T0 - timedelta(hours=1), T0, T0 + SECOND])
def test_a_flush_that_comes_before_the_next_tick_is_asked_for(flush_at):
    Group.objects.update(next_flush_at=flush_at)
    assert looks() == ("flush", "escalate", "deliver")
    Group.objects.update(next_flush_at=T0 + SECOND + MOMENT)
    assert looks() == ()


def test_posted_alerts_whose_end_has_come_are_ended():
    build.route()
    ends = T0 + timedelta(minutes=5)
    amingest.ingest([{"labels": {"alertname": "A"}, "endsAt": ends.isoformat()}], T0)
    Group.objects.update(next_flush_at=T0 + timedelta(hours=1))
    Ingest.objects.update(next_check_at=T0 + timedelta(hours=1))
    assert looks(ends - MOMENT) == ()
    assert looks(ends) == ("flush", "escalate", "deliver")
    assert amlease.settle(ends) == 1
    Ingest.objects.update(next_check_at=T0 + timedelta(hours=1))
    assert looks(ends) == ()


def test_the_look_after_resent_alerts_is_taken_when_it_is_due():
    Ingest.objects.update(next_check_at=T0)
    assert looks()[:1] == ("flush",)
    Ingest.objects.all().delete()
    assert looks()[:1] == ("flush",)


def test_an_open_escalation_is_looked_at_by_each_tick():
    escalation = Escalation.objects.create(
        group=Group.objects.get(), policy=build.policy(), frozen={}, created_at=T0, next_look_at=T0 + timedelta(days=1)
    )
    assert looks() == ("escalate", "deliver")
    escalation.ended_at = T0
    escalation.save()
    assert looks() == ()


def test_what_the_outbox_may_send_is_asked_for():
    integration = build.integration()
    build.route(receiver=integration.receiver)
    dispatch.route([build.alert("A", T0)], T0)
    flush.flush_due(T0 + timedelta(minutes=1))
    Group.objects.update(next_flush_at=T0 + timedelta(hours=1))
    assert Notification.objects.filter(state="queued").exists()
    Notification.objects.update(not_before=T0)
    assert looks() == ("deliver",)
    Notification.objects.update(not_before=T0 + MOMENT)
    assert looks() == ()
    Notification.objects.update(state="sending", lease_until=T0)
    assert looks() == ("deliver",)
    Notification.objects.update(lease_until=T0 + MOMENT)
    assert looks() == ()


def test_a_tick_without_work_is_one_question_and_says_that_all_are_alive(monkeypatch, django_assert_num_queries):
    now, alive = T0, []
    monkeypatch.setattr(tasks, "_now", lambda: now)
    monkeypatch.setattr(tasks.heartbeats, "beat", lambda kind, name, *_, **__: alive.append(name))
    with django_assert_num_queries(1):
        tasks.tick()
    assert alive == ["evaluate", "flush", "escalate", "beat"]


def test_a_look_that_fails_does_not_stop_those_after_it(monkeypatch):
    taken = []

    def fail():
        taken.append("flush")
        raise RuntimeError("no")

    monkeypatch.setattr(tasks, "_now", timezone.now)
    monkeypatch.setattr(tasks, "flush_due", fail)
    monkeypatch.setattr(tasks, "escalate_due", lambda: taken.append("escalate"))
    Group.objects.update(next_flush_at=T0)
    Ingest.objects.update(next_check_at=timezone.now() + timedelta(hours=1))
    GroupClock.objects.update(next_slot_at=timezone.now() + timedelta(hours=1), settle_at=timezone.now() + SECOND * 60)
    tasks.tick()
    assert taken == ["flush", "escalate"]


def test_a_database_that_does_not_answer_is_counted_once_and_ends_no_tick(monkeypatch):
    alive = []

    def fail(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(tasks.agenda, "looks", fail)
    monkeypatch.setattr(tasks.heartbeats, "beat", lambda kind, name, *_, **__: alive.append(name))
    counted = tasks.metrics.TICK_ERRORS.labels(tick="agenda")
    before = counted._value.get()
    tasks.tick()
    assert counted._value.get() == before + 1
    assert alive == ["beat"]


def test_ended_alerts_of_ours_are_not_waited_for():
    build.alert("A", T0)
    Alert.objects.update(ends_at=T0 - SECOND)
    assert looks() == ()
