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


# -- buttons and people ------------------------------------------------------------------------------------------------

SECRET = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


def steps(answer: Any) -> dict[str, Any]:
    return {step.name: step for step in answer.context["done"].steps}


def test_an_app_level_token_is_checked_and_kept(slack: FakeSlack, editor: Client) -> None:
    answer = send(editor, bot_token=TOKEN, channel="#ml-alerts", app_token="xapp-1-SECRET")
    assert steps(answer)["socket"].ok and SlackApp.objects.get().app_token == "xapp-1-SECRET"


def test_a_socket_that_does_not_open_is_said_and_holds_nothing_up(slack: FakeSlack, editor: Client) -> None:
    slack.set_mode("*", "ok_false", method="apps.connections.open", error="invalid_auth")
    answer = send(editor, bot_token=TOKEN, channel="#ml-alerts", app_token="xapp-1-SECRET")
    assert steps(answer)["socket"].ok is False and Integration.objects.exists()


def test_what_is_no_app_level_token_is_refused(slack: FakeSlack, editor: Client) -> None:
    answer = send(editor, bot_token=TOKEN, channel="#ml-alerts", app_token="xoxb-2")
    assert answer.status_code == 422 and "no app-level token" in answer.content.decode()


def test_without_either_the_page_says_that_there_are_no_buttons(slack: FakeSlack, editor: Client) -> None:
    assert "links and no buttons" in steps(send(editor, bot_token=TOKEN, channel="#ml-alerts"))["buttons"].text


@pytest.mark.parametrize(("url", "ok"), [("https://portal.example.org", True), ("http://portal.example.org", False)])
def test_a_signing_secret_needs_an_address_that_slack_reaches(
    slack: FakeSlack, editor: Client, settings: Any, url: str, ok: bool
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, external_url=url)
    answer = send(editor, bot_token=TOKEN, channel="#ml-alerts", signing_secret=SECRET)
    step = steps(answer)["signing secret"]
    assert (step.ok, f"{url}/slack/interactions" in step.text) == (ok, True)
    assert SlackApp.objects.get().signing_secret == SECRET and SECRET not in answer.content.decode()


def test_what_is_no_signing_secret_is_said(slack: FakeSlack, editor: Client) -> None:
    answer = send(editor, bot_token=TOKEN, channel="#ml-alerts", signing_secret="xoxb-oops")
    assert "does not look like" in steps(answer)["signing secret"].text


def test_secrets_that_are_not_typed_stay(slack: FakeSlack, editor: Client) -> None:
    send(editor, bot_token=TOKEN, channel="#ml-alerts", app_token="xapp-1", signing_secret=SECRET)
    send(editor, bot_token=TOKEN, channel="#ml-alerts")
    app = SlackApp.objects.get()
    assert (app.app_token, app.signing_secret) == ("xapp-1", SECRET)


def test_the_page_says_who_is_not_known_in_slack(slack: FakeSlack, editor: Client) -> None:
    user = member("Responder", "ann")
    user.email = "ann@example.org"
    user.save()
    slack.add_user("U1", "ann@example.org")
    step = steps(send(editor, bot_token=TOKEN, channel="#ml-alerts"))["people"]
    assert (step.ok, "1 of 2" in step.text, "edgar" in step.fix) == (False, True, True)


def test_a_webhook_says_what_it_cannot_do(slack: FakeSlack, editor: Client) -> None:
    found = steps(send(editor, webhook_url=slack.webhook_url("hook")))
    assert "can only post" in found["edits and threads"].text and "no buttons" in found["buttons"].text


def test_the_secret_of_the_environment_gives_webhooks_buttons(slack: FakeSlack, editor: Client, settings: Any) -> None:
    settings.ENV = dataclasses.replace(
        settings.ENV, slack_signing_secret=SECRET, external_url="https://portal.example.org"
    )
    assert steps(send(editor, webhook_url=slack.webhook_url("hook")))["signing secret"].ok
