"""From a model server that uses monitoring.instrument to an answer of the API: every step but the loop around them."""

from __future__ import annotations

import time

import pytest
from django.test import Client

from monitoring import targets
from monitoring.collect.exposition import Parser
from monitoring.collect.scrape import Requester
from monitoring.models import Deployment, ModelVersion, ServedModel, Target
from tests.test_instrument_example import post, server

__all__ = ["server"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(server):
    """The example server as a registered deployment that is scraped."""
    version = ModelVersion.objects.create(model=ServedModel.objects.create(name="ranker"), version="7")
    return Deployment.objects.create(version=version, url=server, metrics_url=f"{server}/metrics")


def scrape(deployment, at_ms):
    """One scrape at its time, into the store."""
    target = Target.objects.create(job="models", url=deployment.metrics_url, deployment=deployment)
    spec = targets.spec_of(target)
    requester = Requester(spec.url, spec.timeout_seconds, spec.body_limit_bytes)
    answer = requester.get()
    requester.close()
    found = Parser(spec.sample_limit).read(answer.body, answer.is_openmetrics)
    outcome = targets.Outcome(spec, at_ms, 0.01, found)
    targets.record([(outcome, targets.Writer(spec))], [], at_ms)


def ask(expr, at_ms):
    body = Client().get("/api/v1/query", {"query": expr, "time": at_ms / 1000}).json()
    assert body["status"] == "success", body
    return {row["metric"].get("model_name", ""): row["value"][1] for row in body["data"]["result"]}


def test_what_a_registered_model_says_is_answered_under_its_name(server, deployment):
    assert post(f"{server}/predict/x", {"inputs": [[1, 2], [3, 4], [5, 6]]})[0] == 200
    at_ms = time.time_ns() // 1_000_000
    scrape(deployment, at_ms)
    ranker = '{model_name="ranker",model_version="7",job="models"}'
    assert ask(f"model_batch_size{ranker}", at_ms) == {"ranker": "3"}
    assert ask(f"model_queue_size{ranker}", at_ms) == {"ranker": "0"}
    assert ask(f"model_accuracy{ranker}", at_ms) == {"ranker": "0.94"}
    p90 = f"histogram_quantile(0.9, sum by (model_name, le) (model_inference_duration_seconds_bucket{ranker})) < 1"
    assert set(ask(p90, at_ms)) == {"ranker"}
    requests = 'sum by (model_name) (http_requests_total{endpoint="/predict/<name>",status="200",job="models"})'
    assert float(ask(requests, at_ms)["ranker"]) >= 1
