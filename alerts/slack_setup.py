"""Connect Slack: check what somebody typed step by step, and save all of it or nothing.

Hides: how a token, a channel or a webhook is asked about itself, and where the way out is attached.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.urls import reverse

from alerts import deliver, starter
from alerts.channels import slack_check, slack_people
from alerts.channels.base import CheckResult, DeliveryError
from alerts.channels.slack import SlackBotConfig, SlackWebhookConfig
from alerts.models import Integration, Notification, Receiver, SlackApp, SlackClick, SlackLink

# So many users are looked up in Slack: a set-up page waits for it.
_MOST_PEOPLE = 15
_SECRET_CHARS = 16
_MAY = ("alerts.add_integration", "alerts.add_slackapp", "alerts.change_slackapp")


@dataclass(frozen=True)
class Typed:
    """What somebody typed: a bot token with a channel, or the address of an incoming webhook."""

    bot_token: str = ""
    channel: str = ""
    webhook_url: str = ""
    app_token: str = ""
    signing_secret: str = ""

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
        return (*slack_check.check_webhook(SlackWebhookConfig(typed.webhook_url)), *_cannot())
    missing = _missing(typed)
    if missing:
        return missing
    config = SlackBotConfig(typed.bot_token, typed.channel, api_base=settings.ENV.slack_api_base)
    found = slack_check.check(config)
    if found[0].ok is False:
        return tuple(found)
    return (*found, *check_buttons(typed.app_token, typed.signing_secret), check_people(config))


def check_buttons(app_token: str, signing_secret: str) -> tuple[CheckResult, ...]:
    """Whether presses can come in: by Socket Mode, by a signed request, or not at all."""
    steps = []
    if app_token:
        steps.append(slack_check.check_socket(app_token, settings.ENV.slack_api_base))
    if signing_secret or settings.ENV.slack_signing_secret:
        steps.append(_check_secret(signing_secret or settings.ENV.slack_signing_secret))
    if not steps:
        text = "Neither an app-level token nor a signing secret: messages have links and no buttons that act."
        fix = "Switch Socket Mode on and give an app-level token (xapp-), or give the Signing Secret."
        steps.append(CheckResult("buttons", False, text, fix, is_required=False))
    return tuple(steps)


def check_people(config: SlackBotConfig) -> CheckResult:
    """How many users of the portal are known in Slack: linked, or found by their e-mail address."""
    users = get_user_model().objects.filter(is_active=True).order_by("pk")
    linked = set(SlackLink.objects.values_list("user_id", flat=True))
    known: list[str] = []
    unknown: list[str] = []
    try:
        for user in users[:_MOST_PEOPLE]:
            is_known = user.pk in linked or bool(user.email and slack_people.user_id_of(config, user.email))
            (known if is_known else unknown).append(user.get_username())
    except DeliveryError as error:
        fix = "Without users:read.email each person is asked once who they are."
        return CheckResult("people", False, error.text, fix, is_required=False)
    text = f"{len(known)} of {len(known) + len(unknown)} users are known in Slack by link or e-mail address."
    fix = f"Not known: {', '.join(unknown[:10])}. Give them their address, or let them press a button once."
    return CheckResult("people", not unknown, text, "" if not unknown else fix, is_required=False)


def _check_secret(secret: str) -> CheckResult:
    url = f"{settings.ENV.external_url}{reverse('alerts:slack_interactions')}"
    is_form = len(secret) >= _SECRET_CHARS and secret.isalnum()
    if not is_form:
        text = "This does not look like a signing secret: it has 32 letters and digits."
        return CheckResult("signing secret", False, text, "Copy it from Basic Information.", is_required=False)
    last = SlackClick.objects.order_by("-id").first()
    seen = f"The last press was by {last.slack_user_name or last.slack_user_id}." if last else "None has come yet."
    text = f"Presses are taken at {url}. {seen}"
    fix = (
        ""
        if url.startswith("https://")
        else "Slack reaches only https addresses; use Socket Mode, or set ALPHAQ_EXTERNAL_URL."
    )
    return CheckResult("signing secret", url.startswith("https://"), text, fix, is_required=False)


def _cannot() -> tuple[CheckResult, ...]:
    """What a webhook is not able to do, said before anybody misses it."""
    text = (
        "It can only post: each change is a message of its own, without thread and chart, and a message whose answer "
        "was lost is sent again."
    )
    steps = [
        CheckResult("edits and threads", False, text, "Use a bot token for one living message.", is_required=False)
    ]
    if settings.ENV.slack_signing_secret:
        steps.append(_check_secret(settings.ENV.slack_signing_secret))
    else:
        text = "There are no buttons that act."
        fix = "Give ALPHAQ_SLACK_SIGNING_SECRET of the webhook's app, and its request URL."
        steps.append(CheckResult("buttons", False, text, fix, is_required=False))
    return tuple(steps)


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
        row = _channel_row(receiver, _app(typed), typed.channel)
    row.is_enabled = True
    row.full_clean()
    row.save()
    return row


def _app(typed: Typed) -> SlackApp:
    """The app of this token; the only app there is takes a new token, which is what people do when one is revoked.

    A secret that was not typed stays as it is.
    """
    apps = list(SlackApp.objects.order_by("id"))
    known = next((app for app in apps if app.bot_token == typed.bot_token), None)
    app = known or (apps[0] if len(apps) == 1 else SlackApp(name="Slack" if not apps else f"Slack {len(apps) + 1}"))
    app.bot_token = typed.bot_token
    app.app_token = typed.app_token or app.app_token
    app.signing_secret = typed.signing_secret or app.signing_secret
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
    if typed.app_token and not typed.app_token.startswith("xapp-"):
        return (CheckResult("socket", False, "This is no app-level token.", "An app-level token starts with xapp-."),)
    if not typed.channel.strip("# "):
        return (
            CheckResult("channel", False, "No channel was given.", "Enter its name, such as #ml-alerts, or its ID."),
        )
    return ()
