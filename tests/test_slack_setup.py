"""Connecting Slack on its page: each step checked, all saved or nothing, and a test message that shows the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from alerts import starter
from alerts.models import Integration, Notification, SlackApp
from tests.fakes import FakeSlack
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
TOKEN = "xoxb-planted-SECRET-token"
URL = "alerts:connect_slack"


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    """A workspace with one channel, at the address where the portal looks for Slack."""
    with FakeSlack(token=TOKEN, channels=["ml-alerts"]) as fake:
        settings.ENV = dataclasses.replace(settings.ENV, slack_api_base=fake.api_base)
        yield fake


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor", "edgar"))


def send(client: Client, **data: str) -> Any:
    return client.post(reverse(URL), data)


def test_a_token_and_a_channel_become_the_way_out_of_the_root_route(slack: FakeSlack, editor: Client) -> None:
    answer = send(editor, bot_token=f" {TOKEN} ", channel="#ml-alerts")
    way = Integration.objects.get()
    assert (answer.status_code, way.receiver) == (200, starter.root_receiver())
    assert (way.kind, way.target, way.slack_app.bot_token) == ("slack", "#ml-alerts", TOKEN)


def test_connecting_posts_nothing(slack: FakeSlack, editor: Client) -> None:
    send(editor, bot_token=TOKEN, channel="#ml-alerts")
    assert slack.posted == []


def test_connecting_twice_makes_one_way_out(slack: FakeSlack, editor: Client) -> None:
    for _ in range(2):
        send(editor, bot_token=TOKEN, channel="#ml-alerts")
    assert (Integration.objects.count(), SlackApp.objects.count()) == (1, 1)


def test_a_new_token_of_the_same_app_replaces_the_old_one(slack: FakeSlack, editor: Client) -> None:
    send(editor, bot_token=TOKEN, channel="#ml-alerts")
    slack.token = "xoxb-another-token"
    send(editor, bot_token="xoxb-another-token", channel="#ml-alerts")
    assert SlackApp.objects.get().bot_token == "xoxb-another-token"


def test_a_webhook_becomes_a_way_out(slack: FakeSlack, editor: Client) -> None:
    send(editor, webhook_url=slack.webhook_url("hook"))
    way = Integration.objects.get()
    assert (way.kind, way.url) == ("slack_webhook", slack.webhook_url("hook"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"bot_token": "xoxb-wrong", "channel": "#ml-alerts"}, "token"),
        ({"bot_token": "hello", "channel": "#ml-alerts"}, "This is no Slack token."),
        ({"bot_token": "xapp-1", "channel": "#ml-alerts"}, "app-level token"),
        ({"bot_token": TOKEN, "channel": "#nowhere"}, "channel"),
        ({"bot_token": TOKEN, "channel": "# "}, "No channel was given."),
        ({"channel": "#ml-alerts"}, "No token was given."),
        ({"webhook_url": "ftp://hooks"}, "The address cannot be used"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_saved(
    slack: FakeSlack, editor: Client, data: dict[str, str], words: str
) -> None:
    answer = send(editor, **data)
    text = answer.content.decode()
    assert (answer.status_code, "Not connected: nothing was saved" in text, words in text) == (422, True, True)
    assert not Integration.objects.exists() and not SlackApp.objects.exists()


def test_without_the_scope_to_post_nothing_is_saved(slack: FakeSlack, editor: Client) -> None:
    slack.scopes -= {"chat:write"}
    assert send(editor, bot_token=TOKEN, channel="#ml-alerts").status_code == 422
    assert not Integration.objects.exists()


def test_a_refusal_keeps_the_channel_and_forgets_the_token(slack: FakeSlack, editor: Client) -> None:
    text = send(editor, bot_token="xoxb-wrong-SECRET", channel="#the-channel").content.decode()
    assert 'value="#the-channel"' in text and "SECRET" not in text


def test_a_test_message_arrives_and_the_page_says_so(slack: FakeSlack, editor: Client) -> None:
    send(editor, bot_token=TOKEN, channel="#ml-alerts")
    answer = editor.post(reverse(URL), {"test": Integration.objects.get().pk}, follow=True)
    assert "the test message arrived." in answer.content.decode()
    assert len(slack.messages("#ml-alerts")) == 1


def test_a_test_message_that_is_refused_shows_the_answer(slack: FakeSlack, editor: Client) -> None:
    send(editor, bot_token=TOKEN, channel="#ml-alerts")
    slack.token = "xoxb-revoked"
    answer = editor.post(reverse(URL), {"test": Integration.objects.get().pk}, follow=True)
    text = answer.content.decode()
    assert Notification.objects.get(kind="test").last_error.split("'")[0][:30] in text and "arrived" not in text


def test_a_test_of_a_way_out_that_is_gone_is_not_found(editor: Client) -> None:
    assert send(editor, test="99").status_code == 404
    assert send(editor, test="x").status_code == 404


@pytest.mark.parametrize("group", ["Viewer", "Responder"])
def test_only_who_may_change_ways_out_connects_slack(slack: FakeSlack, group: str) -> None:
    client = signed_in(member(group))
    assert client.get(reverse(URL)).status_code == 403
    assert send(client, bot_token=TOKEN, channel="#ml-alerts").status_code == 403
    assert not Integration.objects.exists()
