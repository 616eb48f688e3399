"""/health, /ready and /metrics."""

from __future__ import annotations

import dataclasses
import time

import pytest
import redis
from django.conf import settings
from django.test import Client

from monitoring import heartbeats
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
