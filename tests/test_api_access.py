"""Who may ask the API."""

from __future__ import annotations

import dataclasses

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
PATHS = ("query?query=1", "labels", "label/job/values", "metadata", "targets", "status/buildinfo", "rules", "alerts")
FAR = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def env(monkeypatch):
    """Changes settings from outside for one test."""
    return lambda **changes: monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, **changes))


def status(path, client=None, **headers):
    return (client or Client()).get(f"/api/v1/{path}", **headers).status_code


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_is_refused_with_401(services, path):
    response = Client().get(f"/api/v1/{path}", **FAR)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["errorType"] == "unauthorized"


@pytest.mark.parametrize("path", PATHS)
def test_this_machine_is_let_in(services, path):
    assert status(path) == 200


def test_this_machine_is_not_let_in_when_that_is_switched_off(services, env):
    env(api_open_on_loopback=False)
    assert status("labels") == 401


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP"])
def test_what_a_proxy_on_this_machine_passes_on_is_not_local(services, header):
    assert status("labels", **{header: "127.0.0.1"}) == 401


def test_the_token_lets_in_from_anywhere(services, env):
    env(metrics_token="secret-☃")
    client = Client(**FAR, headers={"Authorization": "Bearer secret-☃".encode().decode("latin-1")})
    env(metrics_token="plain-token")
    assert status("labels", Client(**FAR), HTTP_AUTHORIZATION="Bearer plain-token") == 200
    assert status("labels", client) == 401


def test_a_wrong_token_is_refused_even_on_this_machine(services, env):
    env(metrics_token="right")
    assert status("labels", HTTP_AUTHORIZATION="Bearer wrong") == 401


def test_no_token_is_right_when_none_is_set(services, env):
    env(metrics_token="")
    assert status("labels", Client(**FAR), HTTP_AUTHORIZATION="Bearer ") == 401


def test_a_viewer_may_ask_everything(services):
    client = signed_in(member("Viewer"))
    assert [status(path, client, **FAR) for path in PATHS] == [200] * len(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_a_user_without_the_permission_is_refused_with_403(services, path):
    client = signed_in(User.objects.create_user("nobody", password="x"))
    response = client.get(f"/api/v1/{path}")
    assert (response.status_code, response.json()["errorType"]) == (403, "forbidden")
