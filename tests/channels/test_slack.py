"""What reaches Slack, what comes back, and what a failure means; judged at a fake workspace on loopback."""

from __future__ import annotations

import dataclasses

import pytest

from alerts.channels import slack as channel
from alerts.channels.base import Permanent, Repost, Shrink, Transient
from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig
from tests.fakes import FakeSlack

BLOCK = {"type": "section", "text": {"type": "mrkdwn", "text": "CPU is high"}}
PAYLOAD = {
    "text": "CPU is high",
    "attachments": [{"color": "#d00000", "blocks": [BLOCK]}],
    "metadata": {"event_type": "alert", "event_payload": {"outbox_id": 41, "firing": ["HostCPUHigh"]}},
}


def test_a_post_returns_the_channel_id_and_ts(slack: FakeSlack, bot: SlackBotConfig) -> None:
    receipt = channel.post(bot, PAYLOAD)
    [message] = slack.messages("alerts")
    assert (receipt.channel, receipt.ts) == (slack.channels[receipt.channel].id, message.ts)


def test_a_post_carries_blocks_colour_and_metadata(slack: FakeSlack, bot: SlackBotConfig) -> None:
    channel.post(bot, PAYLOAD)
    [message] = slack.messages("alerts")
    assert (message.blocks, message.attachments[0]["color"], message.event["outbox_id"]) == ([BLOCK], "#d00000", 41)


def test_a_post_does_not_unfurl_links(slack: FakeSlack, bot: SlackBotConfig) -> None:
    channel.post(bot, PAYLOAD)
    assert slack.requests[-1].data["unfurl_links"] is False


def test_a_post_with_a_thread_ts_answers_in_the_thread(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    channel.post(bot, {"text": "one more"}, thread_ts=first.ts)
    [reply] = slack.messages("alerts", replies=True)
    assert (reply.text, reply.thread_ts) == ("one more", first.ts)


def test_a_reply_can_be_shown_in_the_channel(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    channel.post(bot, {"text": "now critical"}, thread_ts=first.ts, reply_broadcast=True)
    assert slack.requests[-1].data["reply_broadcast"] is True


def test_an_update_edits_the_first_message(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    channel.update(bot, PAYLOAD | {"text": "Resolved"}, channel=first.channel, ts=first.ts)
    [message] = slack.messages("alerts")
    assert (message.text, message.edits[0]["text"]) == ("Resolved", "CPU is high")


def test_an_updates_receipt_names_the_same_message(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    assert channel.update(bot, PAYLOAD, channel=first.channel, ts=first.ts) == first


def test_an_update_removes_what_the_payload_no_longer_has(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    channel.update(bot, {"text": "Resolved"}, channel=first.channel, ts=first.ts)
    assert slack.messages("alerts")[0].attachments == []


def test_an_update_cuts_its_text_to_what_slack_takes(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.strict = True
    first = channel.post(bot, PAYLOAD)
    channel.update(bot, PAYLOAD | {"text": "ü" * 3000}, channel=first.channel, ts=first.ts)
    assert len(slack.messages("alerts")[0].text.encode()) <= 4000


def test_an_update_of_a_deleted_message_asks_for_a_new_post(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    slack.delete("alerts", first.ts)
    with pytest.raises(Repost) as failure:
        channel.update(bot, PAYLOAD, channel=first.channel, ts=first.ts)
    assert failure.value.code == "message_not_found"


def test_a_lost_answer_is_ambiguous_and_posts_exactly_once(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.set_mode("alerts", "accept_reset")
    with pytest.raises(Transient) as failure:
        channel.post(bot, PAYLOAD)
    assert (failure.value.ambiguous, len(slack.messages("alerts")), len(slack.requests)) == (True, 1, 1)


def test_a_hanging_answer_is_ambiguous(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.set_mode("alerts", "hang")
    with pytest.raises(Transient) as failure:
        channel.post(dataclasses.replace(bot, timeout_seconds=0.8), PAYLOAD)
    assert (failure.value.ambiguous, failure.value.code) == (True, "answer_lost")


def test_a_refused_connection_is_not_ambiguous(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.down()
    with pytest.raises(Transient) as failure:
        channel.post(bot, PAYLOAD)
    assert (failure.value.ambiguous, failure.value.counts_as_attempt) == (False, True)


def test_a_lost_answer_to_an_update_is_not_ambiguous(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    slack.set_mode("alerts", "accept_reset")
    with pytest.raises(Transient) as failure:
        channel.update(bot, PAYLOAD, channel=first.channel, ts=first.ts)
    assert failure.value.ambiguous is False


def test_429_waits_as_long_as_slack_says_and_is_no_attempt(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.set_mode("alerts", "ratelimit", retry_after=7, times=1)
    with pytest.raises(Transient) as failure:
        channel.post(bot, PAYLOAD)
    assert (failure.value.retry_after_seconds, failure.value.counts_as_attempt) == (7.0, False)
    assert (failure.value.ambiguous, slack.messages("alerts")) == (False, [])


def test_a_message_slack_finds_too_big_is_shrunk_once(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.strict = True
    big = PAYLOAD | {"attachments": [{"blocks": [BLOCK] * 51}]}
    with pytest.raises(Shrink):
        channel.post(bot, big)
    channel.post(bot, channel.shrunk(big, "https://portal.example/n/41"))
    [message] = slack.messages("alerts")
    assert message.text.endswith("https://portal.example/n/41")


def test_a_shrunk_message_that_is_refused_is_dead(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.set_mode("alerts", "ok_false", error="msg_too_long")
    with pytest.raises(Permanent) as failure:
        channel.post(bot, channel.shrunk(PAYLOAD))
    assert failure.value.scope == "message"


def test_a_shrunk_message_is_short_and_keeps_its_outbox_id() -> None:
    event = {"outbox_id": 41, "firing": ["x" * 100] * 100}
    big = {"text": "y" * 50_000, "metadata": {"event_type": "alert", "event_payload": event}}
    small = channel.shrunk(big, "https://portal.example/n/41")
    assert len(small["text"]) == 3000
    assert small["metadata"]["event_payload"] == {"outbox_id": 41}


def test_an_ambiguous_post_is_found_by_its_outbox_id(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.set_mode("alerts", "accept_reset", times=1)
    with pytest.raises(Transient):
        channel.post(bot, PAYLOAD)
    found = channel.find_by_metadata(bot, "#alerts", 41, "0")
    assert found is not None
    assert (found.ts, found.channel) == (slack.messages("alerts")[0].ts, next(iter(slack.channels)))


def test_a_post_that_never_arrived_is_not_found(slack: FakeSlack, bot: SlackBotConfig) -> None:
    channel.post(bot, PAYLOAD)
    assert channel.find_by_metadata(bot, "alerts", 42, "0") is None


def test_an_older_message_with_the_same_id_is_not_found(slack: FakeSlack, bot: SlackBotConfig) -> None:
    channel.post(bot, PAYLOAD)
    assert channel.find_by_metadata(bot, "alerts", 41, "9999999999.000000") is None


def test_an_ambiguous_reply_is_found_in_its_thread(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, {"text": "parent"})
    reply = channel.post(bot, PAYLOAD, thread_ts=first.ts)
    assert channel.find_by_metadata(bot, first.channel, 41, "0") is None
    found = channel.find_by_metadata(bot, first.channel, 41, "0", thread_ts=first.ts)
    assert found is not None and found.ts == reply.ts


def test_looking_without_the_history_scope_says_which_scope_is_missing(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.scopes -= {"channels:history", "groups:history"}
    channel.post(bot, PAYLOAD)
    with pytest.raises(Permanent, match="needs the scope channels:history"):
        channel.find_by_metadata(bot, "alerts", 41, "0")


def test_a_channel_name_is_resolved_over_several_pages(slack: FakeSlack, bot: SlackBotConfig) -> None:
    for number in range(1005):
        slack.add_channel(f"room-{number}")
    assert channel.resolve_channel(bot, "#room-1004") == "C00001005"


def test_a_permalink_leads_to_the_message(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    assert channel.permalink(bot, channel=first.channel, ts=first.ts).endswith(first.ts.replace(".", ""))


def test_a_chart_is_uploaded_into_the_thread(slack: FakeSlack, bot: SlackBotConfig) -> None:
    first = channel.post(bot, PAYLOAD)
    file_id = channel.upload_file(
        bot, channel=first.channel, thread_ts=first.ts, filename="chart.png", content=b"\x89PNG chart", title="CPU"
    )
    [reply] = slack.messages("alerts", replies=True)
    assert (slack.uploads[file_id], reply.files, reply.thread_ts) == (b"\x89PNG chart", [file_id], first.ts)


def test_an_answer_that_is_no_slack_answer_is_tried_three_times(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.set_mode("alerts", "status", code=200, body="<html>please log in</html>")
    with pytest.raises(Transient) as failure:
        channel.post(bot, PAYLOAD)
    assert failure.value.max_attempts == 3


def test_a_redirect_is_not_followed_with_the_token_in_hand(slack: FakeSlack, bot: SlackBotConfig) -> None:
    with FakeSlack() as other:
        slack.set_mode("alerts", "status", code=307, location=f"{other.api_base}chat.postMessage")
        with pytest.raises(Permanent, match="redirect"):
            channel.post(bot, PAYLOAD)
        assert other.requests == []


@pytest.mark.parametrize("base", ["http://slack.example/api/", "ftp://slack.com/api/", "slack.com/api", "", "http://"])
def test_a_base_url_that_would_leak_the_token_is_refused(bot: SlackBotConfig, base: str) -> None:
    with pytest.raises(Permanent, match="https://") as failure:
        channel.post(dataclasses.replace(bot, api_base=base), PAYLOAD)
    assert failure.value.scope == "account"


def test_a_missing_token_is_told_before_anything_is_sent(slack: FakeSlack, bot: SlackBotConfig) -> None:
    with pytest.raises(Permanent, match="No Slack token"):
        channel.post(dataclasses.replace(bot, token=" "), PAYLOAD)
    assert slack.requests == []


def test_a_proxy_is_never_used_for_this_machine(
    slack: FakeSlack, bot: SlackBotConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    channel.post(bot, PAYLOAD)
    assert len(slack.messages("alerts")) == 1


def test_a_webhook_post_has_no_ts_to_edit_later(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    receipt = channel.post_webhook(hook, PAYLOAD)
    [message] = slack.messages("default")
    assert (receipt.ts, message.via, message.blocks) == ("", "webhook", [BLOCK])


def test_a_webhook_post_carries_its_metadata(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    channel.post_webhook(hook, PAYLOAD)
    assert slack.messages("default")[0].event["firing"] == ["HostCPUHigh"]


def test_a_webhook_at_a_forbidden_address_breaks_only_itself() -> None:
    with pytest.raises(Permanent, match="link-local") as failure:
        channel.post_webhook(SlackWebhookConfig("https://169.254.169.254/services/T/B/x"), PAYLOAD)
    assert failure.value.scope == "destination"


def test_a_webhook_answer_other_than_ok_is_a_failure(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    slack.set_mode("default", "ok_false", error="channel_not_found")
    with pytest.raises(Permanent) as failure:
        channel.post_webhook(hook, PAYLOAD)
    assert (failure.value.code, failure.value.scope) == ("channel_not_found", "destination")


def test_a_webhook_429_waits(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    slack.set_mode("default", "ratelimit", retry_after=3)
    with pytest.raises(Transient) as failure:
        channel.post_webhook(hook, PAYLOAD)
    assert (failure.value.retry_after_seconds, failure.value.counts_as_attempt) == (3.0, False)


def test_a_webhook_whose_answer_is_lost_is_ambiguous_and_posts_once(slack: FakeSlack, hook: SlackWebhookConfig) -> None:
    slack.set_mode("default", "accept_reset")
    with pytest.raises(Transient) as failure:
        channel.post_webhook(hook, PAYLOAD)
    assert (failure.value.ambiguous, len(slack.messages("default"))) == (True, 1)


def test_a_webhook_over_plain_http_is_refused() -> None:
    with pytest.raises(Permanent, match="https://"):
        channel.post_webhook(SlackWebhookConfig("http://hooks.slack.example/services/T/B/x"), PAYLOAD)
