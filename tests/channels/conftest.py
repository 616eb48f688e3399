"""A fake Slack and a bot that talks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig
from tests.fakes import FakeSlack

TOKEN = "xoxb-planted-SECRET-token"


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    """A workspace where every channel exists."""
    with FakeSlack() as fake:
        yield fake


@pytest.fixture
def bot(slack: FakeSlack) -> SlackBotConfig:
    """A bot that writes to #alerts and gives up soon."""
    return SlackBotConfig(TOKEN, "#alerts", slack.api_base, timeout_seconds=5)


@pytest.fixture
def hook(slack: FakeSlack) -> SlackWebhookConfig:
    """A webhook whose messages lie under `default`."""
    return SlackWebhookConfig(slack.webhook_url("default"), timeout_seconds=5)
