"""The evaluation record: what every rule found in a slot, and what of it is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts import alert_rows, evaluate, housekeeping, prepared, records
from alerts.models import EvaluationRecord, Event
from tests import build
from tests.test_evaluate import cpu_rule, measure, run, slots

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def test_a_slot_tells_the_question_the_values_their_limits_and_what_changed():
    rule = cpu_rule(hold_seconds=60)
    (at,) = slots(rule, 1)
    measure(at, ana=85, ben=20)
    run(rule, at)
    found = records.at(rule.group_id, at)
    assert found is not None
    mine = found.of(rule.pk)
    assert mine is not None
    assert (mine.expr, mine.revision, mine.series_count, mine.problem) == (rule.expr, rule.revision, 2, "")
    first = mine.near[0]
    assert (first.labels["host"], first.labels["severity"]) == ("ana", "warning")
    assert (first.value, first.limit, first.before, first.after) == (85, 80, "", "pending")
    assert "Condition became true" in first.reason


def test_the_series_past_a_limit_come_first_and_then_the_nearest():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, **{f"h{number}": float(number) for number in range(50)}, close=79.5, over=81)
    run(rule, at)
    mine = records.at(rule.group_id, at).of(rule.pk)
    assert [one.labels["host"] for one in mine.near[:2]] == ["over", "close"]
    assert len(mine.near) == records.NEAR


def test_a_series_that_recovered_far_from_its_limit_is_in_the_record():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    measure(first, ana=99, **{f"h{number}": 79.0 for number in range(20)})
    run(rule, first)
    measure(second, ana=1, **{f"h{number}": 79.0 for number in range(20)})
    run(rule, second)
    near = records.at(rule.group_id, second).of(rule.pk).near
    ana = [one for one in near if one.labels["host"] == "ana"]
    assert {(one.before, one.after, one.value) for one in ana} == {("firing", "", 1.0)}


def test_a_rule_that_fails_leaves_its_error_in_the_record():
    rule = build.rule(expr="cpu_usage_percent * on() group_left() cpu_usage_percent")
    (at,) = slots(rule, 1)
    measure(at, ana=1, ben=2)
    run(rule, at)
    assert "duplicate series" in records.at(rule.group_id, at).of(rule.pk).problem


def test_unchanged_alerts_cost_one_row_a_slot_and_group():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    hosts = {f"h{number}": 99.0 for number in range(300)}
    measure(first, **hosts)
    run(rule, first)
    measure(second, **hosts)
    events = Event.objects.count()
    run(rule, second)
    assert EvaluationRecord.objects.count() == 2
    assert Event.objects.count() == events
    assert len(records.at(rule.group_id, second).of(rule.pk).near) == records.NEAR


def test_records_older_than_two_days_go_and_younger_ones_stay():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    for at in (first, second):
        measure(at, ana=1)
        run(rule, at)
    housekeeping.keep_house(first + records.KEPT + timedelta(seconds=1))
    assert [row.slot for row in EvaluationRecord.objects.all()] == [second]


def test_what_happened_is_kept_for_thirteen_months():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=99)
    run(rule, at)
    housekeeping.keep_house(at + timedelta(days=395))
    assert Event.objects.filter(kind="firing").exists()
    housekeeping.keep_house(at + timedelta(days=397))
    assert not Event.objects.filter(kind="firing").exists()
