"""Tokens of programs: what they open, when they end, and that nobody can read them again."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from monitoring import api_auth
from monitoring.models import ApiToken
from monitoring.models.tokens import make_token
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
FAR = {"REMOTE_ADDR": "192.0.2.7"}


def ask(secret: str) -> int:
    return Client(**FAR).get("/api/v1/labels", HTTP_AUTHORIZATION=f"Bearer {secret}").status_code


def refusal(secret: str, permission: str) -> api_auth.Refusal | None:
    return api_auth.refusal(RequestFactory(**FAR).get("/", HTTP_AUTHORIZATION=f"Bearer {secret}"), permission)


def test_a_token_of_scope_read_asks_the_api_from_anywhere():
    _, secret = make_token("grafana", ["read"])
    assert ask(secret) == 200


def test_the_first_use_of_a_token_is_noted_and_the_next_costs_no_write():
    token, secret = make_token("grafana", ["read"])
    ask(secret)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    ask(secret)
    token.refresh_from_db()
    assert token.last_used_at == first


def test_an_expired_token_is_refused():
    _, secret = make_token("old", ["read"], expires_at=timezone.now() - timedelta(seconds=1))
    assert ask(secret) == 401


def test_a_token_that_is_switched_off_is_refused():
    _, secret = make_token("lost", ["read"], is_enabled=False)
    assert ask(secret) == 401


def test_a_token_without_the_scope_is_refused_with_its_name():
    _, secret = make_token("ci", ["deploy"])
    refused = refusal(secret, "monitoring.view_host")
    assert refused is not None
    assert (refused.status, "ci" in refused.reason, "read" in refused.reason) == (403, True, True)


@pytest.mark.parametrize(
    ("permission", "scope"),
    [
        ("monitoring.view_host", "read"),
        ("alerts.view_alert", "read"),
        ("monitoring.add_deploy", "deploy"),
        ("alerts.add_alert", "alerts"),
        ("alerts.add_silence", "alerts"),
        ("alerts.delete_silence", "alerts"),
        ("alerts.change_rule", "config"),
        ("alerts.delete_rule", ""),
        ("auth.add_user", ""),
    ],
)
def test_each_permission_needs_one_scope_or_is_never_open_to_tokens(permission, scope):
    assert api_auth.scope_of(permission) == scope
    _, secret = make_token("everything", ApiToken.Scope.values)
    assert (refusal(secret, permission) is None) == bool(scope)


def test_the_token_of_the_settings_only_reads(monkeypatch):
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, metrics_token="plain"))
    assert refusal("plain", "monitoring.view_host") is None
    refused = refusal("plain", "alerts.add_silence")
    assert refused is not None
    assert refused.status == 403


def test_only_a_digest_is_kept():
    token, secret = make_token("ci", ["deploy"])
    kept = {field.name: str(getattr(token, field.name)) for field in ApiToken._meta.fields}
    assert secret not in kept.values()
    assert secret.startswith(kept["prefix"])
    assert len(kept["prefix"]) < 12


@pytest.mark.parametrize("scopes", [[], ["everything"], "read"])
def test_a_token_that_opens_nothing_or_what_does_not_exist_is_refused(scopes):
    with pytest.raises(ValidationError, match="at least one"):
        make_token("odd", scopes)


def test_the_admin_shows_a_new_token_once():
    admin = signed_in(member("Admin"))
    shown = admin.post(
        reverse("admin:monitoring_apitoken_add"),
        {"name": "ci", "scopes": ["deploy", "read"], "is_enabled": "on"},
        follow=True,
    ).content.decode()
    found = re.search(r"aq_[\w-]{40,}", shown)
    assert found, shown
    assert ask(found[0]) == 200
    row = ApiToken.objects.get()
    assert row.created_by == "vera"
    for place in (
        reverse("admin:monitoring_apitoken_changelist"),
        reverse("admin:monitoring_apitoken_change", args=[row.pk]),
    ):
        assert found[0] not in admin.get(place).content.decode()


def test_a_viewer_makes_no_tokens():
    assert signed_in(member("Viewer")).get(reverse("admin:monitoring_apitoken_add")).status_code == 403
