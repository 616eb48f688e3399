"""/health, /ready and /metrics."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from monitoring import heartbeats, probes
from monitoring.collect.probe import Verdict
from monitoring.health import ModelsAnswer
from monitoring.models import Deployment, ModelVersion, ServedModel
from tests import build

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alive(services):
    """A worker and beat that have just shown a sign of life."""
    heartbeats.beat("worker", "worker@test", time.time())
    heartbeats.beat("tick", "beat", time.time())
    yield
    with redis.Redis.from_url(services["REDIS_URL"]) as client:
        client.delete(heartbeats.PREFIX + "worker", heartbeats.PREFIX + "tick")


@pytest.fixture
def env(monkeypatch):
    """Changes settings from outside for one test."""
    return lambda **changes: monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, **changes))


def test_health_tells_status_version_and_time():
    body = Client().get("/health").json()
    assert body["status"] == "healthy"
    assert body["version"] == settings.VERSION
    assert body["timestamp"].endswith("+00:00")


def test_ready_answers_200_when_everything_works(alive):
    response = Client().get("/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready")
    assert response.json()["checks"] == {"database": True, "redis": True, "workers": True, "models": True}


def test_ready_answers_503_without_a_worker(services):
    response = Client().get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "not_ready")
    assert response.json()["checks"]["workers"] is False
    assert "start one" in response.json()["details"]["workers"]


def test_ready_answers_503_without_redis(alive, monkeypatch):
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    response = Client().get("/ready")
    assert response.status_code == 503
    assert response.json()["checks"]["redis"] is False


def test_a_silent_beat_is_not_ready(alive):
    heartbeats.beat("tick", "beat", time.time() - 600)
    response = Client().get("/ready")
    assert "beat" in response.json()["details"]["workers"]


def test_causes_are_told_to_the_authorised_only(services):
    assert "details" not in Client(REMOTE_ADDR="192.0.2.7").get("/ready").json()


def test_metrics_are_open_to_this_machine(alive):
    text = Client().get("/metrics").content.decode()
    assert "alphaq_database_up 1.0" in text
    assert "django_http_requests_total_by_method_total" in text
    assert 'alphaq_alive_age_seconds{kind="worker",name="worker@test"}' in text


def test_metrics_are_closed_to_others(services):
    response = Client(REMOTE_ADDR="192.0.2.7").get("/metrics")
    assert response.status_code == 403
    assert "ALPHAQ_METRICS_TOKEN" in response.content.decode()


def test_a_proxy_on_this_machine_does_not_open_metrics_to_the_world(services):
    assert Client().get("/metrics", headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 403


def test_metrics_take_a_token(services, env):
    env(metrics_token="right")
    client = Client(REMOTE_ADDR="192.0.2.7")
    assert client.get("/metrics", headers={"Authorization": "Bearer right"}).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert client.get("/metrics").status_code == 403


def test_metrics_take_a_network(services, env):
    env(metrics_allow=["192.0.2.0/24"])
    assert Client(REMOTE_ADDR="192.0.2.7").get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="198.51.100.7").get("/metrics").status_code == 403


def test_metrics_count_alerts_by_state_and_severity(services):
    build.alert("HostDown", severity="critical")
    text = Client().get("/metrics").content.decode()
    assert 'alphaq_alerts{severity="critical",state="firing"} 1.0' in text


def test_the_method_label_is_bounded(services):
    assert Client().generic("BREW", "/health").status_code == 501
    text = Client().get("/metrics").content.decode()
    assert "BREW" not in text


def a_production_deployment() -> Deployment:
    model = ServedModel.objects.create(name="ranker")
    version = ModelVersion.objects.create(model=model, version="3", stage="production")
    deployment = Deployment.objects.create(
        version=version, url="http://10.0.0.5:8080", health_url="http://10.0.0.5:8080/health"
    )
    probes.follow(deployment)
    return deployment


def answers(verdict: Verdict) -> None:
    """Every probe has just given this answer."""
    at = timezone.now()
    probes.sweep(at)
    probes.record([probes.Outcome(task, verdict) for task in probes.claim(at, 10)], at)


def test_a_production_deployment_that_does_not_answer_makes_the_portal_not_ready(alive, caplog):
    a_production_deployment()
    answers(Verdict(False, 503, 0.1, "HTTP 503 Service Unavailable"))
    response = Client().get("/ready")
    assert (response.status_code, response.json()["checks"]["models"]) == (503, False)
    assert "ranker 3 on 10.0.0.5:8080: HTTP 503" in response.json()["details"]["models"]
    assert "ranker 3 on 10.0.0.5:8080: HTTP 503" in caplog.text


def test_a_production_deployment_that_answers_leaves_the_portal_ready(alive):
    a_production_deployment()
    answers(Verdict(True, 200, 0.1))
    assert Client().get("/ready").status_code == 200


def test_why_a_model_is_not_well_is_told_to_the_authorised_only(alive):
    a_production_deployment()
    assert "ranker" not in Client(REMOTE_ADDR="192.0.2.7").get("/ready").content.decode()


def test_a_check_that_hangs_ends_at_its_time_limit(alive, monkeypatch):
    """A lock on the table of deployments stands for a database that hangs."""
    monkeypatch.setattr(ModelsAnswer, "timeout", timedelta(seconds=0.2))
    locker = connection.copy()
    try:
        locker.set_autocommit(False)
        with locker.cursor() as cursor:
            cursor.execute("lock table monitoring_deployment")
        response = Client().get("/ready")
        assert response.json()["checks"]["models"] is False
    finally:
        locker.rollback()
        locker.close()
