"""Rules and alerts as the Prometheus HTTP API tells them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts.api import _scientific
from alerts.models import Alert, GroupClock, Rule, RuleStatus
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


def data(path, **params):
    response = Client().get(f"/api/v1/{path}", params)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def names(**params):
    return [(group["name"], [rule["name"] for rule in group["rules"]]) for group in data("rules", **params)["groups"]]


@pytest.fixture
def cpu():
    """An alerting rule with one firing and one pending alert, in a group of staff that has been evaluated."""
    group = build.rule_group(name="hosts", interval_seconds=30, limit=5)
    at = {"next_slot_at": T0 + timedelta(seconds=30), "last_slot_at": T0, "last_duration_seconds": 0.5}
    GroupClock.objects.update_or_create(group=group, defaults=at)
    rule = build.rule(
        "CPUHigh", "cpu > 90", group=group, hold_seconds=300, keep_firing_seconds=60,
        labels={"team": "ml"}, annotations={"summary": "busy"},
    )  # fmt: skip
    RuleStatus.objects.create(rule=rule, health="ok", evaluated_at=T0, duration_seconds=0.25)
    build.alert("CPUHigh", rule=rule, labels={"host": "ana"}, value=95.5, annotations={"summary": "busy"})
    build.alert("CPUHigh", rule=rule, labels={"host": "bob"}, state=Alert.State.PENDING, value=91.0)
    return rule


@pytest.fixture
def recording(cpu):
    """A recording rule of a file that fails."""
    group = build.rule_group(name="sums", managed_by="rules/sums.yml")
    rule = build.rule("job:cpu:sum", "sum(cpu)", group=group, kind=Rule.Kind.RECORD)
    RuleStatus.objects.create(rule=rule, health="err", last_error="too many series", evaluated_at=T0)
    return rule


def test_a_group_tells_its_interval_and_last_evaluation(cpu):
    group = data("rules")["groups"][0]
    rules = group.pop("rules")
    assert group == {
        "name": "hosts", "file": "portal", "interval": 30, "limit": 5,
        "evaluationTime": 0.5, "lastEvaluation": "2026-03-04T12:00:00Z",
    }  # fmt: skip
    assert len(rules) == 1


def test_an_alerting_rule_tells_its_state_and_alerts(cpu):
    rule = data("rules")["groups"][0]["rules"][0]
    alerts = rule.pop("alerts")
    assert rule == {
        "name": "CPUHigh", "query": "cpu > 90", "duration": 300, "keepFiringFor": 60, "labels": {"team": "ml"},
        "annotations": {"summary": "busy"}, "state": "firing", "health": "ok", "type": "alerting",
        "evaluationTime": 0.25, "lastEvaluation": "2026-03-04T12:00:00Z",
    }  # fmt: skip
    assert alerts[0] == {
        "labels": {"alertname": "CPUHigh", "host": "ana"}, "annotations": {"summary": "busy"}, "state": "firing",
        "activeAt": "2026-03-04T12:00:00Z", "value": "9.55e+01",
    }  # fmt: skip
    assert [(alert["labels"]["host"], alert["state"]) for alert in alerts] == [("ana", "firing"), ("bob", "pending")]


def test_a_recording_rule_has_no_state_and_tells_its_error(recording):
    rule = data("rules", type="record")["groups"][0]["rules"][0]
    assert (rule["type"], rule["health"], rule["lastError"]) == ("recording", "err", "too many series")
    assert "state" not in rule
    assert data("rules", type="record")["groups"][0]["file"] == "rules/sums.yml"


def test_a_rule_without_active_alerts_is_inactive(cpu):
    for alert in cpu.alerts.all():
        build.resolve(alert, T0 + timedelta(minutes=1))
    rule = data("rules")["groups"][0]["rules"][0]
    assert (rule["state"], rule["alerts"]) == ("inactive", [])


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"type": "alert"}, [("hosts", ["CPUHigh"])]),
        ({"type": "record"}, [("sums", ["job:cpu:sum"])]),
        ({"rule_name[]": "CPUHigh"}, [("hosts", ["CPUHigh"])]),
        ({"rule_group[]": ["sums", "nothing"]}, [("sums", ["job:cpu:sum"])]),
        ({"file[]": "rules/sums.yml"}, [("sums", ["job:cpu:sum"])]),
        ({"match[]": '{team="ml"}'}, [("hosts", ["CPUHigh"])]),
        ({"match[]": '{team="web"}'}, []),
        ({"group_limit": 1}, [("hosts", ["CPUHigh"])]),
        ({"group_limit": 1, "group_next_token": "rules/sums.yml;sums"}, [("sums", ["job:cpu:sum"])]),
    ],
)
def test_rules_are_filtered(recording, params, wanted):
    assert names(**params) == wanted


def test_a_page_of_groups_names_the_next(recording):
    assert data("rules", group_limit=1)["groupNextToken"] == "rules/sums.yml;sums"
    assert "groupNextToken" not in data("rules", group_limit=2)


def test_alerts_may_be_left_out(cpu):
    rule = data("rules", exclude_alerts="true")["groups"][0]["rules"][0]
    assert (rule["state"], rule["alerts"]) == ("firing", [])


@pytest.mark.parametrize("life", [Rule.Life.DRAFT, Rule.Life.SHADOW, Rule.Life.DISABLED])
def test_rules_that_nobody_shall_hear_of_are_not_told(cpu, life):
    Rule.objects.filter(pk=cpu.pk).update(life=life)
    assert names() == [("hosts", [])]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"type": "both"}, "not supported value"),
        ({"exclude_alerts": "perhaps"}, "exclude_alerts"),
        ({"group_limit": "x"}, "cannot parse"),
        ({"group_next_token": "gone"}, "invalid group_next_token"),
        ({"match[]": "{"}, "match[]"),
    ],
)
def test_a_filter_that_cannot_be_read_is_bad_data(cpu, params, said):
    response = Client().get("/api/v1/rules", params)
    assert (response.status_code, response.json()["errorType"]) == (400, "bad_data")
    assert said in response.json()["error"]


def test_alerts_are_those_of_rules_that_are_pending_or_firing(cpu):
    build.alert("Posted", source=Alert.Source.API)
    build.alert("Quiet", rule=cpu, labels={"host": "eve"}, is_shadow=True)
    build.resolve(build.alert("Old", rule=cpu), T0)
    found = data("alerts")["alerts"]
    assert [(alert["labels"]["host"], alert["state"]) for alert in found] == [("ana", "firing"), ("bob", "pending")]


def test_an_alert_that_keeps_firing_says_since_when(cpu):
    cpu.alerts.filter(state=Alert.State.FIRING).update(keep_firing_since=T0)
    assert data("alerts")["alerts"][0]["keepFiringSince"] == "2026-03-04T12:00:00Z"


def test_the_number_of_queries_does_not_grow_with_the_rules(cpu):
    build.alert("One", rule=build.rule("Rule"), labels={"n": "1"})
    with CaptureQueriesContext(connection) as few:
        assert len(data("rules")["groups"]) == 2
    for number in range(20):
        build.alert("More", rule=build.rule(f"Rule {number}"), labels={"n": str(number)})
    with CaptureQueriesContext(connection) as many:
        assert len(data("rules")["groups"]) == 22
    assert len(many) <= len(few)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1e+00"), (95.5, "9.55e+01"), (-0.001, "-1e-03"), (0.1 + 0.2, "3.0000000000000004e-01"),
     (float("inf"), "+Inf"), (float("nan"), "NaN")],
)  # fmt: skip
def test_values_are_written_as_go_writes_them(value, text):
    assert _scientific(value) == text
