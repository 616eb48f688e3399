"""The list of rules at a glance: the value of each against its limit, and who is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import alert_rows, evaluate, prepared, rule_glance
from alerts.models import EvaluationRecord, Rule
from alerts.rule_glance import POINTS, Glance, Point, glances
from tests import build
from tests.people import member, signed_in
from tests.test_evaluate import cpu_rule, measure, run, slots

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    yield
    rule_glance.forget()
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def evaluated(rule: Rule, *values: float) -> Any:
    """Evaluate a slot for each value, fifteen minutes apart; the time shortly after the last."""
    at = slots(rule, 1)[0]
    for number, value in enumerate(values):
        moment = at + timedelta(minutes=15 * number)
        measure(moment, ana=value)
        run(rule, moment)
    return at + timedelta(minutes=15 * len(values) + 2)


def seen(rule: Rule, at: Any) -> Glance:
    return glances([rule], at)[rule.pk]


def test_each_moment_has_the_value_nearest_to_its_limit_and_that_limit():
    rule = cpu_rule()
    at = evaluated(rule, 20, 85)
    assert seen(rule, at).points[-3:-1] == (Point(20, 80, False), Point(85, 80, True))


def test_the_newest_record_is_the_last_point():
    rule = cpu_rule()
    at = evaluated(rule, 20) - timedelta(minutes=16)
    assert seen(rule, at).points[-2:] == (None, Point(20, 80, False))


def test_a_moment_without_a_record_is_a_gap():
    rule = cpu_rule()
    at = evaluated(rule, 20) + timedelta(hours=1)
    points = seen(rule, at).points
    assert (len(points), points[-1], points.count(None)) == (POINTS + 1, None, POINTS)


def test_a_record_that_was_read_is_not_read_again():
    rule = cpu_rule()
    at = evaluated(rule, 20, 85)
    before = seen(rule, at).points
    EvaluationRecord.objects.all().delete()
    assert seen(rule, at).points == before


def test_the_labels_of_the_series_lead_to_who_is_told():
    root = build.route()
    ana = build.receiver("ana")
    build.integration(ana, target="#ana")
    build.route(root, receiver=ana, matchers=['host="ana"'])
    rule = cpu_rule()
    (told,) = seen(rule, evaluated(rule, 20) - timedelta(minutes=5)).hearings
    assert (told.receiver, told.ways, told.route) == ("ana", ("#ana",), '{host="ana"}')


def test_a_rule_without_series_is_told_by_its_own_labels():
    root = build.route()
    build.route(root, receiver=build.receiver("pager"), matchers=['severity="critical"', 'team="ml"'])
    rule = build.rule(labels={"team": "ml", "note": "{{ $value }}"})
    build.threshold(rule, 90, "warning")
    build.threshold(rule, 95, "critical")
    assert [one.receiver for one in seen(rule, build.T0).hearings] == ["pager", "ml-team"]


def test_an_edited_route_shows_within_seconds():
    root = build.route()
    rule = build.rule()
    before = seen(rule, build.T0).hearings
    root.receiver = build.receiver("others")
    root.save()
    later = [seen(rule, build.T0 + timedelta(seconds=seconds)).hearings[0].receiver for seconds in (5, 11)]
    assert (before[0].receiver, later) == ("ml-team", ["ml-team", "others"])


def test_a_recording_rule_tells_nobody():
    build.route()
    rule = build.rule("a:b", kind=Rule.Kind.RECORD)
    assert seen(rule, build.T0).hearings == ()


@pytest.fixture
def editor() -> Client:
    return signed_in(member("Editor", "edgar"))


def test_the_list_draws_the_value_beside_its_limit_and_says_where_it_goes(editor: Client) -> None:
    build.integration(build.route().receiver, target="#ml-alerts")
    rule = cpu_rule(labels={"team": "ml"})
    rule_at = timezone.now() - timedelta(minutes=20)
    at = prepared.latest_slot(rule.group, rule_at)
    measure(at, ana=85)
    run(rule, at)
    page = editor.get(reverse("admin:alerts_rule_changelist")).content.decode()
    assert '<path class="limit" d="M' in page and '<path class="value" d="M' in page
    assert "85%, limit 80%" in page and "#ml-alerts" in page and "team ml" in page


def test_many_groups_need_no_more_queries_than_one(editor: Client, django_assert_max_num_queries: Any) -> None:
    build.route()
    for number in range(30):
        build.threshold(build.rule(f"Rule{number}"))
    editor.get(reverse("admin:alerts_rule_changelist"))
    with django_assert_max_num_queries(15):
        editor.get(reverse("admin:alerts_rule_changelist"))
