"""Requests to Alertmanager's API without a cookie: the middlewares for people are left out, and nothing else."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from django.test import Client, override_settings
from prometheus_client import REGISTRY

from alerts import amapi
from alphaq_portal import machines
from monitoring.models import Profile, ProfileRate
from tests import build
from tests.build import T0
from tests.people import signed_in, superuser

pytestmark = pytest.mark.django_db
ALERTS = "/api/v2/alerts"


@pytest.fixture
def for_people(monkeypatch):
    """The requests that took the long way."""
    seen = []
    init = machines.MachineMiddleware.__init__

    def watched(self, get_response):
        init(self, lambda request: seen.append(request.path) or get_response(request))

    monkeypatch.setattr(machines.MachineMiddleware, "__init__", watched)
    return seen


def post(client, path=ALERTS, body="[]", **headers):
    return client.post(path, body, content_type="application/json", headers=headers)


def count(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_machine_takes_the_short_way(for_people):
    assert post(Client()).status_code == 200
    assert Client().get(ALERTS).json() == []
    assert for_people == []


def test_a_browser_and_all_other_paths_take_the_long_way(for_people):
    browser = signed_in(superuser())
    assert browser.get(ALERTS).status_code == 200
    assert post(Client(), "/api/v2/nothing").status_code == 404
    assert Client().get("/api/v1/query?query=1").status_code == 200
    assert for_people == [ALERTS, "/api/v2/nothing", "/api/v1/query"]


def test_both_ways_answer_alike():
    build.alert("A", T0, source="api", ends_at=T0 + timedelta(days=9999))
    short, long = Client().get(ALERTS), signed_in(superuser()).get(ALERTS)
    assert short.json() == long.json() != []
    names = {"Content-Type", "Cache-Control", "X-Content-Type-Options", "Content-Length"}
    assert {name: short.headers[name] for name in names} == {name: long.headers[name] for name in names}


def test_a_long_answer_is_compressed_for_whom_asks():
    for number in range(20):
        build.alert(f"A{number}", T0)
    answer = Client().get(ALERTS, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"


@override_settings(ALLOWED_HOSTS=["portal.example"])
def test_a_name_that_is_not_the_portals_is_refused():
    """A page whose name points at this machine could post alerts otherwise."""
    assert post(Client(), host="evil.example").status_code == 400
    assert post(Client(), host="portal.example").status_code == 200


def test_requests_are_counted_by_view():
    name = "django_http_responses_total_by_status_view_method_total"
    labels = {"view": "alerts:alertmanager_api:alerts", "method": "POST", "status": "200"}
    before = count(name, **labels)
    post(Client())
    assert count(name, **labels) == before + 1


def test_a_fault_of_ours_is_counted_and_answered_with_500(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(amapi.amingest, "ingest", fail)
    name, labels = "django_http_exceptions_total_by_type_total", {"type": "ZeroDivisionError"}
    before = count(name, **labels)
    assert post(Client(raise_request_exception=False)).status_code == 500
    assert count(name, **labels) == before + 1


def test_a_rate_chooses_them_for_profiles(settings):
    settings.ENV = dataclasses.replace(settings.ENV, profiles_kept=10)
    ProfileRate.objects.create(name="*", ratio=1)
    answer = post(Client())
    assert answer.status_code == 200
    assert Profile.objects.get().name == "api/v2/alerts"


def test_a_cookie_that_is_nobodys_opens_no_more_than_none():
    client = Client()
    client.cookies["sessionid"] = "made-up"
    assert client.get(ALERTS).status_code == Client().get(ALERTS).status_code
