"""The conversation with people in Slack: is a request really Slack's, who pressed, what they see in answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from slack_sdk.signature import SignatureVerifier

from alerts.channels import wire
from alerts.channels.base import DeliveryError, Permanent, Transient
from alerts.channels.slack_client import MAX_TIMEOUT_SECONDS, SLACK_API, SlackBotConfig, call

# Slack's documentation, "Verifying requests": five minutes, against replay (SL-7).
MAX_AGE_SECONDS = 300


class _FixedClock:
    """The clock that slack_sdk's verifier asks, standing at the time that was passed in."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> float:
        """Epoch seconds."""
        return self.at.timestamp()


def verify_signature(secret: str, timestamp: str, raw_body: bytes, signature: str, at: datetime) -> str | None:
    """Why a request is not to be trusted as Slack's, or None (SL-7).

    raw_body: the bytes as they came, before any form parsing. at: now, aware UTC. An empty secret trusts nothing.
    """
    if not secret.strip():
        return "no signing secret is set, so no request can be trusted"
    if not timestamp or not signature:
        return "the request carries no signature"
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12) or not signature.isascii():
        return "the signature headers are malformed"
    age_seconds = at.timestamp() - int(timestamp)
    if age_seconds > MAX_AGE_SECONDS:
        return f"the request is {age_seconds:.0f} s old; at most {MAX_AGE_SECONDS} s are accepted"
    if age_seconds < -MAX_AGE_SECONDS:
        return f"the request is dated {-age_seconds:.0f} s ahead; check this machine's clock"
    try:
        body = raw_body.decode("utf-8")
    except UnicodeDecodeError:
        return "the body is not UTF-8"
    verifier = SignatureVerifier(secret, clock=_FixedClock(at))  # type: ignore[arg-type]
    if not verifier.is_valid(body, timestamp, signature):
        return "the signature does not match; check the signing secret"
    return None


def open_view(config: SlackBotConfig, trigger_id: str, view: Mapping[str, Any]) -> str:
    """The ID of a dialogue opened for the person who pressed; a trigger works once and for 3 s (SL-8)."""
    answer = call(config, "post", "views.open", trigger_id=trigger_id, view=dict(view))
    return str((answer.get("view") or {}).get("id") or "")


def update_view(config: SlackBotConfig, view_id: str, view: Mapping[str, Any], view_hash: str = "") -> None:
    """Show a dialogue anew; with `view_hash` only if nobody changed it meanwhile."""
    arguments: dict[str, Any] = {"view_id": view_id, "view": dict(view)}
    if view_hash:
        arguments["hash"] = view_hash
    call(config, "update", "views.update", **arguments)


def respond(url: str, payload: Mapping[str, Any], api_base: str = SLACK_API) -> None:
    """Answer a press by the address it brought (5 times within 30 minutes, SL-8); raises a DeliveryError.

    Only Slack's own addresses are answered, and the host of `api_base`: the address is input.
    """
    host = urlsplit(url).netloc.lower()
    is_slacks = host == "slack.com" or host.endswith(".slack.com") or host == urlsplit(api_base).netloc.lower()
    if not is_slacks or wire.url_problem(url, needs_https=True):
        raise Permanent("The press brought an address that is not Slack's.", scope="message", code="bad_response_url")
    try:
        answer = wire.post(
            url, json.dumps(payload).encode(), {"Content-Type": "application/json"},
            timeout_seconds=MAX_TIMEOUT_SECONDS,
        )  # fmt: skip
    except (wire.NotSent, wire.AnswerLost, wire.Refused) as error:
        raise Transient(f"Slack could not be told: {error}.", code="not_sent") from None
    if answer.status != 200:
        raise Permanent("Slack did not take the answer to the press.", scope="message", http_status=answer.status)


def tell_privately(config: SlackBotConfig, channel: str, user_id: str, text: str, *, thread_ts: str = "") -> None:
    """Show a text in the channel to one person only."""
    arguments: dict[str, Any] = {"channel": channel, "user": user_id, "text": text}
    if thread_ts:
        arguments["thread_ts"] = thread_ts
    call(config, "post", "chat.postEphemeral", **arguments)


@dataclass(frozen=True)
class Profile:
    """What Slack tells of a member; an empty text where it does not tell."""

    email: str = ""
    time_zone: str = ""
    is_person: bool = True


def profile_of(config: SlackBotConfig, user_id: str) -> Profile:
    """A member's e-mail address (scope users:read.email), time zone, and whether it is a person of this workspace."""
    user = call(config, "ask", "users.info", user=user_id).get("user") or {}
    is_person = not any(user.get(flag) for flag in ("is_bot", "is_stranger", "deleted"))
    return Profile(str((user.get("profile") or {}).get("email") or ""), str(user.get("tz") or ""), is_person)


def user_id_of(config: SlackBotConfig, email: str) -> str | None:
    """The Slack user with this e-mail address, or None."""
    try:
        answer = call(config, "ask", "users.lookupByEmail", email=email)
    except DeliveryError as error:
        if error.code in ("users_not_found", "user_not_found"):
            return None
        raise
    return str((answer.get("user") or {}).get("id") or "") or None
