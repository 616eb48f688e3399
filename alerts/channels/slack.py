"""Slack as a way out: posts, edits, answers in a thread, finds a message again, uploads a chart.

Payloads are plain dicts made by the message renderers (`text`, `blocks`, `attachments`, `metadata`). Two kinds of
destination: a bot (everything) and an incoming webhook (posts only, SL-1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from alerts.channels import slack_errors, wire
from alerts.channels.base import DeliveryError, Permanent, Receipt, Transient
from alerts.channels.slack_check import check, check_socket, check_webhook
from alerts.channels.slack_client import (
    MAX_TIMEOUT_SECONDS,
    SlackBotConfig,
    SlackWebhookConfig,
    call,
    client,
    from_wire,
    guarded,
)
from alerts.channels.slack_find import find_by_metadata, permalink, resolve_channel
from alerts.channels.slack_people import verify_signature

__all__ = [
    "SlackBotConfig",
    "SlackWebhookConfig",
    "check",
    "check_socket",
    "check_webhook",
    "find_by_metadata",
    "is_shrunk",
    "permalink",
    "post",
    "post_webhook",
    "resolve_channel",
    "shrunk",
    "update",
    "upload_file",
    "verify_signature",
]

# What chat.postMessage may get from a payload; everything else in it is ours or a mistake.
_FIELDS = ("text", "blocks", "attachments", "metadata", "username", "icon_emoji", "icon_url", "link_names", "mrkdwn")
# "msg_too_long" of chat.update, observed: counted in UTF-8 bytes (SL-3).
MAX_UPDATE_TEXT_BYTES = 4000
SHRUNK_TEXT_CHARACTERS = 3000
_SHRUNK_METADATA_BYTES = 3000


def post(
    config: SlackBotConfig, payload: Mapping[str, Any], *, thread_ts: str = "", reply_broadcast: bool = False
) -> Receipt:
    """The receipt of a new message, in the thread of `thread_ts` if given; raises a DeliveryError."""
    arguments: dict[str, Any] = _message(payload) | {"channel": config.channel}
    arguments |= {"unfurl_links": False, "unfurl_media": False}
    if thread_ts:
        arguments |= {"thread_ts": thread_ts, "reply_broadcast": reply_broadcast}
    verb: slack_errors.Verb = "reply" if thread_ts else "post"
    answer = call(config, verb, "chat.postMessage", is_shrunk=is_shrunk(payload), **arguments)
    return Receipt(channel=str(answer.get("channel") or ""), ts=_ts(answer, ambiguous=True))


def update(config: SlackBotConfig, payload: Mapping[str, Any], *, channel: str, ts: str) -> Receipt:
    """The receipt of an edited message; raises Repost where the message is gone or closed.

    channel: the channel ID of the first receipt. Blocks and attachments that the payload leaves out are removed.
    """
    arguments: dict[str, Any] = {"blocks": [], "attachments": []} | _message(payload)
    arguments["text"] = _cut_bytes(str(arguments["text"]), MAX_UPDATE_TEXT_BYTES)
    arguments |= {"channel": channel, "ts": ts}
    answer = call(config, "update", "chat.update", is_shrunk=is_shrunk(payload), **arguments)
    return Receipt(channel=channel, ts=_ts(answer, ambiguous=False))


def post_webhook(config: SlackWebhookConfig, payload: Mapping[str, Any]) -> Receipt:
    """A receipt without ts: an incoming webhook's message can be neither edited nor answered nor found again."""
    problem = wire.url_problem(config.url, needs_https=True)
    if problem:
        raise Permanent(f"The webhook's address cannot be used: {problem}.", code="bad_url")
    body = json.dumps(_message(payload)).encode()
    failure: DeliveryError
    try:
        answer = wire.post(
            config.url, body, {"Content-Type": "application/json; charset=utf-8"},
            timeout_seconds=min(config.timeout_seconds, MAX_TIMEOUT_SECONDS),
        )  # fmt: skip
    except (wire.NotSent, wire.AnswerLost, wire.Refused) as error:
        failure = from_wire(error, "webhook")
    else:
        if answer.status == 200 and answer.text.strip() == "ok":
            return Receipt(detail="accepted by the webhook")
        failure = _webhook_failure(config, answer, is_shrunk(payload))
    raise failure


def shrunk(payload: Mapping[str, Any], link: str = "") -> dict[str, Any]:
    """The payload as short plain text with a link, for the one try after Shrink; metadata stays while it is small."""
    ending = "\n…" + (f" {link}" if link else "")
    text = str(payload.get("text") or "") or "Alert (the full message did not fit)"
    room = SHRUNK_TEXT_CHARACTERS - len(ending)
    small: dict[str, Any] = {"text": text[:room] + ending}
    metadata = payload.get("metadata")
    if isinstance(metadata, Mapping):
        event = dict(metadata.get("event_payload") or {})
        if len(json.dumps(event).encode()) > _SHRUNK_METADATA_BYTES:
            event = {"outbox_id": event["outbox_id"]} if "outbox_id" in event else {}
        small["metadata"] = {"event_type": metadata.get("event_type", "alert"), "event_payload": event}
    return small


def is_shrunk(payload: Mapping[str, Any]) -> bool:
    """Whether the payload already is short plain text."""
    return (
        not payload.get("blocks")
        and not payload.get("attachments")
        and len(str(payload.get("text") or "")) <= SHRUNK_TEXT_CHARACTERS
    )


def upload_file(
    config: SlackBotConfig, *, channel: str, thread_ts: str, filename: str, content: bytes, title: str = "",
    alt_text: str = "",
) -> str:  # fmt: skip
    """The file ID of a chart uploaded into a thread; needs files:write. A lost answer may leave the file there."""
    web = client(config.token, config.api_base, config.timeout_seconds)
    answer = guarded(
        "reply",
        lambda: web.files_upload_v2(
            channel=channel, thread_ts=thread_ts, filename=filename, file=content, title=title or filename,
            alt_txt=alt_text or None,
        ),
    )  # fmt: skip
    files = answer.get("files") or [{}]
    return str(files[0].get("id") or "")


def _message(payload: Mapping[str, Any]) -> dict[str, Any]:
    message = {name: payload[name] for name in _FIELDS if payload.get(name)}
    return {"text": ""} | message


def _ts(answer: Any, *, ambiguous: bool) -> str:
    ts = str(answer.get("ts") or "")
    if not ts:
        # Without a ts the message could never be edited; the outbox looks for it by metadata.
        raise Transient("Slack answered without saying which message it made.", code="no_ts", ambiguous=ambiguous)
    return ts


def _webhook_failure(config: SlackWebhookConfig, answer: wire.Answer, is_short: bool) -> DeliveryError:
    """A 200 is only a success with the text "ok" (Alertmanager 0.26, notify/slack checkResponseError)."""
    body = answer.json_object()
    code = slack_errors.normal_code(str(body.get("error") or "") or answer.text)
    if code not in slack_errors.TABLE and code in config.url.lower():
        # Somebody repeats a part of our address, which is the secret.
        code = ""
    return slack_errors.classify(
        code,
        http_status=answer.status,
        verb="webhook",
        retry_after_seconds=wire.retry_after_seconds(answer.headers),
        is_shrunk=is_short,
    )


def _cut_bytes(text: str, limit: int) -> str:
    data = text.encode("utf-8", "replace")
    return text if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"
