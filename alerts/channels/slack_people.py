"""The conversation with people in Slack: is a request really Slack's, who pressed, what they see in answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from slack_sdk.signature import SignatureVerifier

from alerts.channels.base import DeliveryError
from alerts.channels.slack_client import SlackBotConfig, call

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


def tell_privately(config: SlackBotConfig, channel: str, user_id: str, text: str, *, thread_ts: str = "") -> None:
    """Show a text in the channel to one person only."""
    arguments: dict[str, Any] = {"channel": channel, "user": user_id, "text": text}
    if thread_ts:
        arguments["thread_ts"] = thread_ts
    call(config, "post", "chat.postEphemeral", **arguments)


def email_of(config: SlackBotConfig, user_id: str) -> str:
    """The e-mail address of a Slack user; "" where Slack does not tell (scope users:read.email)."""
    user = call(config, "ask", "users.info", user=user_id).get("user") or {}
    return str((user.get("profile") or {}).get("email") or "")


def user_id_of(config: SlackBotConfig, email: str) -> str | None:
    """The Slack user with this e-mail address, or None."""
    try:
        answer = call(config, "ask", "users.lookupByEmail", email=email)
    except DeliveryError as error:
        if error.code in ("users_not_found", "user_not_found"):
            return None
        raise
    return str((answer.get("user") or {}).get("id") or "") or None
