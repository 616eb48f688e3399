"""A Slack payload as safe HTML: what the message looks like in the channel, with buttons that do nothing.

Hides Slack's own markup (mrkdwn) and the parts of Block Kit that our messages use.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from alerts import compose, transmit
from alerts.engine import message_slack
from alerts.models import Notification

_NAMED_COLORS = {"good": "#2eb67d", "warning": "#ecb22e", "danger": "#e01e5a"}
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_MARKUP = re.compile(
    r"```(?P<pre>.+?)```"
    r"|`(?P<code>[^`\n]+)`"
    r"|<!date\^(?P<at>\d{1,11})\^[^|>]*\|(?P<date>[^>]*)>"
    r"|<(?P<url>https?://[^|>]+)\|(?P<text>[^>]+)>"
    r"|<(?P<bare>https?://[^>]+)>"
    r"|\*(?P<bold>[^*\n]+)\*"
    r"|(?<![^\W_])_(?P<italic>[^_\n]+)_(?![^\W_])",
    re.DOTALL,
)


@dataclass(frozen=True)
class Button:
    """A button: its words, whether it is the main one, where it leads if it is a link."""

    text: str
    is_primary: bool = False
    url: str = ""


@dataclass(frozen=True)
class BlockView:
    """One block: a paragraph, small print, or a row of buttons."""

    kind: str  # "section", "context" or "actions"
    texts: tuple[SafeString, ...] = ()
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True)
class SlackView:
    """A whole message: the line that phones show, and what stands beside the colour bar."""

    text: SafeString
    color: str = ""
    blocks: tuple[BlockView, ...] = field(default_factory=tuple)


def view_of(row: Notification) -> SlackView | None:
    """The message of a notification as Slack would show it; None when it holds nothing that can be shown."""
    try:
        return view(payload_of(row))
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def payload_of(row: Notification) -> Mapping[str, Any]:
    """The payload as it would be sent, with the buttons of an app whose clicks arrive."""
    if row.kind == Notification.Kind.THREAD:
        return dict(row.message["payload"])
    if row.kind == Notification.Kind.DIGEST:
        told = row.digested.order_by("id").values_list("message", flat=True)
        return message_slack.slack_digest([compose.load(raw) for raw in told])
    acts = row.integration is None or transmit.is_interactive(row.integration)
    return message_slack.slack_blocks(compose.load(row.message), interactive=acts)


def view(payload: Mapping[str, Any]) -> SlackView:
    """A payload of ours as data for the template."""
    attachment: Mapping[str, Any] = next(iter(payload.get("attachments") or []), {})
    color = str(attachment.get("color", ""))
    color = _NAMED_COLORS.get(color, color)
    blocks = tuple(_block(block) for block in attachment.get("blocks") or payload.get("blocks") or [])
    return SlackView(mrkdwn(payload.get("text", "")), color if _COLOR.fullmatch(color) else "", blocks)


def mrkdwn(text: str) -> SafeString:
    """Slack's markup as HTML; whatever is no markup is escaped."""
    parts: list[SafeString] = []
    place = 0
    for found in _MARKUP.finditer(text):
        parts.append(_plain(text[place : found.start()]))
        parts.append(_marked(found))
        place = found.end()
    parts.append(_plain(text[place:]))
    return format_html_join("", "{}", ((part,) for part in parts))


def _marked(found: re.Match[str]) -> SafeString:
    group = found.groupdict()
    if group["pre"] is not None:
        return format_html("<pre>{}</pre>", html.unescape(group["pre"]))
    if group["code"] is not None:
        return format_html("<code>{}</code>", html.unescape(group["code"]))
    if group["at"] is not None:
        moment = datetime.fromtimestamp(int(group["at"]), UTC)
        return format_html('<time datetime="{}">{}</time>', moment.isoformat(), html.unescape(group["date"]))
    if group["url"] or group["bare"]:
        url = html.unescape(group["url"] or group["bare"])
        words = html.unescape(group["text"] or url)
        return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', url, words)
    if group["bold"] is not None:
        return format_html("<b>{}</b>", mrkdwn(group["bold"]))
    return format_html("<i>{}</i>", mrkdwn(group["italic"]))


def _plain(text: str) -> SafeString:
    # Slack's texts carry &amp;, &lt; and &gt;: undone here, then escaped anew for HTML.
    return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in html.unescape(text).split("\n")))


def _block(block: Mapping[str, Any]) -> BlockView:
    kind = block.get("type", "section")
    if kind == "actions":
        return BlockView(kind, buttons=tuple(_button(one) for one in block.get("elements", ())))
    if kind == "context":
        return BlockView(kind, tuple(mrkdwn(one.get("text", "")) for one in block.get("elements", ())))
    found = block.get("text") or {}
    fields = [mrkdwn(one.get("text", "")) for one in block.get("fields", ())]
    return BlockView("section", (mrkdwn(found.get("text", "")), *fields))


def _button(element: Mapping[str, Any]) -> Button:
    if element.get("type") == "overflow":
        return Button("•••")
    if element.get("type") == "static_select":
        return Button(f"{element['placeholder']['text']} ▾")
    return Button(element["text"]["text"], element.get("style") == "primary", element.get("url", ""))
