"""Looks things up in Slack: a message by its metadata, a channel by its name, a message's address."""

from __future__ import annotations

from typing import Any

from alerts.channels.base import Receipt
from alerts.channels.slack_client import SlackBotConfig, call

# One page of history, newest first; an ambiguous post is seconds to minutes old (DL-2).
_HISTORY_LIMIT = 100
# Of 1,000 channels each. While a message waits, two must do: a lease is running.
_MAX_CHANNEL_PAGES, _PAGES_WHILE_SENDING = 10, 2


def find_by_metadata(
    config: SlackBotConfig, channel: str, outbox_id: str | int, oldest_ts: str, *, thread_ts: str = ""
) -> Receipt | None:
    """The message that carries `outbox_id` in its metadata, posted at or after `oldest_ts`, or None (SL-10).

    Looks in the thread when `thread_ts` is given: a channel's history does not list replies. Needs the scope
    channels:history (groups:history for private channels); without it raises Permanent. Asks Slack at most three
    times, once where `channel` is an ID.
    """
    channel_id = resolve_channel(config, channel, pages=_PAGES_WHILE_SENDING)
    arguments: dict[str, Any] = {
        "channel": channel_id, "oldest": oldest_ts, "inclusive": 1, "include_all_metadata": 1, "limit": _HISTORY_LIMIT,
    }  # fmt: skip
    method = "conversations.history"
    if thread_ts:
        method, arguments["ts"] = "conversations.replies", thread_ts
    for message in call(config, "ask", method, **arguments).get("messages") or []:
        event = (message.get("metadata") or {}).get("event_payload") or {}
        if str(event.get("outbox_id", "")) == str(outbox_id):
            return Receipt(channel=channel_id, ts=str(message["ts"]), detail="found in the channel's history")
    return None


def resolve_channel(config: SlackBotConfig, channel: str, *, pages: int = _MAX_CHANNEL_PAGES) -> str:
    """The ID of a channel given by ID or #name; an unknown name comes back as it is, for Slack to judge.

    Reads `pages` times 1,000 channels: in larger workspaces the ID must be configured.
    """
    name = channel.removeprefix("#")
    if name[:1] in "CGD" and len(name) > 8 and name.isupper():
        return name
    cursor = ""
    for _ in range(pages):
        page = call(
            config, "ask", "conversations.list", types="public_channel,private_channel", exclude_archived=1,
            limit=1000, cursor=cursor,
        )  # fmt: skip
        for entry in page.get("channels") or []:
            if entry.get("name") == name:
                return str(entry["id"])
        cursor = str((page.get("response_metadata") or {}).get("next_cursor") or "")
        if not cursor:
            break
    return name


def permalink(config: SlackBotConfig, *, channel: str, ts: str) -> str:
    """The address of a message for people."""
    return str(call(config, "ask", "chat.getPermalink", channel=channel, message_ts=ts).get("permalink") or "")
