"""Further services by an Apprise address: what arrives, what an answer means, and that no secret is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse

from alerts import deliver, dispatch
from alerts.channels import apprise
from alerts.channels.apprise import AppriseConfig
from alerts.channels.base import Permanent, Transient
from alerts.models import Integration, Notification
from tests import build
from tests.build import T0
from tests.fakes.webhook import FakeWebhook
from tests.people import member, signed_in


@pytest.fixture
def hook() -> Iterator[FakeWebhook]:
    """A service that takes JSON."""
    with FakeWebhook() as fake:
        yield fake


def config(hook: FakeWebhook) -> AppriseConfig:
    return AppriseConfig(f"json://user:planted-SECRET@127.0.0.1:{hook.port}/hook/x")


@pytest.mark.parametrize(
    ("severity", "kind"), [("critical", "failure"), ("warning", "warning"), ("resolved", "success"), ("", "info")]
)
def test_a_message_arrives_with_its_severity(hook: FakeWebhook, severity: str, kind: str) -> None:
    receipt = apprise.send(config(hook), "Critical: Hot", "91 > 80", severity)
    [body] = hook.bodies("x")
    assert (body["title"], body["message"], body["type"]) == ("Critical: Hot", "91 > 80", kind)
    assert receipt.detail == "taken by JSON"


@pytest.mark.parametrize(
    ("code", "error"),
    [(500, Transient), (503, Transient), (429, Transient), (408, Transient), (401, Permanent), (404, Permanent),
     (400, Permanent), (413, Permanent)],
)  # fmt: skip
def test_an_answer_is_judged_by_its_status(hook: FakeWebhook, code: int, error: type[Exception]) -> None:
    hook.set_mode("x", "status", code=code)
    with pytest.raises(error) as raised:
        apprise.send(config(hook), "t", "b")
    assert raised.value.http_status == code  # type: ignore[attr-defined]


def test_it_is_tried_once(hook: FakeWebhook) -> None:
    hook.set_mode("x", "status", code=503)
    with pytest.raises(Transient):
        apprise.send(AppriseConfig(config(hook).url + "?retry=5&wait=0"), "t", "b")
    assert len(hook.requests) == 1


def test_a_redirect_is_not_followed(hook: FakeWebhook) -> None:
    hook.set_mode("x", "status", code=307, location=f"{hook.url}/hook/elsewhere")
    with pytest.raises(Permanent):
        apprise.send(config(hook), "t", "b")
    assert [request.key for request in hook.requests] == ["x"]


def test_a_service_that_is_away_is_told_later(hook: FakeWebhook) -> None:
    hook.down()
    with pytest.raises(Transient, match="could not be reached"):
        apprise.send(config(hook), "t", "b")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nothing", "starts with the name of a service"),
        ("nosuch://x", "no service of this kind"),
        ("syslog://", "this machine only"),
        ("json://169.254.169.254/latest", "link-local"),
    ],
)
def test_DL_14_an_address_that_cannot_be_used_is_said_without_repeating_it(url: str, words: str) -> None:
    assert words in str(apprise.problem(url))
    with pytest.raises(Permanent, match="cannot be used"):
        apprise.send(AppriseConfig(url), "t", "b")


@pytest.mark.parametrize("mode", [{"name": "status", "code": 401, "body": "planted-SECRET"}, {"name": "reset"}])
def test_DL_14_no_failure_tells_a_secret(hook: FakeWebhook, caplog: pytest.LogCaptureFixture, mode: Any) -> None:
    hook.set_mode("x", **mode)
    with caplog.at_level(logging.DEBUG), pytest.raises((Transient, Permanent)) as raised:
        apprise.send(config(hook), "t", "b")
    assert "SECRET" not in f"{raised.value!r} {config(hook)!r} {caplog.text}"


@pytest.mark.django_db
def test_an_alert_is_told_by_a_further_service(hook: FakeWebhook) -> None:
    build.route(group_wait_seconds=0)
    build.integration(kind=Integration.Kind.APPRISE, url=config(hook).url)
    dispatch.route([build.alert("Hot", severity="critical")], T0)
    dispatch.flush_due(T0)
    deliver.run(T0, "test")
    assert Notification.objects.get().state == "sent"
    assert hook.bodies("x")[0]["title"] == "Critical: Hot"


@pytest.mark.django_db
@pytest.mark.parametrize(("url", "is_saved"), [("ntfy://ntfy.example.org/alerts", True), ("nosuch://x", False)])
def test_the_form_of_a_receiver_takes_only_addresses_that_work(url: str, is_saved: bool) -> None:
    row = build.receiver()
    data = {
        "name": row.name, "integrations-TOTAL_FORMS": 1, "integrations-INITIAL_FORMS": 0,
        "integrations-0-kind": "apprise", "integrations-0-url": url, "integrations-0-is_enabled": "on",
    }  # fmt: skip
    page = signed_in(member("Editor")).post(reverse("admin:alerts_receiver_change", args=[row.pk]), data)
    assert row.integrations.exists() == is_saved
    assert is_saved or "no service of this kind" in page.content.decode()
