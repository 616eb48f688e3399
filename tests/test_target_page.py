"""The page of a target's metrics: as last scraped, asked just now, and what is unusual about their names."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from monitoring import store, target_report
from monitoring.collect.report import examine
from monitoring.models import ServedModel
from monitoring.naming import EXPLANATIONS, lint_text
from tests.people import member, signed_in, superuser
from tests.scrape.build import NOW, Scraped, make_target
from tests.scrape.server import says, target

pytestmark = pytest.mark.django_db
BAD = """# TYPE model_ranker_inference_seconds gauge
model_ranker_inference_seconds 0.2
# TYPE jobs counter
jobs{user_id="7"} 1
jobs{user_id="8"} 1
# HELP temperature_celsius How warm it is
# TYPE temperature_celsius gauge
temperature_celsius 21
"""


def codes(names: target_report.Names) -> list[str]:
    return [remark.code for remark in names.remarks]


def page(client, row, post: bool = False) -> str:
    url = reverse("monitoring:target", args=[row.pk])
    answer = client.post(url) if post else client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_scrape_at_once_judges_as_the_lint_of_the_text_does():
    ServedModel.objects.create(name="ranker")
    with target(says(BAD)) as server:
        names = target_report.names_in(target_report.ask(make_target(server.url)))
    expected = {(one.code, one.metric, one.message) for one in lint_text(BAD, model_names=["ranker"])}
    assert {(one.code, one.metric, one.message) for remark in names.remarks for one in remark.findings} == expected
    assert {"model-in-name", "counter-without-total", "unbounded-label"} <= {code for code, _, _ in expected}


def test_openmetrics_counters_are_named_with_their_suffix():
    body = "# HELP a Things\n# TYPE a counter\na_total 1\n# EOF\n"
    with target(says(body, Content_Type="application/openmetrics-text; version=1.0.0")) as server:
        names = target_report.names_in(target_report.ask(make_target(server.url)))
    assert [(family.name, family.type) for family in names.families] == [("a_total", "counter")]
    assert codes(names) == []


def test_what_was_scraped_last_is_judged_without_asking_again():
    row = make_target(instance_label="a:1")
    Scraped(row).says(BAD)
    Scraped(make_target(instance_label="b:1")).says("another_targets_ms 1\n")
    names = target_report.names_stored(row, NOW)
    assert {family.name for family in names.families} == {
        "model_ranker_inference_seconds", "jobs", "temperature_celsius",
    }  # fmt: skip
    assert names.series == 4
    assert "model-in-name" in codes(names) and "unbounded-label" in codes(names)
    assert not {"no-help", "no-type", "label-taken"} & set(codes(names))


def test_labels_that_the_scrape_added_are_not_the_targets():
    row = make_target(instance_label="a:1", labels={"env": "prod"})
    Scraped(row).says('requests_total{job="mine",path="/x"} 1\n')
    (family,) = target_report.names_stored(row, NOW).families
    assert family.labels == {"job": {"mine"}, "path": {"/x"}}


def test_the_page_shows_metrics_remarks_and_reasons():
    row = make_target(instance_label="a:1")
    Scraped(row).says(BAD)
    shown = page(signed_in(member("Viewer")), row)
    for words in ("temperature_celsius", "3 metrics, 4 series", "model-in-name", "user_id"):
        assert words in shown
    assert EXPLANATIONS["unbounded-label"].split(":")[0] in shown
    assert "Scrape now" not in shown


def test_the_button_asks_the_target_and_stores_nothing():
    with target(says(BAD)) as server:
        row = make_target(server.url)
        shown = page(signed_in(superuser()), row, post=True)
        assert len(server.requests) == 1
    assert "It answered just now: 4 samples." in shown
    assert "counter-without-total" in shown
    assert store.series([], 0, 2 * NOW) == []


def test_a_target_that_answers_nonsense_is_shown_with_its_line():
    with target(says("a 1\n<script>alert(1)</script>\n")) as server:
        shown = page(signed_in(superuser()), make_target(server.url), post=True)
    assert "line 2: expected a metric name" in shown
    assert "<script>alert(1)" not in shown and "&lt;script&gt;alert(1)" in shown


def test_a_target_that_is_down_says_why():
    row = make_target(instance_label="broken")
    Scraped(row).fails("connection refused: nothing listens there")
    assert "connection refused" in page(signed_in(superuser()), row)


def test_a_target_nobody_scraped_yet_has_an_empty_page():
    assert "No metrics yet" in page(signed_in(superuser()), make_target())


def test_who_may_only_look_cannot_scrape():
    with target(says("a 1\n")) as server:
        row = make_target(server.url)
        answer = signed_in(member("Viewer")).post(reverse("monitoring:target", args=[row.pk]))
        assert (answer.status_code, server.requests) == (403, [])


def test_many_metrics_are_cut_with_a_word(django_assert_max_num_queries):
    row = make_target(instance_label="a:1")
    Scraped(row).says("".join(f"m{number}_bytes 1\n" for number in range(700)))
    client = signed_in(superuser())
    with django_assert_max_num_queries(25):
        shown = page(client, row)
    assert "200 more metrics are not shown" in shown
    assert len(re.findall(r'<td class="aq-mono"><a', shown)) == 500


def test_the_admin_leads_to_the_page_and_warns_after_a_scrape():
    client = signed_in(superuser())
    with target(says(BAD)) as server:
        row = make_target(server.url)
        leads = client.get(reverse("admin:monitoring_target_show_metrics", args=[row.pk]))
        client.post(reverse("admin:monitoring_target_scrape_now", args=[row.pk]), {"_form_submitted": "True"})
    url = reverse("monitoring:target", args=[row.pk])
    assert leads["Location"] == url
    shown = client.get(reverse("admin:monitoring_target_change", args=[row.pk])).content.decode()
    assert "in how its metrics are named" in shown and url in shown


def test_a_report_of_a_target_that_is_down_has_no_names():
    report = examine("http://127.0.0.1:9/metrics", 1, 1000, 10)
    assert target_report.names_in(report) == target_report.Names([], [])
