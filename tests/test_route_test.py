"""Where labels would go and when, and a rule fired as a test."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied

from alerts import route_test, testfire
from alerts.engine.stages import Verdict
from alerts.models import Alert, Integration, Notification, Rule, TimeInterval
from monitoring.promql import Labels
from tests import build
from tests.build import T0
from tests.fakes import FakeWebhook
from tests.test_evaluate import cpu_rule, measure

pytestmark = pytest.mark.django_db


def labels(**pairs: str) -> Labels:
    return Labels.of({"alertname": "A", **pairs})


def test_every_route_says_why_it_took_the_labels_or_not():
    root = build.route()
    build.route(root, matchers=["team=gpu"], receiver=build.receiver("gpu"))
    build.route(root, matchers=["team=ml"], receiver=build.receiver("ml"), position=1)
    found = route_test.report(labels(team="ml"), T0)
    words = [line.step.words for line in found.lines]
    assert "team is 'ml', not team=\"gpu\"" in words[1]
    assert words[2] == "matches and goes to ml"
    assert [way.destination.receiver for way in found.ways] == ["ml"]


def test_the_first_three_messages_are_planned_with_their_times():
    build.route()
    (way,) = route_test.report(labels(), T0).ways
    assert [one.at - T0 for one in way.tellings] == [
        timedelta(seconds=30),
        timedelta(seconds=30 + 14_400),
        timedelta(seconds=30 + 2 * 14_400),
    ]


def test_a_repeat_waits_for_the_next_flush_that_is_late_enough():
    build.route(group_wait_seconds=0, group_interval_seconds=70, repeat_interval_seconds=100)
    (way,) = route_test.report(labels(), T0).ways
    assert way.tellings[1].at - T0 == timedelta(seconds=140)


def test_a_message_in_a_mute_interval_is_marked():
    root = build.route()
    night = TimeInterval.objects.create(
        name="afternoon", spec=[{"times": [{"start_time": "15:00", "end_time": "18:00"}]}]
    )
    child = build.route(root, matchers=["team=ml"])
    child.mute_intervals.add(night)
    (way,) = route_test.report(labels(team="ml"), T0).ways
    assert [bool(one.muted) for one in way.tellings] == [False, True, False]


def test_a_silence_now_is_named():
    build.route()
    build.silence("alertname=A")
    (way,) = route_test.report(labels(), T0).ways
    assert way.muted is not None and way.muted.kind == "silenced"


@pytest.fixture
def hook():
    with FakeWebhook() as server:
        yield server


@pytest.fixture
def way(hook):
    root = build.route()
    return build.integration(root.receiver, Integration.Kind.WEBHOOK, url=hook.hook_url("x"))


def test_a_dry_run_tells_every_stage_and_saves_nothing(way):
    rule = cpu_rule(hold_seconds=300, annotations={"summary": "{{ $labels.host }} at {{ $value }}"})
    measure(T0, ana=42, ben=70)
    found = testfire.fire(rule, T0, who="ana")
    assert found.labels == Labels.of({"alertname": "HostCPUHigh", "host": "ben", "severity": "warning"})
    assert [stage.name for stage in found.stages] == ["Query", "Limit", "State", "Rule's life"]
    assert "takes it as if it were" in found.stages[1].words
    assert "pending for 5m" in found.stages[2].words
    (shot,) = found.shots
    assert shot.message.alerts[0].annotations["summary"] == "ben at 70"
    assert not Alert.objects.exists() and not Notification.objects.exists()


def test_the_series_and_severity_can_be_chosen(way):
    rule = cpu_rule()
    measure(T0, ana=42, ben=70)
    element = next(one for one in testfire.fire(rule, T0).series if one.get("host") == "ana")
    found = testfire.fire(rule, T0, wanted=element, severity="critical")
    assert found.labels.get("host") == "ana" and found.labels.get("severity") == "critical"


def test_a_rule_that_matches_nothing_stops_at_the_query(way):
    found = testfire.fire(cpu_rule(), T0)
    assert found.stages[-1].verdict == Verdict.STOP
    assert "matches nothing" in found.stages[-1].words


def test_a_bad_expression_is_the_first_stage(way):
    rule = cpu_rule()
    Rule.objects.filter(pk=rule.pk).update(expr="rate(")
    rule.refresh_from_db()
    assert testfire.fire(rule, T0).stages[0].verdict == Verdict.STOP


@pytest.mark.django_db(transaction=True)
def test_a_sent_test_arrives_and_says_that_it_is_one(way, hook):
    rule = cpu_rule()
    measure(T0, ana=85)
    ana = User.objects.create_superuser("ana")
    found = testfire.send(testfire.fire(rule, T0, who="ana"), T0, ana)
    assert found.shots[0].stages[-1].verdict == Verdict.OK
    assert Notification.objects.get().kind == Notification.Kind.TEST
    assert not Alert.objects.exists()
    (body,) = hook.bodies("x")
    assert "This is a test" in str(body)


def test_who_may_not_change_rules_sends_no_test(way):
    rule = cpu_rule()
    measure(T0, ana=85)
    with pytest.raises(PermissionDenied):
        testfire.send(testfire.fire(rule, T0), T0, User.objects.create_user("vic"))
    assert not Notification.objects.exists()
