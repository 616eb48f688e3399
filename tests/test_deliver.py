"""From the outbox to Slack and webhooks, judged at the wire."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings

from alerts import deliver, dispatch
from tests import build
from tests.build import T0
from tests.fakes import FakeSlack

pytestmark = pytest.mark.django_db


def seconds(n):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


@pytest.fixture
def slack(monkeypatch):
    """A workspace where every channel exists."""
    with FakeSlack() as fake:
        monkeypatch.setattr(settings, "ENV", replace(settings.ENV, slack_api_base=fake.api_base))
        yield fake


@pytest.fixture
def bot(slack):
    """A root route to #alerts by bot token: 10 s, 1 min, 10 min."""
    route = build.route(group_wait_seconds=10, group_interval_seconds=60, repeat_interval_seconds=600)
    return build.integration(route.receiver)


def tick(n):
    """Flush and send everything due at T0 + n seconds."""
    at = seconds(n)
    dispatch.flush_due(at)
    outcomes = []
    while ids := deliver.due(at):
        outcomes += [deliver.send(pk, at, "worker", clock=float) for pk in ids]
    return outcomes


def test_the_first_firing_is_a_new_message(slack, bot):
    dispatch.route([build.alert(severity="warning")], T0)
    assert tick(10) == ["sent"]
    (message,) = slack.messages("alerts")
    assert message.event["firing"] == ["HostCPUHigh"]


def test_the_end_edits_the_message_and_adds_a_line_to_its_thread(slack, bot):
    alert = build.alert(severity="warning")
    dispatch.route([alert], T0)
    tick(10)
    build.resolve(alert, seconds(30))
    assert tick(70) == ["sent", "sent"]
    message, line = slack.messages("alerts")
    assert message.event["status"] == "resolved" and len(message.edits) == 1
    assert line.thread_ts == message.ts and line.says("Resolved")
