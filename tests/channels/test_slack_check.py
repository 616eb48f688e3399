"""The set-up check says, line by line, what is in order and what to do about the rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from alerts.channels.base import CheckResult
from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig, check, check_socket, check_webhook
from alerts.channels.slack_check import SCOPES
from tests.fakes import FakeSlack


def line(results: list[CheckResult], name: str) -> CheckResult:
    """The result with this name."""
    return next(result for result in results if result.name == name)


def test_everything_in_order_is_ten_and_more_green_lines(slack: FakeSlack, bot: SlackBotConfig) -> None:
    results = check(bot)
    assert [result.name for result in results if not result.ok] == []
    assert [results[0].name, *(result.name for result in results[-3:])] == ["token", "channel", "member", "can post"]


def test_the_check_posts_nothing(slack: FakeSlack, bot: SlackBotConfig) -> None:
    check(bot)
    assert slack.posted == []


def test_a_wrong_token_fails_first_and_the_rest_is_not_looked_at(bot: SlackBotConfig, slack: FakeSlack) -> None:
    slack.token = "xoxb-the-right-one"
    results = check(bot)
    assert (results[0].ok, {result.ok for result in results[1:]}) == (False, {None})


@pytest.mark.parametrize(("token", "words"), [("xapp-1", "app-level token"), ("xoxp-1", "user's token")])
def test_a_token_of_another_kind_is_recognised(slack: FakeSlack, bot: SlackBotConfig, token: str, words: str) -> None:
    slack.token = "xoxb-the-right-one"
    assert words in check(dataclasses.replace(bot, token=token))[0].fix


def test_each_missing_scope_is_a_line_of_its_own(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.scopes -= {"files:write", "users:read.email"}
    missing = [result for result in check(bot) if result.ok is False]
    assert [result.name for result in missing] == ["scope files:write", "scope users:read.email"]
    assert all("Bot Token Scopes" in result.fix and not result.is_required for result in missing)


def test_without_chat_write_the_bot_cannot_post(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.scopes -= {"chat:write"}
    assert (line(check(bot), "can post").ok, line(check(bot), "scope chat:write").is_required) == (False, True)


def test_an_unknown_channel_asks_for_its_id() -> None:
    with FakeSlack(channels=["other"]) as fake:
        result = line(check(SlackBotConfig("xoxb-1", "#alerts", fake.api_base)), "channel")
    assert result.ok is False and "channel ID" in result.fix


def test_an_archived_channel_is_no_destination() -> None:
    with FakeSlack(channels=[]) as fake:
        channel = fake.add_channel("alerts", is_archived=True)
        results = check(SlackBotConfig("xoxb-1", channel.id, fake.api_base))
    assert (line(results, "channel").text, line(results, "can post").ok) == ("The channel is archived.", False)


def test_a_bot_that_is_no_member_is_told_to_be_invited() -> None:
    with FakeSlack(channels=[]) as fake:
        fake.add_channel("alerts", is_member=False)
        fake.scopes -= {"chat:write.public"}
        results = check(SlackBotConfig("xoxb-1", "#alerts", fake.api_base))
    assert (line(results, "member").ok, line(results, "can post").ok) == (False, False)
    assert "/invite" in line(results, "member").fix


def test_a_public_channel_needs_no_invitation_with_the_public_scope() -> None:
    with FakeSlack(channels=[]) as fake:
        fake.add_channel("alerts", is_member=False)
        results = check(SlackBotConfig("xoxb-1", "#alerts", fake.api_base))
    assert (line(results, "member").is_required, line(results, "can post").ok) == (False, True)


def test_a_private_channel_the_bot_cannot_see_is_not_found() -> None:
    with FakeSlack(channels=[]) as fake:
        channel = fake.add_channel("secret", is_member=False, is_private=True)
        results = check(SlackBotConfig("xoxb-1", channel.id, fake.api_base))
    assert line(results, "channel").ok is False


def test_without_the_scope_to_look_the_channel_stays_unknown(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.scopes -= {"channels:read", "groups:read"}
    assert line(check(bot), "channel").ok is None


def test_no_channel_is_said_so(bot: SlackBotConfig) -> None:
    assert line(check(dataclasses.replace(bot, channel="#")), "channel").text == "No channel is set."


def test_a_slack_that_cannot_be_reached_is_said_so(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.down()
    assert "could not be reached" in check(bot)[0].text


def test_a_webhook_in_order_is_recognised_without_a_post(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    results = check_webhook(hook)
    assert ([result.ok for result in results], slack.posted) == ([True, True], [])


def test_a_removed_webhook_is_told(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    slack.set_mode("default", "status", code=404, body="No service")
    result = line(check_webhook(hook), "accepts")
    assert result.ok is False and "removed" in result.text


def test_an_address_that_is_no_https_is_told() -> None:
    assert check_webhook(SlackWebhookConfig("http://hooks.slack.example/x"))[0].ok is False


def test_socket_mode_needs_an_app_level_token(slack: FakeSlack) -> None:
    assert check_socket("xapp-1-A", slack.api_base).ok is True
    refused = check_socket("xoxb-1", slack.api_base)
    assert refused.ok is False and "xapp-" in refused.fix


def test_the_manifest_in_the_guide_asks_for_the_scopes_that_are_checked() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "slack.md").read_text()
    manifest = yaml.safe_load(guide.partition("```yaml\n")[2].partition("```")[0])
    assert manifest["oauth_config"]["scopes"]["bot"] == list(SCOPES)
