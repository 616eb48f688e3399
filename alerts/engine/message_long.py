"""A receiver's own text that is too long for blocks: as plain attachments, the way Alertmanager itself sends it.

Blocks hold about 9,000 characters (SL-2). A team that brought its template along expects all of it, and Slack takes it
in the older form; it folds an attachment's text from 700 characters on and cuts it from about 8,000 on (SL-3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alerts.engine.message import Message
from alerts.engine.message_mrkdwn import template_text
from alerts.engine.message_words import clean, more, width

# Below it the blocks show everything; above it they would leave lines out.
BLOCKS_CHARS = 6000
ATTACHMENT_CHARS = 7500
# Slack cuts a whole message at 40,000 characters (SL-3), and so do we, but saying so.
TOTAL_CHARS = 36_000
_LINE_CHARS = 3000


def is_long(message: Message) -> bool:
    """Whether the receiver's own text would not fit into blocks."""
    return width(message.custom.text) > BLOCKS_CHARS


def spread(message: Message, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with the receiver's whole text in as many attachments as it takes; its buttons stay at the end."""
    first = payload["attachments"][0]
    looks = {"color": first["color"], "mrkdwn_in": ["text"]}
    texts: list[dict[str, Any]] = [looks | {"text": text} for text in _packed(message.custom.text)]
    texts[0]["fallback"] = first["fallback"]
    actions = [block for block in first.get("blocks", []) if block["type"] == "actions"]
    buttons = [{"color": first["color"], "blocks": actions}] if actions else []
    return payload | {"attachments": texts + buttons}


def _packed(text: str) -> Iterator[str]:
    """The lines of a text in packs that Slack does not cut."""
    pack, used = list[str](), 0
    for line in _within(clean(text).strip().split("\n")):
        size = width(line) + 1
        if pack and used + size > ATTACHMENT_CHARS:
            yield "\n".join(pack)
            pack, used = [], 0
        pack.append(line)
        used += size
    yield "\n".join(pack)


def _within(lines: list[str]) -> Iterable[str]:
    """As many lines as a message may have, the rest counted."""
    used = 0
    for position, raw in enumerate(lines):
        line = template_text(raw, _LINE_CHARS)
        used += width(line) + 1
        if used > TOTAL_CHARS:
            yield more(len(lines) - position, "lines")
            return
        yield line
