"""Models: their list with numbers of now, and the page of one with everything about it."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alphaq_portal import bar
from monitoring import deploys, model_facts, probes, store, targets
from monitoring.collect.probe import Verdict
from monitoring.models import Deployment, ModelVersion, ServedModel, Team
from tests import build
from tests.people import member, signed_in
from tests.scrape.build import Scraped

pytestmark = pytest.mark.django_db
LIST = "/admin/monitoring/servedmodel/"


@pytest.fixture
def viewer() -> Client:
    return signed_in(member("Viewer"))


def samples(at: datetime, model: str, **values: float) -> None:
    """Samples of a model from 60 s before `at`, every 15 s; counters and buckets rise by their value each time."""
    for step in range(5):
        at_ms = round(at.timestamp() * 1000) - (4 - step) * 15_000
        rows = {}
        for name, value in values.items():
            if name == "seconds":  # inferences of so many seconds each, 15 every time
                for le in ("0.1", "0.5", "1", "+Inf"):
                    rows[f'model_inference_duration_seconds_bucket{{le="{le}"}}'] = 15.0 * step * (value <= float(le))
                rows["model_inference_duration_seconds_count"] = 15.0 * step
            else:
                rows[name] = value * step if name.endswith("_total") else value
        scrape = store.Scrape(
            f"m:{model}", {"model_name": model, "model_version": "3"}, at_ms, [*rows], np.array([*rows.values()])
        )
        store.append([scrape], now_ms=at_ms)


def fired(at: datetime, model: str, name: str = "Slow", minutes: int = 10, severity: str = "critical") -> None:
    """ALERTS of an alert that fired for some minutes up to `at`."""
    labels = {"alertname": name, "alertstate": "firing", "severity": severity, "model_name": model}
    for minute in range(minutes + 1):
        at_ms = round((at - timedelta(minutes=minute)).timestamp() * 1000)
        scrape = store.Scrape(f"alerts:{name}:{model}", labels, at_ms, ["ALERTS"], np.array([1.0]), True)
        store.append([scrape], now_ms=round(at.timestamp() * 1000))


def a_model(name: str = "ranker", version: str = "3", stage: str = "production", **fields) -> ServedModel:
    model = ServedModel.objects.create(name=name, **fields)
    ModelVersion.objects.create(model=model, version=version, stage=stage, baseline={"accuracy": 0.95})
    return model


def page(client: Client, name: str = "ranker") -> str:
    answer = client.get(f"/models/{name}/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_numbers_of_now_are_read_for_all_models_together():
    at = timezone.now()
    samples(at, "ranker", seconds=0.3, model_accuracy=0.94, model_inference_errors_total=1.5, model_queue_size=4)
    samples(at, "chat", model_accuracy=0.5)
    fired(at, "chat", minutes=1)
    found = model_facts.newest(at)
    ranker, chat = found["ranker"], found["chat"]
    assert ranker.requests_per_second == pytest.approx(60 / 300, rel=0.2)  # a minute of the five
    assert 0.1 < ranker.p95_seconds <= 0.5
    assert ranker.error_ratio == pytest.approx(0.1)
    assert (ranker.accuracy, ranker.queue, ranker.seen) == (0.94, 4, ("3",))
    assert (chat.accuracy, chat.requests_per_second, chat.worst, chat.firing_count) == (0.5, None, "critical", 1)


def test_the_facts_of_one_model_are_those_of_the_list():
    at = timezone.now()
    for name in ("ranker", 'odd"name'):
        samples(at, name, model_accuracy=0.94)
    assert list(model_facts.newest(at, 'odd"name')) == ['odd"name']


def test_past_alerts_are_told_by_name_with_how_often_and_how_long():
    at = timezone.now()
    fired(at - timedelta(hours=5), "ranker", minutes=20)
    fired(at, "ranker", minutes=10)
    [past] = model_facts.past_alerts("ranker", at)
    assert (past.name, past.severity, past.episodes) == ("Slow", "critical", 2)
    assert past.seconds == pytest.approx(1800, abs=1200)
    assert model_facts.past_alerts("other", at) == []


def test_the_list_shows_what_the_registry_says_and_what_servers_report(viewer):
    at = timezone.now()
    model = a_model(owner=Team.objects.create(name="Search"), version="2")
    samples(at, "ranker", seconds=0.3, model_accuracy=0.94)
    fired(at, "ranker", minutes=1)
    deploys.note(model.versions.get(), at - timedelta(hours=2), "ana", stage="production")
    shown = viewer.get(LIST).content.decode()
    for words in ("/models/ranker/", "Search", "94 %", 'is-warning">3</span>', 'is-critical">1</span>', "2 h ago"):
        assert words in shown


def test_the_list_of_models_asks_a_fixed_number_of_questions(viewer, django_assert_max_num_queries):
    at = timezone.now()

    def questions(names: range) -> int:
        for number in names:
            a_model(f"m{number}")
            samples(at, f"m{number}", model_accuracy=0.9)
        bar.forget()
        viewer.get(LIST)
        with django_assert_max_num_queries(30) as captured:
            viewer.get(LIST)
        return len(captured)

    assert questions(range(1)) == questions(range(1, 6))


def test_models_without_series_and_with_other_versions_are_filtered(viewer):
    at = timezone.now()
    for name, version in (("fine", "3"), ("drifting", "2"), ("silent", "3")):
        a_model(name, version)
    for name in ("fine", "drifting"):
        samples(at, name, model_accuracy=0.9)

    def found(choice: str) -> set[str]:
        return set(re.findall(r'href="/models/([^/]+)/"', viewer.get(LIST, {"seen": choice}).content.decode()))

    assert found("no") == {"silent"}
    assert found("drift") == {"drifting"}


def test_the_page_of_a_model_shows_everything_about_it(viewer):
    at = timezone.now()
    model = a_model(owner=Team.objects.create(name="Search", contact="#search"), runbook="https://runbooks.example/r")
    place = {"metrics_url": "http://10.0.0.5:8080/metrics", "health_url": "http://10.0.0.5:8080/health"}
    deployment = Deployment.objects.create(version=model.versions.get(), url="http://10.0.0.5:8080", **place)
    probes.follow(deployment)
    probes.sweep(at)
    verdict = Verdict(False, 503, 0.1, "HTTP 503 Service Unavailable")
    probes.record([probes.Outcome(task, verdict) for task in probes.claim(at, 9)], at)
    Scraped(targets.follow(deployment)).fails("connection refused: nothing listens there")
    deploys.note(model.versions.get(), at - timedelta(hours=2), "ana", deployment=deployment)
    samples(at, "ranker", seconds=0.3, model_accuracy=0.94, model_queue_size=4, model_batch_size=8)
    fired(at, "ranker", minutes=1)
    shown = page(viewer)
    for words in (
        "Search", "https://runbooks.example/r", "94 %", "baseline 0.95", "10.0.0.5:8080", "connection refused",
        "HTTP 503 Service Unavailable", "aq-cell is-critical", "1 firing", "Slow", "ana", "not well", "seen",
    ):  # fmt: skip
        assert words in shown, words


def test_a_version_that_nobody_registered_is_named(viewer):
    a_model(version="2")
    samples(timezone.now(), "ranker", model_accuracy=0.9)
    assert "seen, not registered" in page(viewer)


def test_the_page_of_an_empty_model_says_what_to_do(viewer):
    ServedModel.objects.create(name="new")
    shown = page(viewer, "new")
    assert "No deployment is registered" in shown
    assert "/api/v1/models/new/deploys" in shown


def test_the_page_shows_the_limits_that_reach_the_model_and_no_others(viewer):
    a_model()
    samples(timezone.now(), "ranker", seconds=0.3, model_accuracy=0.9)
    latency = "histogram_quantile(0.9, sum by (model_name, le) (rate(model_inference_duration_seconds_bucket[5m])))"
    rule = build.rule("ModelSlow", latency)
    build.threshold(rule, 0.8, "critical")
    build.threshold(rule, 2.5, "critical", selector='{model_name="ranker"}', reason="large inputs")
    build.threshold(rule, 7.5, "warning", selector='{model_name="other"}', reason="larger inputs")
    build.rule("AccuracyLow", "model_accuracy < 0.85", labels={"severity": "warning"})
    build.rule("OtherModel", 'model_accuracy{model_name="other"} < 0.1')
    build.rule("NotOfModels", "cpu_usage_percent > 5")
    build.rule("Draft", "model_accuracy < 0.2", life="draft")
    shown = page(viewer)
    limits = shown[shown.index('id="limits"') : shown.index('id="alerts"')]
    assert limits.count("ModelSlow") == 2
    for words in ("override", "800 ms", "2.5 s", "AccuracyLow", "0.85"):
        assert words in limits, words
    for words in ("OtherModel", "NotOfModels", "Draft", "7.5"):
        assert words not in limits


def test_limits_on_what_a_chart_draws_are_lines_in_it(viewer):
    a_model()
    samples(timezone.now(), "ranker", seconds=0.3, model_accuracy=0.9)
    latency = "histogram_quantile(0.9, sum by (model_name, le) (rate(model_inference_duration_seconds_bucket[5m])))"
    build.threshold(build.rule("ModelSlow", latency), 0.8, "critical")
    options = [json.loads(html.unescape(one)) for one in re.findall(r'data-aq-panel="([^"]*)"', page(viewer))]
    lines = [one["steps"] for one in options]
    assert lines.count([{"value": 0.8, "severity": "critical"}]) == 1
    assert lines.count([{"value": 0.95, "severity": "info"}]) == 1  # the accuracy of the baseline


def test_a_chart_of_the_model_answers_its_series(viewer):
    a_model()
    at = timezone.now()
    samples(at, "ranker", seconds=0.3, model_accuracy=0.94)
    samples(at, "other", model_accuracy=0.5)
    titles = {}
    for url in re.findall(r'data-url="([^"]+)"', page(viewer)):
        data = viewer.get(url.replace("&amp;", "&")).json()
        titles[url] = [one["name"] for one in data["series"]]
    names = [name for found in titles.values() for name in found]
    assert "p50" in names and "p99" in names
    assert names.count("3") >= 2


def test_deploys_and_alerts_are_marks_of_the_charts(viewer):
    at = timezone.now()
    model = a_model()
    deploys.note(model.versions.get(), at - timedelta(minutes=10), "ana", stage="production")
    fired(at, "ranker", minutes=5)
    fired(at, "other", name="Else", minutes=5)
    found = viewer.get(reverse("monitoring:model_marks", args=["ranker"])).json()
    assert [one["label"] for one in found["bands"]] == ["Slow"]
    assert [one["label"] for one in found["deploys"]] == ["ranker 3 to production"]


def test_a_page_with_many_places_asks_a_fixed_number_of_questions(viewer, django_assert_max_num_queries):
    model = a_model()

    def questions(count: int) -> int:
        for number in range(count):
            url = f"http://10.0.{count}.{number}:8080"
            row = Deployment.objects.create(version=model.versions.get(), url=url, metrics_url=url, health_url=url)
            targets.follow(row)
            probes.follow(row)
        probes.sweep(timezone.now())
        bar.forget()
        with django_assert_max_num_queries(80) as captured:
            page(viewer)
        return len(captured)

    assert questions(1) == questions(6)


@pytest.mark.parametrize("path", ["", "marks.json", "panels/5.json"])
def test_who_may_not_see_models_is_refused(path):
    a_model()
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    assert client.get(f"/models/ranker/{path}").status_code == 403
    assert Client().get(f"/models/ranker/{path}").status_code in (302, 401)


def test_a_model_that_is_not_there_is_404(viewer):
    assert viewer.get("/models/none/").status_code == 404
    a_model()
    assert viewer.get("/models/ranker/panels/999.json").status_code == 404
