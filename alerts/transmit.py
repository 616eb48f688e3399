"""One message through one way out: no database, no clock, so that it may run in any thread.

Hides what each kind of way out can do: a bot edits its living message, answers in its thread and finds what it posted
before the answer was lost; everything else only posts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.conf import settings

from alerts import compose
from alerts.channels import apprise, email, slack, webhook
from alerts.channels.base import DeliveryError, Permanent, Receipt, Repost, Transient
from alerts.engine import message_long, message_slack, message_text, message_webhook
from alerts.engine.message import Message
from alerts.engine.message_mrkdwn import words
from alerts.models import Integration, Notification

Config = (
    slack.SlackBotConfig | slack.SlackWebhookConfig | email.EmailConfig | webhook.WebhookConfig | apprise.AppriseConfig
)
_KIND = Notification.Kind
# Clocks of two machines may differ; looking a little further back costs nothing.
_LOOK_BACK_SECONDS = 60.0
# Why of an edit that only shows what somebody did to an alert.
RESTATED = "restated"
_ACT_CHARS = 500
MAYBE_REPEATED = "This may be a repeat: the answer to the first try was lost."


@dataclass(frozen=True)
class Anchor:
    """The message that lies in Slack already: to edit, to answer, or to link to."""

    channel: str = ""
    ts: str = ""
    permalink: str = ""


@dataclass(frozen=True)
class Parcel:
    """One claimed message with everything its sending needs."""

    notification_id: int
    kind: str
    outbox_id: str
    integration: Integration  # with its slack_app read
    created_at: datetime
    raw: Mapping[str, Any] = field(repr=False)  # Notification.message
    group_key: str = ""
    why: str = ""
    reason: str = ""
    anchor: Anchor = field(default_factory=Anchor)
    is_ambiguous: bool = False
    is_shrunk: bool = False
    is_unlisted: bool = False  # Slack did not take its metadata
    digested: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Outcome:
    """What became of one try: a receipt or an error, and which kind of message it was in the end.

    is_unsent: nothing was tried; the message goes back into the queue.
    """

    kind: str
    receipt: Receipt | None = None
    error: DeliveryError | None = None
    thread: Mapping[str, Any] | None = None  # the line that belongs into the thread next
    is_unsent: bool = False


def config_of(integration: Integration) -> Config:
    """How to reach a way out; raises Permanent when it lacks what its kind needs."""
    kind = integration.kind
    if kind == Integration.Kind.SLACK:
        if integration.slack_app is None:
            raise Permanent("No Slack app is chosen for this channel.", scope="account", code="not_authed")
        return slack.SlackBotConfig(
            integration.slack_app.bot_token, integration.target, api_base=settings.ENV.slack_api_base
        )
    if kind == Integration.Kind.SLACK_WEBHOOK:
        return slack.SlackWebhookConfig(integration.url)
    if kind == Integration.Kind.EMAIL:
        recipients = tuple(address.strip() for address in integration.target.split(",") if address.strip())
        return email.EmailConfig(recipients)
    if kind == Integration.Kind.APPRISE:
        return apprise.AppriseConfig(integration.url)
    return webhook.WebhookConfig(integration.url)


def transmit(parcel: Parcel) -> Outcome:
    """Send one message once; every failure comes back in the outcome, nothing is raised but bugs."""
    kind = parcel.kind
    if kind == _KIND.UPDATE and not parcel.anchor.ts:
        kind = _KIND.POST  # nothing to edit: the first message was told in a digest, or by another way out
    try:
        config = config_of(parcel.integration)
        if isinstance(config, slack.SlackBotConfig):
            return _by_bot(parcel, config, kind)
        return Outcome(kind, receipt=_by_post(parcel, config))
    except DeliveryError as error:
        return Outcome(kind, error=error)


def _by_bot(parcel: Parcel, config: slack.SlackBotConfig, kind: str) -> Outcome:
    thread = _thread(parcel) if parcel.kind == _KIND.UPDATE else None
    if kind == _KIND.UPDATE:
        anchor = parcel.anchor
        try:
            receipt = slack.update(config, _slack_payload(parcel), channel=anchor.channel, ts=anchor.ts)
            return Outcome(kind, receipt=receipt, thread=thread)
        except Repost:
            kind = _KIND.POST
    try:
        return Outcome(kind, receipt=_posted(parcel, config, kind))
    except DeliveryError as error:
        return Outcome(kind, error=error)


def _thread(parcel: Parcel) -> Mapping[str, Any] | None:
    """The line under an edit: what somebody did, else what changed."""
    if parcel.why == RESTATED:
        return {"text": words(parcel.reason, _ACT_CHARS)}
    return message_slack.slack_thread(compose.load(parcel.raw))


def _posted(parcel: Parcel, config: slack.SlackBotConfig, kind: str) -> Receipt:
    """The receipt of a new message; after a lost answer that of the first one, if it did arrive (SL-10)."""
    thread_ts = parcel.anchor.ts if kind == _KIND.THREAD else ""
    note = ""
    if parcel.is_ambiguous:
        oldest = f"{parcel.created_at.timestamp() - _LOOK_BACK_SECONDS:.6f}"
        channel = parcel.anchor.channel or config.channel
        try:
            found = slack.find_by_metadata(config, channel, parcel.outbox_id, oldest, thread_ts=thread_ts)
        except Permanent:
            found, note = None, MAYBE_REPEATED  # the bot may not read: better twice than never
        if found is not None:
            return found
    if kind != _KIND.THREAD and parcel.why == "repeat":
        note = note or _repeat_note(parcel, config)
    payload = _slack_payload(parcel, note)
    return slack.post(config, payload, thread_ts=thread_ts, reply_broadcast=bool(parcel.raw.get("broadcast")))


def _by_post(parcel: Parcel, config: Config) -> Receipt:
    note = MAYBE_REPEATED if parcel.is_ambiguous else ""
    if isinstance(config, slack.SlackWebhookConfig):
        return slack.post_webhook(config, _slack_payload(parcel, note))
    message = compose.load(parcel.raw)
    if isinstance(config, email.EmailConfig):
        text = message_text.email(message)
        payload = {"subject": text.subject, "text": text.text, "html": text.html}
        return email.send(config, payload | {"outbox_id": parcel.outbox_id, "thread_id": parcel.group_key})
    if isinstance(config, apprise.AppriseConfig):
        text = message_text.email(message)
        severity = "resolved" if message.status == "resolved" else message.severity
        return apprise.send(config, text.subject, text.text, severity)
    if isinstance(config, webhook.WebhookConfig):
        return webhook.send(config, message_webhook.webhook_v4(message, parcel.integration.max_alerts))
    raise TypeError(f"no way to send by {type(config).__name__}")


def _slack_payload(parcel: Parcel, note: str = "") -> dict[str, Any]:
    """The payload with the outbox id in its metadata, whatever kind of message it is."""
    if parcel.kind == _KIND.THREAD:
        payload = dict(parcel.raw["payload"])
    elif parcel.kind == _KIND.DIGEST:
        payload = message_slack.slack_digest([compose.load(raw) for raw in parcel.digested])
    else:
        message = _noted(compose.load(parcel.raw), note)
        is_webhook = parcel.integration.kind == Integration.Kind.SLACK_WEBHOOK
        rendered = message_slack.slack_webhook if is_webhook else message_slack.slack_blocks
        payload = rendered(message, interactive=is_interactive(parcel.integration))
        if message_long.is_long(message):
            payload = message_long.spread(message, payload)
        if parcel.is_shrunk:
            payload = message_slack.slack_plain(message)
    metadata = payload.get("metadata") or {"event_type": message_slack.EVENT_TYPE, "event_payload": {}}
    event = {**({} if parcel.is_unlisted else metadata["event_payload"]), "outbox_id": parcel.outbox_id}
    return payload | {"metadata": {**metadata, "event_payload": event}}


def is_interactive(integration: Integration) -> bool:
    """Whether clicks on buttons reach us: by Socket Mode or by a signed request.

    A webhook belongs to an app as well, whose clicks come signed with the secret of the environment.
    """
    app = integration.slack_app
    if app is not None and (app.app_token or app.signing_secret):
        return True
    return bool(settings.ENV.slack_signing_secret)


def _noted(message: Message, note: str) -> Message:
    return replace(message, notes=(note, *message.notes)) if note else message


def _repeat_note(parcel: Parcel, config: slack.SlackBotConfig) -> str:
    """Where the earlier message lies; an address that Slack does not tell is no reason to hold an alert back."""
    anchor = parcel.anchor
    if not anchor.ts:
        return ""
    try:
        link = anchor.permalink or slack.permalink(config, channel=anchor.channel, ts=anchor.ts)
    except (Transient, Permanent):
        return ""
    return f"Still firing. Earlier message: {link}" if link else ""
