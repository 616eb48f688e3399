"""The fakes behave as the servers they stand for, so that a test against them means something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from tests.fakes import FakeSlack, FakeWebhook


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    """A workspace where every channel exists."""
    with FakeSlack() as fake:
        yield fake


def client(fake: FakeSlack) -> WebClient:
    """slack_sdk as anybody uses it, but without its own second try."""
    return WebClient("xoxb-1", base_url=fake.api_base, timeout=5, retry_handlers=[])


def error_of(fake: FakeSlack, method: str, **arguments: Any) -> str:
    """The error string of a call that is refused."""
    with pytest.raises(SlackApiError) as failure:
        client(fake).api_call(method, json=arguments)
    return str(failure.value.response["error"])


def test_the_sdks_own_client_can_post_and_update(slack: FakeSlack) -> None:
    web = client(slack)
    posted = web.chat_postMessage(channel="#alerts", text="one")
    web.chat_update(channel=posted["channel"], ts=posted["ts"], text="two")
    [message] = slack.messages("alerts")
    assert (message.text, [edit["text"] for edit in message.edits]) == ("two", ["one"])


def test_the_sdks_webhook_client_is_answered_ok(slack: FakeSlack) -> None:
    answer = WebhookClient(slack.webhook_url("default"), retry_handlers=[]).send(text="one")
    assert (answer.status_code, answer.body, slack.messages("default")[0].text) == (200, "ok", "one")


def test_an_unknown_channel_is_not_found_where_channels_are_named() -> None:
    with FakeSlack(channels=["alerts"]) as fake:
        assert error_of(fake, "chat.postMessage", channel="#other", text="x") == "channel_not_found"


def test_a_call_without_the_right_token_is_refused() -> None:
    with FakeSlack(token="xoxb-2") as fake:
        assert error_of(fake, "auth.test") == "invalid_auth"


def test_a_message_without_text_is_refused(slack: FakeSlack) -> None:
    assert error_of(slack, "chat.postMessage", channel="alerts") == "no_text"


def test_an_unknown_method_is_told(slack: FakeSlack) -> None:
    assert error_of(slack, "chat.postMesage", channel="alerts") == "unknown_method"


def test_every_api_answer_lists_the_scopes(slack: FakeSlack) -> None:
    assert "chat:write" in client(slack).auth_test().headers["x-oauth-scopes"]


def test_history_is_newest_first_and_shows_metadata_only_when_asked(slack: FakeSlack) -> None:
    web, metadata = client(slack), {"event_type": "alert", "event_payload": {"outbox_id": 1}}
    for text in ("one", "two"):
        posted = web.chat_postMessage(channel="alerts", text=text, metadata=metadata)
    plain = web.conversations_history(channel=posted["channel"])["messages"]
    full = web.conversations_history(channel=posted["channel"], include_all_metadata=True)["messages"]
    assert ([m["text"] for m in plain], "metadata" in plain[0]) == (["two", "one"], False)
    assert full[0]["metadata"]["event_payload"] == {"outbox_id": 1}


def test_history_leaves_replies_to_the_thread(slack: FakeSlack) -> None:
    web = client(slack)
    first = web.chat_postMessage(channel="alerts", text="one")
    web.chat_postMessage(channel="alerts", text="reply", thread_ts=first["ts"])
    assert len(web.conversations_history(channel=first["channel"])["messages"]) == 1
    assert len(web.conversations_replies(channel=first["channel"], ts=first["ts"])["messages"]) == 2


def test_strict_takes_five_at_once_and_then_one_a_second() -> None:
    now = [0.0]
    with FakeSlack(strict=True, clock=lambda: now[0]) as fake:
        web = client(fake)
        for _ in range(5):
            web.chat_postMessage(channel="alerts", text="x")
        with pytest.raises(SlackApiError) as failure:
            web.chat_postMessage(channel="alerts", text="x")
        assert (failure.value.response.status_code, failure.value.response.headers["Retry-After"]) == (429, "1")
        now[0] += 1.0
        web.chat_postMessage(channel="alerts", text="x")
        web.chat_postMessage(channel="others", text="x")
        assert len(fake.messages("alerts")) == 6


def button(**changes: Any) -> dict[str, Any]:
    """An actions block with one button."""
    base = {"type": "button", "text": {"type": "plain_text", "text": "Go"}, "action_id": "go"}
    return {"type": "actions", "elements": [base | changes]}


def section(text: str, **more: Any) -> dict[str, Any]:
    """A section block."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}} | more


@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        ([section("x" * 3001)], "invalid_blocks"),
        ([section("")], "invalid_blocks"),
        ([section("x")] * 51, "invalid_blocks"),
        ([section("x", block_id="a"), section("y", block_id="a")], "invalid_blocks"),
        ([section("x", fields=[{"type": "mrkdwn", "text": "y"}] * 11)], "invalid_blocks"),
        ([section("x", fields=[{"type": "mrkdwn", "text": "y" * 2001}])], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "invalid_blocks"),
        ([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}], "invalid_blocks"),
        ([{"type": "actions", "elements": []}], "invalid_blocks"),
        ([button(text={"type": "plain_text", "text": "x" * 76})], "invalid_blocks"),
        ([button(value="x" * 2001)], "invalid_blocks"),
        ([button(url="x" * 3001)], "invalid_blocks"),
        ([button(action_id="x" * 256)], "invalid_blocks"),
        ([{"text": "no type"}], "invalid_blocks"),
        ([section("x" * 3000)] * 5, "msg_blocks_too_long"),
        ("nonsense", "invalid_blocks_format"),
    ],
)
def test_SL_2_strict_refuses_what_slack_refuses(blocks: Any, error: str) -> None:
    with FakeSlack(strict=True) as fake:
        assert error_of(fake, "chat.postMessage", channel="alerts", text="x", blocks=blocks) == error
        assert fake.posted == []


def test_SL_2_strict_takes_a_full_message() -> None:
    blocks = [section("x" * 3000, block_id="a"), button(value="x" * 2000), *[section("y")] * 48]
    with FakeSlack(strict=True) as fake:
        client(fake).chat_postMessage(channel="alerts", text="x", blocks=blocks)
        assert len(fake.messages("alerts")) == 1


def test_SL_3_strict_refuses_a_long_text_in_an_update() -> None:
    with FakeSlack(strict=True) as fake:
        posted = client(fake).chat_postMessage(channel="alerts", text="x" * 4001)
        arguments = {"channel": posted["channel"], "ts": posted["ts"], "text": "x" * 4001}
        assert error_of(fake, "chat.update", **arguments) == "msg_too_long"


def test_a_mode_ends_after_its_times(slack: FakeSlack) -> None:
    slack.set_mode("alerts", "ok_false", error="is_archived", times=2)
    errors = [error_of(slack, "chat.postMessage", channel="alerts", text="x") for _ in range(2)]
    client(slack).chat_postMessage(channel="alerts", text="x")
    assert (errors, len(slack.messages("alerts"))) == (["is_archived"] * 2, 1)


def test_a_mode_is_for_its_channel_by_name_or_id(slack: FakeSlack) -> None:
    posted = client(slack).chat_postMessage(channel="alerts", text="x")
    slack.set_mode("alerts", "ok_false", error="is_archived")
    assert error_of(slack, "chat.postMessage", channel=posted["channel"], text="x") == "is_archived"
    client(slack).chat_postMessage(channel="others", text="x")


def test_a_mode_can_be_for_one_method(slack: FakeSlack) -> None:
    posted = client(slack).chat_postMessage(channel="alerts", text="x")
    slack.set_mode("alerts", "ok_false", error="edit_window_closed", method="chat.update")
    client(slack).chat_postMessage(channel="alerts", text="y")
    arguments = {"channel": posted["channel"], "ts": posted["ts"], "text": "z"}
    assert error_of(slack, "chat.update", **arguments) == "edit_window_closed"


def test_a_mode_that_is_none_is_refused(slack: FakeSlack) -> None:
    with pytest.raises(ValueError, match="unknown mode"):
        slack.set_mode("alerts", "sleepy")


def test_accept_reset_keeps_the_message_and_loses_the_answer(slack: FakeSlack) -> None:
    slack.set_mode("alerts", "accept_reset", times=1)
    with pytest.raises(ConnectionError):
        client(slack).chat_postMessage(channel="alerts", text="x")
    assert len(slack.messages("alerts")) == 1


def test_reset_keeps_nothing(slack: FakeSlack) -> None:
    slack.set_mode("alerts", "reset", times=1)
    with pytest.raises(ConnectionError):
        client(slack).chat_postMessage(channel="alerts", text="x")
    assert slack.messages("alerts") == []


def test_down_refuses_connections_and_up_listens_on_the_same_port(slack: FakeSlack) -> None:
    before = slack.url
    slack.set_mode("*", "down")
    with pytest.raises(OSError, match="refused"):
        client(slack).auth_test()
    slack.set_mode("*", "ok")
    assert client(slack).auth_test()["ok"] and slack.url == before


def test_a_hanging_request_is_let_go_when_the_mode_ends(slack: FakeSlack) -> None:
    slack.set_mode("alerts", "hang")
    seen: list[BaseException] = []

    def post() -> None:
        try:
            client(slack).chat_postMessage(channel="alerts", text="x")
        except OSError as error:
            seen.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    slack.wait_for(lambda fake: fake.requests)
    slack.set_mode("alerts", "ok")
    thread.join(5)
    assert len(seen) == 1


def test_wait_for_returns_as_soon_as_the_message_is_there(slack: FakeSlack) -> None:
    thread = threading.Thread(target=lambda: client(slack).chat_postMessage(channel="alerts", text="CPU high"))
    thread.start()
    [message] = slack.wait_for_message("alerts", "CPU")
    thread.join(5)
    assert message.text == "CPU high"


def test_wait_for_says_what_was_seen_instead(slack: FakeSlack) -> None:
    client(slack).chat_postMessage(channel="alerts", text="x")
    with pytest.raises(AssertionError, match=r"chat\.postMessage alerts ok 200"):
        slack.wait_for_message("others", timeout=0.05)


def test_a_webhook_receiver_keeps_bodies_by_name() -> None:
    with FakeWebhook() as fake:
        WebhookClient(fake.hook_url("pager"), retry_handlers=[]).send_dict({"status": "firing"})
        assert (fake.bodies("pager"), fake.bodies("other")) == ([{"status": "firing"}], [])
