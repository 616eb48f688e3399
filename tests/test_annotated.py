"""Annotations and values of firing alerts as they read now, while their rows keep the words of the last change."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from alerts import alert_rows, annotated, compose, evaluate, prepared
from alerts.models import Alert, Group, Rule
from tests import build
from tests.test_evaluate import cpu_rule, measure, run, slots

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def fired(first: float = 85, second: float = 93, **fields) -> tuple[Alert, datetime]:
    """An alert that fired at one value and measures another now."""
    rule = cpu_rule(**fields)
    times = slots(rule, 2)
    for at, value in zip(times, (first, second), strict=True):
        measure(at, ana=value)
        run(rule, at)
    return Alert.objects.select_related("rule").get(state="firing"), times[1]


def test_annotations_carry_the_value_of_the_last_evaluation():
    alert, at = fired(annotations={"summary": "{{ $labels.host }} at {{ $value }} of {{ $threshold }}"})
    assert alert.annotations["summary"] == "ana at 85 of 80"
    assert annotated.now([alert], at)[alert.pk] == {"summary": "ana at 93 of 80"}


def test_annotations_that_cannot_change_are_not_asked_for(django_assert_num_queries):
    alert, at = fired(annotations={"summary": "{{ $labels.host }} is busy"})
    with django_assert_num_queries(0):
        assert annotated.now([alert], at) == {}


def test_a_message_tells_the_newest_words():
    alert, at = fired(annotations={"summary": "at {{ $value }}"})
    group = Group(key="k", labels={"alertname": alert.name}, created_at=at, next_flush_at=at)
    content = compose.message([alert], group=group, receiver="ml-team", at=at)
    assert content.alerts[0].annotations == {"summary": "at 93"}


def test_PR_7_an_alert_that_fires_on_has_the_words_of_its_edited_rule():
    alert, at = fired(annotations={"summary": "{{ $labels.host }} is busy"})
    alert.rule.annotations = {"summary": "call {{ $labels.host }}'s owner", "runbook": "wiki"}
    alert.rule.save()
    assert annotated.now([alert], at)[alert.pk] == {"summary": "call ana's owner", "runbook": "wiki"}


def test_a_rule_label_that_hides_a_label_of_the_series_leaves_the_words_of_the_row():
    alert, at = fired(labels={"host": "fixed"}, annotations={"summary": "{{ $labels.host }} {{ $value }}"})
    assert alert.annotations["summary"] == "ana 85"
    assert annotated.now([alert], at) == {}


@pytest.mark.parametrize(
    "text", ["{{ $labels.__name__ }} {{ $value }}", "{{ $value }}{{ range $k, $v := $labels }}{{ $k }}{{ end }}"]
)
def test_templates_that_may_show_the_name_of_the_series_leave_the_words_of_the_row(text):
    alert, at = fired(annotations={"summary": text})
    assert annotated.now([alert], at) == {}


def test_alerts_without_data_and_resolved_ones_keep_their_words():
    alert, at = fired(annotations={"summary": "at {{ $value }}"})
    alert.no_data_since = at
    assert annotated.now([alert], at) == {}
    alert.no_data_since, alert.state = None, Alert.State.RESOLVED
    assert annotated.now([alert], at) == {}


def test_posted_alerts_keep_what_was_posted():
    row = build.alert("Posted", source=Alert.Source.API, annotations={"summary": "{{ $value }}"})
    assert annotated.now([row], build.T0) == {}


def test_the_values_of_now_are_known_by_alert():
    alert, at = fired()
    assert annotated.values([alert], at) == {alert.pk: 93}
    assert annotated.values([alert], at + timedelta(hours=1)) == {}


def test_a_template_that_was_broken_since_leaves_the_words_of_the_row():
    alert, at = fired(annotations={"summary": "at {{ $value }}"})
    Rule.objects.update(annotations={"summary": "{{ nonsense"})
    alert.refresh_from_db()
    assert annotated.now([Alert.objects.select_related("rule").get(pk=alert.pk)], at) == {}
