"""DL-14: tokens and webhook addresses are planted, everything is made to fail, and nothing may show them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator

import pytest

from alerts.channels import slack, slack_check, webhook
from alerts.channels.base import DeliveryError, hidden
from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig
from alerts.channels.webhook import WebhookConfig
from tests.fakes import FakeSlack, FakeWebhook, LoopbackServer

TOKEN = "xoxb-11111-PLANTEDTOKEN"
HOOK = "PLANTEDHOOKsecret"
PASSWORD = "PLANTEDPASSWORD"
PLANTED = (TOKEN, HOOK, PASSWORD, HOOK.lower(), "PLANTED")
MODES = [
    ("reset", {}),
    ("accept_reset", {}),
    ("hang", {}),
    ("ratelimit", {}),
    ("ok_false", {"error": "invalid_auth"}),
    ("status", {"code": 500, "body": f"cannot use {TOKEN} at /services/T/B/{HOOK} with {PASSWORD}"}),
    ("status", {"code": 404, "body": HOOK}),
    ("status", {"code": 200, "body": TOKEN}),
    ("status", {"code": 302, "body": "", "location": f"http://127.0.0.1:1/{HOOK}"}),
]


def everything_said(error: BaseException) -> str:
    """All that an error and the errors chained to it can tell, locals left out as in our logs."""
    parts, seen = ["".join(traceback.format_exception(error)), repr(error), repr(vars(error))], error
    while chained := seen.__cause__ or seen.__context__:
        parts += [repr(chained), repr(vars(chained))]
        seen = chained
    return "\n".join(parts)


@pytest.fixture(params=["bot", "slack webhook", "webhook"])
def way(request: pytest.FixtureRequest) -> Iterator[tuple[LoopbackServer, Callable[[], object]]]:
    """A fake and a way of sending to it, with secrets planted."""
    if request.param == "webhook":
        with FakeWebhook() as fake:
            url = fake.hook_url(HOOK).replace("http://", f"http://user:{PASSWORD}@")
            config = WebhookConfig(url, authorization="", timeout_seconds=0.3)
            yield fake, lambda: webhook.send(config, {"version": "4"})
        return
    with FakeSlack() as fake_slack:
        bot = SlackBotConfig(TOKEN, "#alerts", fake_slack.api_base, timeout_seconds=0.3)
        hook = SlackWebhookConfig(fake_slack.webhook_url(HOOK), timeout_seconds=0.3)
        send = {
            "bot": lambda: slack.post(bot, {"text": "hello"}),
            "slack webhook": lambda: slack.post_webhook(hook, {"text": "hello"}),
        }
        yield fake_slack, send[request.param]


@pytest.mark.parametrize(("mode", "parameters"), MODES)
def test_DL_14_no_failure_tells_a_secret(
    way: tuple[LoopbackServer, Callable[[], object]], mode: str, parameters: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    fake, send = way
    fake.set_mode("*", mode, **parameters)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="slack_sdk")
    try:
        send()
    except DeliveryError as error:
        said = everything_said(error) + caplog.text
    else:
        # A plain webhook takes any 200 as success.
        said = caplog.text
    assert [secret for secret in PLANTED if secret in said] == []


def test_DL_14_a_server_that_is_gone_tells_no_secret(way: tuple[LoopbackServer, Callable[[], object]]) -> None:
    fake, send = way
    fake.down()
    with pytest.raises(DeliveryError) as failure:
        send()
    assert "PLANTED" not in everything_said(failure.value)


def test_DL_14_configs_do_not_show_their_secrets() -> None:
    configs = (
        SlackBotConfig(TOKEN, "#alerts"),
        SlackWebhookConfig(f"https://hooks.example/services/T/B/{HOOK}"),
        WebhookConfig(f"https://user:{PASSWORD}@hooks.example/{HOOK}", authorization=f"Bearer {PASSWORD}"),
    )
    assert "PLANTED" not in repr(configs)


def test_DL_14_an_address_that_cannot_be_used_is_not_repeated() -> None:
    for url in (f"http://hooks.slack.example/services/T/B/{HOOK}", f"https://[{HOOK}", HOOK, f"https://h/{HOOK} x"):
        with pytest.raises(DeliveryError) as failure:
            slack.post_webhook(SlackWebhookConfig(url), {"text": "hello"})
        assert "PLANTED" not in everything_said(failure.value)


def test_DL_14_the_set_up_check_tells_no_secret() -> None:
    with FakeSlack(token="another") as fake:
        results = slack_check.check(SlackBotConfig(TOKEN, "#alerts", fake.api_base))
    assert results[0].ok is False and "PLANTED" not in repr(results)


def test_a_webhooks_bearer_token_is_hidden_when_the_receiver_repeats_it() -> None:
    with FakeWebhook() as fake:
        fake.set_mode("*", "status", code=401, body=f"the token {PASSWORD} is wrong")
        with pytest.raises(DeliveryError, match=r"the token \[hidden\] is wrong"):
            webhook.send(WebhookConfig(fake.hook_url(), authorization=f"Bearer {PASSWORD}"), {"version": "4"})


def test_hidden_text_is_one_short_line() -> None:
    assert hidden("one\n two\tthree", limit=9) == "one two …"


def test_what_looks_like_a_slack_secret_is_hidden_wherever_it_comes_from() -> None:
    assert hidden("xoxb-1-a xapp-1-b https://hooks.slack.com/services/T/B/x end") == "[hidden] [hidden] [hidden] end"
