"""Who would be told of a rule as it is typed, and what they would read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import preview
from alerts.message_preview import Told
from alerts.models import GlobalConfig, Integration, Notification, Receiver, Rule, Threshold
from alerts.preview import TypedRow
from monitoring import query, store
from tests import build
from tests.build import T0
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db


def measure(at: Any = T0, **by_host: float) -> None:
    at_ms = query.to_ms(at)
    rows = [
        store.Scrape(f"host:{host}", {"host": host}, at_ms, ["cpu_usage_percent"], np.array([value]))
        for host, value in by_host.items()
    ]
    store.append(rows, now_ms=at_ms)


def told(*rows: Threshold, expr: str = "cpu_usage_percent", **fields: Any) -> Told:
    places = [TypedRow(f"thresholds-{number}", one) for number, one in enumerate(rows)]
    found = preview.check(Rule(name="CPUHigh", expr=expr, **fields), places, T0).told
    assert found is not None
    return found


def warning(value: float = 90, **fields: Any) -> Threshold:
    return Threshold(value=value, severity="warning", **fields)


def test_the_message_speaks_of_the_series_nearest_to_its_limit():
    build.route()
    measure(ana=42, ben=70)
    found = told(warning(), annotations={"summary": "{{ $labels.host }} is at {{ $value }} of {{ $threshold }}"})
    assert found.message is not None and found.series == "host=ben"
    assert found.message.alerts[0].summary == "ben is at 70 of 90" and not found.is_past


def test_it_says_whether_the_series_is_past_its_limit_now():
    build.route()
    measure(ana=95)
    assert told(warning()).is_past and told(expr="cpu_usage_percent > 90").is_past
    assert not told(expr="cpu_usage_percent > 99").is_past


def test_the_message_is_in_the_words_of_the_receivers_own_text():
    root = build.route()
    build.integration(root.receiver, title_template="{{ .CommonLabels.alertname }} at ours", text_template="look")
    measure(ana=95)
    message = told(warning()).message
    assert message is not None and (message.custom.title, message.custom.text) == ("CPUHigh at ours", "look")


def test_each_severity_goes_by_its_own_route():
    root = build.route()
    build.integration(root.receiver, target="#ml-alerts")
    pager = build.receiver("pager")
    build.integration(pager, target="#oncall")
    build.route(root, receiver=pager, matchers=['severity="critical"'], group_wait_seconds=0)
    measure(ana=10)
    hearers = told(warning(), Threshold(value=99, severity="critical")).hearers
    found = {(one.ways, one.severities, one.route, one.wait) for one in hearers}
    assert found == {
        (("#ml-alerts",), "warning", "the root route", "30s"), (("#oncall",), "critical", '{severity="critical"}', "0s")
    }  # fmt: skip


def test_the_series_decide_where_it_goes():
    root = build.route()
    for host in ("ana", "ben"):
        build.route(root, receiver=build.receiver(host), matchers=[f'host="{host}"'])
    measure(ana=1, ben=2, eva=3)
    assert [(one.receiver, one.series) for one in told(warning()).hearers] == [("ml-team", 1), ("ana", 1), ("ben", 1)]


def test_whom_the_escalation_tells_is_said_with_its_times():
    build.route()
    lead, boss = build.receiver("lead"), build.receiver("boss")
    build.policy("p", (900, lead), (900, boss))
    measure(ana=1)
    assert told(warning()).hearers[0].chain == ("lead after 15m", "boss after 30m")


def test_a_receiver_whose_ways_out_are_off_tells_nobody():
    root = build.route()
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1/x", is_enabled=False)
    measure(ana=1)
    assert told(warning()).hearers[0].ways == ()


def test_a_condition_that_is_false_is_told_by_the_value_nearest_to_it():
    build.route()
    measure(ana=42, ben=70)
    found = told(expr="cpu_usage_percent > 90", annotations={"summary": "{{ $labels.host }}"})
    assert found.message is not None and found.message.alerts[0].summary == "ben"


def test_without_any_series_the_rules_own_labels_lead():
    root = build.route()
    build.route(root, receiver=build.receiver("ml"), matchers=['team="ml"'])
    found = told(expr="up == 0", labels={"team": "ml"})
    assert ([one.receiver for one in found.hearers], found.message) == (["ml"], None)


def test_what_relabelling_drops_is_counted_and_goes_nowhere():
    build.route()
    drop = {"source_labels": ["host"], "regex": "ana", "action": "drop"}
    GlobalConfig.objects.create(alert_relabel_configs=[drop])
    measure(ana=1, ben=2)
    found = told(warning())
    assert (found.dropped, [one.series for one in found.hearers]) == (1, [1])


def test_an_annotation_that_cannot_be_read_does_not_hide_the_others():
    build.route()
    measure(ana=95)
    message = told(warning(), annotations={"summary": "{{ $value }}", "description": "{{ $value "}).message
    assert message is not None and (message.alerts[0].summary, message.alerts[0].description) == ("95", "")


def test_a_recording_rule_tells_nobody():
    measure(ana=1)
    rule = Rule(name="a:b", expr="cpu_usage_percent", kind=Rule.Kind.RECORD)
    assert preview.check(rule, [], T0).told is None


def test_the_preview_saves_and_sends_nothing():
    root = build.route()
    build.integration(root.receiver)
    measure(ana=95)
    told(warning())
    assert not Notification.objects.exists() and Receiver.objects.count() == 1


def posted(client: Client, **changes: str) -> dict[str, Any]:
    data = {"name": "CPUHigh", "kind": "alert", "expr": "cpu_usage_percent > 90", "mode": "promql"} | changes
    answer: dict[str, Any] = client.post(reverse("admin:alerts_rule_check"), data).json()
    return answer


def test_the_form_shows_the_message_as_slack_does_with_hostile_text_escaped():
    root = build.route()
    build.integration(root.receiver, target="#ml-alerts")
    measure(timezone.now(), ana=95)
    annotations = '{"summary": "<script>{{ $labels.host }}</script>"}'
    html = posted(signed_in(member("Editor")), annotations=annotations)["told"]
    assert "#ml-alerts" in html and "&lt;script&gt;ana" in html and "<script>" not in html


def test_a_question_with_a_mistake_has_no_preview():
    assert posted(signed_in(member("Editor")), expr="sum(")["told"] == ""
