"""Requests from Slack are trusted only with a fresh, right signature; answers reach the person who pressed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slack_sdk.signature import SignatureVerifier

from alerts.channels import slack_people
from alerts.channels.base import DeliveryError
from alerts.channels.slack import SlackBotConfig, verify_signature
from tests.fakes import FakeSlack

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BODY = b"payload=%7B%22type%22%3A%22block_actions%22%7D"


def signed(at: datetime, body: bytes = BODY, secret: str = SECRET) -> tuple[str, str]:
    """Timestamp and signature as Slack sends them."""
    timestamp = str(int(at.timestamp()))
    return timestamp, SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body) or ""


def test_SL_7_slacks_own_example_is_accepted() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    at = datetime.fromtimestamp(1531420618, UTC)
    assert verify_signature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body, signature, at) is None


@pytest.mark.parametrize("age_seconds", [0, 299, 300, -300])
def test_SL_7_a_fresh_request_is_trusted(age_seconds: int) -> None:
    timestamp, signature = signed(AT - timedelta(seconds=age_seconds))
    assert verify_signature(SECRET, timestamp, BODY, signature, AT) is None


@pytest.mark.parametrize(("age_seconds", "words"), [(301, "301 s old"), (-301, "ahead")])
def test_SL_7_an_old_request_is_refused(age_seconds: int, words: str) -> None:
    timestamp, signature = signed(AT - timedelta(seconds=age_seconds))
    assert words in str(verify_signature(SECRET, timestamp, BODY, signature, AT))


def test_SL_7_an_altered_body_is_refused() -> None:
    timestamp, signature = signed(AT)
    assert "does not match" in str(verify_signature(SECRET, timestamp, BODY + b"&x=1", signature, AT))


def test_SL_7_another_secret_is_refused() -> None:
    timestamp, signature = signed(AT, secret="another")
    assert "does not match" in str(verify_signature(SECRET, timestamp, BODY, signature, AT))


@pytest.mark.parametrize("secret", ["", "  "])
def test_SL_7_an_empty_secret_refuses_everything(secret: str) -> None:
    timestamp, signature = signed(AT)
    assert "no signing secret" in str(verify_signature(secret, timestamp, BODY, signature, AT))


@pytest.mark.parametrize(
    ("timestamp", "body", "signature"),
    [
        ("", BODY, "v0=1"),
        ("1", BODY, ""),
        ("soon", BODY, "v0=1"),
        ("9" * 400, BODY, "v0=1"),
        ("-1", BODY, "v0=1"),
        (str(int(AT.timestamp())), b"\xff\xfe", "v0=1"),
        (str(int(AT.timestamp())), BODY, "v0=ü"),
        (str(int(AT.timestamp())), BODY, "v1=00"),
    ],
)
def test_SL_7_malformed_requests_are_refused_with_a_reason(timestamp: str, body: bytes, signature: str) -> None:
    assert verify_signature(SECRET, timestamp, body, signature, AT)


def test_a_dialogue_opens_once_for_a_trigger(slack: FakeSlack, bot: SlackBotConfig) -> None:
    assert slack_people.open_view(bot, "trigger-1", {"type": "modal"}).startswith("V")
    with pytest.raises(DeliveryError, match="exchanged_trigger_id"):
        slack_people.open_view(bot, "trigger-1", {"type": "modal"})


def test_a_private_word_reaches_one_person(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack_people.tell_privately(bot, "alerts", "U7", "You may not silence this model.")
    assert (slack.ephemerals[0]["user"], slack.posted) == ("U7", [])


def test_a_slack_user_is_known_by_email_both_ways(slack: FakeSlack, bot: SlackBotConfig) -> None:
    slack.add_user("U7", "ada@example.org")
    assert slack_people.profile_of(bot, "U7").email == "ada@example.org"
    assert slack_people.user_id_of(bot, "ada@example.org") == "U7"


def test_an_unknown_email_is_nobody(slack: FakeSlack, bot: SlackBotConfig) -> None:
    assert slack_people.user_id_of(bot, "nobody@example.org") is None
