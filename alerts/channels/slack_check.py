"""The set-up check of a Slack destination: one line a question, each with what to do about it. Nothing is posted."""

from __future__ import annotations

import json
from typing import Any

from alerts.channels import slack_errors, wire
from alerts.channels.base import CheckResult, DeliveryError
from alerts.channels.slack_client import SLACK_API, SlackBotConfig, SlackWebhookConfig, call
from alerts.channels.slack_find import resolve_channel

# Scope → what it is for, and whether nothing works without it.
SCOPES: dict[str, tuple[str, bool]] = {
    "chat:write": ("posts and edits messages", True),
    "chat:write.public": ("posts into public channels without an invitation", False),
    "channels:read": ("finds public channels by name and checks membership", False),
    "groups:read": ("finds private channels by name and checks membership", False),
    "channels:history": ("looks in public channels whether a message arrived when Slack's answer was lost", False),
    "groups:history": ("looks in private channels whether a message arrived when Slack's answer was lost", False),
    "files:write": ("adds the chart to the thread", False),
    "users:read": ("knows who pressed a button", False),
    "users:read.email": ("links Slack users to portal users by e-mail address", False),
}
_ADD_SCOPE = "Add it under OAuth & Permissions → Bot Token Scopes, then install the app again."
_INVITE = "Type /invite and the bot's name in the channel."
# What Slack answers to a message without text when the webhook itself is in order.
_EMPTY_REFUSED = frozenset({"no_text", "invalid_payload", "missing_text_or_fallback_or_attachments"})


def check(config: SlackBotConfig) -> list[CheckResult]:
    """Token, each scope, channel, membership and whether the bot can post, in this order; never raises."""
    try:
        answer = call(config, "ask", "auth.test")
    except DeliveryError as error:
        rest = [*(f"scope {name}" for name in SCOPES), "channel", "member", "can post"]
        return [CheckResult("token", False, error.text, _token_fix(config.token)), *map(_not_looked, rest)]
    who, team = answer.get("user") or "a user", answer.get("team") or "a workspace"
    raw = {name.lower(): value for name, value in answer.headers.items()}.get("x-oauth-scopes")
    granted = None if raw is None else {scope.strip() for scope in raw.split(",")}
    token = CheckResult("token", True, f"The token works: {who} in {team}.")
    return [token, *_scopes(granted), *_channel(config, granted)]


def check_webhook(config: SlackWebhookConfig) -> list[CheckResult]:
    """Whether the address is an incoming webhook that takes messages; asks with a message that cannot be posted."""
    problem = wire.url_problem(config.url, needs_https=True)
    if problem:
        return [CheckResult("address", False, f"The address cannot be used: {problem}.", _COPY), _not_looked("accepts")]
    address = CheckResult("address", True, "The address is well formed.")
    try:
        answer = wire.post(
            config.url, json.dumps({"text": ""}).encode(), {"Content-Type": "application/json"},
            timeout_seconds=config.timeout_seconds,
        )  # fmt: skip
    except (wire.NotSent, wire.AnswerLost, wire.Refused) as error:
        text = f"The webhook could not be reached: {error}."
        return [address, CheckResult("accepts", False, text, "Check the network and the proxy of this machine.")]
    code = slack_errors.normal_code(answer.text)
    if code in _EMPTY_REFUSED or answer.status == 200:
        return [address, CheckResult("accepts", True, "The webhook takes messages.")]
    failure = slack_errors.classify(code, http_status=answer.status, verb="webhook")
    return [address, CheckResult("accepts", False, failure.text, _COPY)]


def check_socket(app_token: str, api_base: str = SLACK_API) -> CheckResult:
    """Whether buttons can come in by Socket Mode with this app-level token."""
    fix = "Create an app-level token (xapp-) with the scope connections:write and switch Socket Mode on."
    try:
        call(SlackBotConfig(app_token, "", api_base), "ask", "apps.connections.open")
    except DeliveryError as error:
        return CheckResult("socket", False, error.text, fix, is_required=False)
    return CheckResult("socket", True, "Socket Mode is on; buttons work.", is_required=False)


_COPY = "Copy the address again from the app's Incoming Webhooks page."


def _not_looked(name: str) -> CheckResult:
    return CheckResult(name, None, "Not checked, because an earlier check failed.")


def _token_fix(token: str) -> str:
    if token.startswith("xapp-"):
        return "This is an app-level token (xapp-); enter the Bot User OAuth Token (xoxb-) here."
    if token.startswith("xoxp-"):
        return "This is a user's token (xoxp-); enter the Bot User OAuth Token (xoxb-) here."
    return "Copy the Bot User OAuth Token (xoxb-) from OAuth & Permissions."


def _scopes(granted: set[str] | None) -> list[CheckResult]:
    lines = []
    for name, (purpose, is_required) in SCOPES.items():
        title = f"scope {name}"
        if granted is None:
            lines.append(CheckResult(title, None, "Slack did not list the scopes.", is_required=is_required))
        elif name in granted:
            lines.append(CheckResult(title, True, f"Granted: {purpose}.", is_required=is_required))
        else:
            lines.append(CheckResult(title, False, f"Missing: {purpose}.", _ADD_SCOPE, is_required=is_required))
    return lines


def _channel(config: SlackBotConfig, granted: set[str] | None) -> list[CheckResult]:
    """The lines about the channel, its membership and posting."""
    if not config.channel.strip("# "):
        missing = CheckResult("channel", False, "No channel is set.", "Enter its ID or #name.")
        return [missing, _not_looked("member"), _not_looked("can post")]
    try:
        channel_id = resolve_channel(config, config.channel)
        facts = call(config, "ask", "conversations.info", channel=channel_id).get("channel") or {}
    except DeliveryError as error:
        # Without the scope to look, posting may still work; a channel that is not there will not.
        ok = None if error.code == "missing_scope" else False
        found = CheckResult("channel", ok, error.text, _ADD_SCOPE if ok is None else f"Use the channel ID. {_INVITE}")
        return [found, _not_looked("member"), _not_looked("can post")]
    if facts.get("is_archived"):
        archived = CheckResult("channel", False, "The channel is archived.", "Choose another channel.")
        return [archived, _not_looked("member"), CheckResult("can post", False, "Nobody can post there.")]
    kind = "private" if facts.get("is_private") else "public"
    found = CheckResult("channel", True, f"#{facts.get('name')} ({facts.get('id')}) is a {kind} channel.")
    return [found, *_posting(facts, granted)]


def _posting(facts: dict[str, Any], listed: set[str] | None) -> list[CheckResult]:
    # What Slack did not list is taken as granted here: the first message will tell, and loudly.
    granted = set(SCOPES) if listed is None else listed
    is_member = bool(facts.get("is_member"))
    is_open = not facts.get("is_private") and "chat:write.public" in granted
    if is_member:
        member = CheckResult("member", True, "The bot is a member of the channel.")
    else:
        text = "The bot is no member: it cannot look whether a message arrived when Slack's answer was lost."
        member = CheckResult("member", False, text, _INVITE, is_required=not is_open)
    if "chat:write" not in granted:
        return [member, CheckResult("can post", False, "The bot may not post: chat:write is missing.", _ADD_SCOPE)]
    if not is_member and not is_open:
        return [member, CheckResult("can post", False, "The bot may post only where it is a member.", _INVITE)]
    return [member, CheckResult("can post", True, "The bot can post there.")]
