"""A generic webhook gets Alertmanager's JSON; its answer decides what the outbox does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alerts.channels import webhook
from alerts.channels.base import DeliveryError, Permanent, Transient
from alerts.channels.webhook import WebhookConfig
from tests.fakes import FakeWebhook

BODY = {"version": "4", "status": "firing", "alerts": [{"labels": {"alertname": "HostCPUHigh"}}]}


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    """A receiver on loopback."""
    with FakeWebhook() as server:
        yield server


def test_the_body_arrives_as_json(fake: FakeWebhook) -> None:
    webhook.send(WebhookConfig(fake.hook_url()), BODY)
    assert (fake.bodies(), fake.requests[0].headers["content-type"]) == ([BODY], "application/json")


def test_the_authorization_header_is_sent(fake: FakeWebhook) -> None:
    webhook.send(WebhookConfig(fake.hook_url(), authorization="Bearer abc"), BODY)
    assert fake.requests[0].headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_success(fake: FakeWebhook, status: int) -> None:
    fake.set_mode("*", "status", code=status, body="")
    assert str(status) in webhook.send(WebhookConfig(fake.hook_url()), BODY).detail


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_AX_2_a_server_error_is_tried_again(fake: FakeWebhook, status: int) -> None:
    fake.set_mode("*", "status", code=status)
    with pytest.raises(Transient) as failure:
        webhook.send(WebhookConfig(fake.hook_url()), BODY)
    assert failure.value.counts_as_attempt and not failure.value.ambiguous


@pytest.mark.parametrize(
    ("status", "scope"),
    [(301, "destination"), (307, "destination"), (400, "message"), (401, "destination"), (403, "destination"),
     (404, "destination"), (410, "destination"), (413, "message"), (422, "message")],
)  # fmt: skip
def test_AX_3_everything_else_is_dead(fake: FakeWebhook, status: int, scope: str) -> None:
    fake.set_mode("*", "status", code=status)
    with pytest.raises(Permanent) as failure:
        webhook.send(WebhookConfig(fake.hook_url()), BODY)
    assert (failure.value.scope, failure.value.http_status) == (scope, status)


def test_429_waits_and_is_no_attempt(fake: FakeWebhook) -> None:
    fake.set_mode("*", "ratelimit", retry_after=9)
    with pytest.raises(Transient) as failure:
        webhook.send(WebhookConfig(fake.hook_url()), BODY)
    assert (failure.value.retry_after_seconds, failure.value.counts_as_attempt) == (9.0, False)


def test_a_lost_answer_is_ambiguous_and_sent_once(fake: FakeWebhook) -> None:
    fake.set_mode("*", "accept_reset")
    with pytest.raises(Transient) as failure:
        webhook.send(WebhookConfig(fake.hook_url()), BODY)
    assert (failure.value.ambiguous, len(fake.bodies())) == (True, 1)


def test_a_redirect_to_another_host_is_not_followed(fake: FakeWebhook) -> None:
    with FakeWebhook() as other:
        fake.set_mode("*", "status", code=307, location=other.hook_url())
        with pytest.raises(Permanent, match="redirect"):
            webhook.send(WebhookConfig(fake.hook_url()), BODY)
        assert other.requests == []


def test_a_metadata_address_is_refused() -> None:
    with pytest.raises(Permanent, match="link-local"):
        webhook.send(WebhookConfig("http://169.254.169.254/latest"), BODY)


@pytest.mark.parametrize(
    "url", ["", "receiver", "file:///etc/passwd", "ftp://receiver.example/", "http://:80/", "http://h:x/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(DeliveryError, match="cannot be used"):
        webhook.send(WebhookConfig(url), BODY)
