"""Connect Slack: check what somebody typed step by step, and save all of it or nothing.

Hides: how a token, a channel or a webhook is asked about itself, and where the way out is attached.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from alerts import deliver, starter
from alerts.channels import slack_check
from alerts.channels.base import CheckResult
from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig
from alerts.models import Integration, Notification, Receiver, SlackApp

_MAY = ("alerts.add_integration", "alerts.add_slackapp", "alerts.change_slackapp")


@dataclass(frozen=True)
class Typed:
    """What somebody typed: a bot token with a channel, or the address of an incoming webhook."""

    bot_token: str = ""
    channel: str = ""
    webhook_url: str = ""

    @property
    def is_webhook(self) -> bool:
        """Whether the webhook is what to use."""
        return bool(self.webhook_url) and not self.bot_token

    def __repr__(self) -> str:
        return f"Typed(channel={self.channel!r})"


@dataclass(frozen=True)
class Connected:
    """The steps that were checked, and the way out where all that is required held."""

    steps: tuple[CheckResult, ...]
    integration: Integration | None = None

    @property
    def problem(self) -> CheckResult | None:
        """The first required step that failed."""
        return next((step for step in self.steps if step.is_required and step.ok is False), None)


def check(typed: Typed) -> tuple[CheckResult, ...]:
    """Ask Slack about everything that was typed; posts nothing, saves nothing, never raises."""
    if typed.is_webhook:
        return tuple(slack_check.check_webhook(SlackWebhookConfig(typed.webhook_url)))
    missing = _missing(typed)
    if missing:
        return missing
    config = SlackBotConfig(typed.bot_token, typed.channel, api_base=settings.ENV.slack_api_base)
    return tuple(slack_check.check(config))


def connect(typed: Typed, user: Any) -> Connected:
    """Check, then save the way out on the root receiver; nothing is saved when a required step fails.

    The same channel or webhook again changes what is there. Raises PermissionDenied.
    """
    if not all(user.has_perm(permission) for permission in _MAY):
        raise PermissionDenied(_MAY[0])
    done = Connected(check(typed))
    if done.problem is not None:
        return done
    try:
        with transaction.atomic():
            return Connected(done.steps, _save(typed))
    except ValidationError as error:
        return Connected((*done.steps, CheckResult("saving", False, " ".join(error.messages))))


def ways_out() -> list[Integration]:
    """The ways out of the root receiver, the oldest first."""
    receiver = starter.root_receiver()
    return list(receiver.integrations.select_related("slack_app").order_by("id"))


def send_test(integration: Integration, user: str, at: datetime) -> tuple[bool, str]:
    """Send a test message now; returns whether it arrived, and what the other side answered in words."""
    message = deliver.send_test(integration, at, user)
    deliver.send(message.pk, at, f"test:{user}"[:100])
    message.refresh_from_db()
    if message.state == Notification.State.SENT:
        where = f" {message.permalink}" if message.permalink else ""
        return True, f"the test message arrived.{where}"
    if message.last_error:
        return False, message.last_error
    return False, f"the test message is {message.get_state_display()}; look at Notifications in a moment."


def _save(typed: Typed) -> Integration:
    receiver = starter.root_receiver()
    if typed.is_webhook:
        row = receiver.integrations.filter(kind=Integration.Kind.SLACK_WEBHOOK, url=typed.webhook_url).first()
        row = row or Integration(receiver=receiver, kind=Integration.Kind.SLACK_WEBHOOK, url=typed.webhook_url)
    else:
        row = _channel_row(receiver, _app(typed.bot_token), typed.channel)
    row.is_enabled = True
    row.full_clean()
    row.save()
    return row


def _app(token: str) -> SlackApp:
    """The app of this token; the only app there is takes a new token, which is what people do when one is revoked."""
    apps = list(SlackApp.objects.order_by("id"))
    known = next((app for app in apps if app.bot_token == token), None)
    if known is not None:
        return known
    app = apps[0] if len(apps) == 1 else SlackApp(name="Slack" if not apps else f"Slack {len(apps) + 1}")
    app.bot_token = token
    app.full_clean()
    app.save()
    return app


def _channel_row(receiver: Receiver, app: SlackApp, channel: str) -> Integration:
    known = receiver.integrations.filter(kind=Integration.Kind.SLACK, slack_app=app, target=channel).first()
    return known or Integration(receiver=receiver, kind=Integration.Kind.SLACK, slack_app=app, target=channel)


def _missing(typed: Typed) -> tuple[CheckResult, ...]:
    if not typed.bot_token:
        text, fix = "No token was given.", "Give a bot token (xoxb-) with a channel, or the address of a webhook."
        return (CheckResult("token", False, text, fix),)
    if not typed.bot_token.startswith(("xoxb-", "xoxp-", "xapp-")):
        return (CheckResult("token", False, "This is no Slack token.", "A bot token starts with xoxb-."),)
    if not typed.channel.strip("# "):
        return (
            CheckResult("channel", False, "No channel was given.", "Enter its name, such as #ml-alerts, or its ID."),
        )
    return ()
