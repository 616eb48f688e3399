"""Every row of ALERTING SL-9, asked at the wire: what the outbox does with each answer of Slack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alerts.channels import slack as channel
from alerts.channels.base import DeliveryError, Permanent, Repost, Shrink, Transient
from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig
from alerts.channels.slack_errors import TABLE, normal_code
from tests.fakes import FakeSlack

PAYLOAD = {"text": "CPU is high", "blocks": [{"type": "divider"}]}
RETRY = """internal_error fatal_error service_unavailable request_timeout team_added_to_org org_login_required
    rollup_error"""
AMBIGUOUS = "internal_error fatal_error"
WAIT = "ratelimited rate_limited message_limit_exceeded"
SHRINK = """msg_too_long msg_blocks_too_long invalid_blocks invalid_blocks_format too_many_attachments invalid_payload
    metadata_too_large"""
DESTINATION = """channel_not_found is_archived channel_is_archived not_in_channel no_service no_service_id no_team
    no_active_hooks team_disabled action_prohibited restricted_action restricted_action_read_only_channel
    posting_to_general_channel_denied ekm_access_denied messages_tab_disabled user_not_found cannot_dm_bot"""
ACCOUNT = """invalid_auth not_authed account_inactive token_revoked token_expired missing_scope no_permission
    not_allowed_token_type access_denied invalid_token two_factor_setup_required"""
REPOST = """message_not_found cant_update_message edit_window_closed cannot_reply_to_message
    restricted_action_thread_locked"""


@pytest.fixture(scope="module")
def workspace() -> Iterator[FakeSlack]:
    """One workspace for the whole table."""
    with FakeSlack() as fake:
        yield fake


def failure_of(fake: FakeSlack, error: str, *, method: str = "post") -> DeliveryError:
    """What a call raises when Slack answers ok:false with this error."""
    fake.set_mode("alerts", "ok_false", error=error)
    bot = SlackBotConfig("xoxb-1", "#alerts", fake.api_base, timeout_seconds=5)
    with pytest.raises(DeliveryError) as failure:
        if method == "update":
            channel.update(bot, PAYLOAD, channel="alerts", ts="1.000001")
        else:
            channel.post(bot, PAYLOAD, thread_ts="1.000001" if method == "reply" else "")
    return failure.value


@pytest.mark.parametrize("error", RETRY.split())
def test_SL_9_trouble_of_slacks_own_is_tried_again(workspace: FakeSlack, error: str) -> None:
    failure = failure_of(workspace, error)
    assert isinstance(failure, Transient) and failure.counts_as_attempt and failure.max_attempts is None
    assert failure.ambiguous is (error in AMBIGUOUS.split())


@pytest.mark.parametrize("error", WAIT.split())
def test_SL_9_a_rate_limit_is_waited_for_and_is_no_attempt(workspace: FakeSlack, error: str) -> None:
    failure = failure_of(workspace, error)
    assert isinstance(failure, Transient) and not failure.counts_as_attempt
    assert failure.retry_after_seconds and failure.tells_staff is (error == "message_limit_exceeded")


@pytest.mark.parametrize("error", SHRINK.split())
def test_SL_9_too_much_is_shrunk(workspace: FakeSlack, error: str) -> None:
    assert isinstance(failure_of(workspace, error), Shrink)


@pytest.mark.parametrize("error", DESTINATION.split())
def test_SL_9_a_broken_destination_is_dead(workspace: FakeSlack, error: str) -> None:
    failure = failure_of(workspace, error)
    assert isinstance(failure, Permanent) and failure.scope == "destination"


@pytest.mark.parametrize("error", ACCOUNT.split())
def test_SL_9_broken_credentials_are_dead_for_the_whole_account(workspace: FakeSlack, error: str) -> None:
    failure = failure_of(workspace, error)
    assert isinstance(failure, Permanent) and failure.scope == "account"


@pytest.mark.parametrize("method", ["update", "reply"])
@pytest.mark.parametrize("error", REPOST.split())
def test_SL_9_a_message_that_is_gone_is_posted_anew(workspace: FakeSlack, error: str, method: str) -> None:
    assert isinstance(failure_of(workspace, error, method=method), Repost)


@pytest.mark.parametrize("error", REPOST.split())
def test_SL_9_a_first_post_is_never_asked_to_be_posted_anew(workspace: FakeSlack, error: str) -> None:
    assert isinstance(failure_of(workspace, error), Permanent)


def test_SL_9_an_unknown_error_is_tried_three_times(workspace: FakeSlack) -> None:
    failure = failure_of(workspace, "something_new")
    assert isinstance(failure, Transient) and failure.max_attempts == 3 and "something_new" in failure.text


@pytest.mark.parametrize("error", sorted(TABLE))
def test_every_known_error_is_told_in_a_sentence_with_its_code(workspace: FakeSlack, error: str) -> None:
    failure = failure_of(workspace, error)
    assert failure.code == error and f"({error})" in failure.text
    assert failure.text[0].isupper() and failure.text.endswith(".")


@pytest.mark.parametrize(
    ("status", "body", "kind", "scope"),
    [
        (400, "invalid_payload", Shrink, ""),
        (400, "user_not_found", Permanent, "destination"),
        (400, "something else", Shrink, ""),
        (403, "action_prohibited", Permanent, "destination"),
        (403, "invalid_token", Permanent, "account"),
        (404, "channel_not_found", Permanent, "destination"),
        (404, "No service", Permanent, "destination"),
        (404, "<html>nothing here</html>", Permanent, "destination"),
        (410, "channel_is_archived", Permanent, "destination"),
        (413, "", Shrink, ""),
        (429, "rate_limited", Transient, ""),
        (500, "rollup_error", Transient, ""),
        (502, "<html>bad gateway</html>", Transient, ""),
        (503, "", Transient, ""),
        (200, "<html>log in</html>", Transient, ""),
        (302, "", Permanent, "destination"),
    ],
)
def test_SL_9_a_webhooks_answer_is_judged_by_its_text_first(
    workspace: FakeSlack, status: int, body: str, kind: type[DeliveryError], scope: str
) -> None:
    workspace.set_mode("hook", "status", code=status, body=body)
    with pytest.raises(DeliveryError) as failure:
        channel.post_webhook(SlackWebhookConfig(workspace.webhook_url("hook")), PAYLOAD)
    assert (type(failure.value), getattr(failure.value, "scope", "")) == (kind, scope)


@pytest.mark.parametrize(("status", "ambiguous"), [(500, False), (502, True), (503, False), (504, True)])
def test_a_server_error_is_ambiguous_when_it_comes_from_something_in_front_of_slack(
    workspace: FakeSlack, status: int, ambiguous: bool
) -> None:
    workspace.set_mode("alerts", "status", code=status, body="upstream failed")
    with pytest.raises(Transient) as failure:
        channel.post(SlackBotConfig("xoxb-1", "#alerts", workspace.api_base), PAYLOAD)
    assert failure.value.ambiguous is ambiguous


def test_a_missing_scope_is_named(workspace: FakeSlack) -> None:
    with FakeSlack(scopes=()) as bare, pytest.raises(Permanent, match="needs the scope chat:write"):
        channel.post(SlackBotConfig("xoxb-1", "#alerts", bare.api_base), PAYLOAD)


@pytest.mark.parametrize(
    ("body", "code"),
    [(" No service\n", "no_service"), ("invalid_auth", "invalid_auth"), ("xoxb-1-SECRET", ""), ("<p>", ""), ("", "")],
)
def test_only_what_looks_like_an_error_string_becomes_a_code(body: str, code: str) -> None:
    assert normal_code(body) == code
