"""Slack's limits as its documentation gives them, held against a payload; lengths in UTF-16 units as Slack counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

DATE = re.compile(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[0-9: UTC-]+>")
LINK = re.compile(r"<(?:https?://|mailto:)[^<>|\s]+(?:\|[^<>|]*)?>")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def blocks_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for attachment in payload.get("attachments", ()) for block in attachment.get("blocks", ())]


def mrkdwn_of(payload: dict[str, Any]) -> Iterator[str]:
    """Every text in which Slack looks for markup."""
    yield payload["text"]
    for attachment in payload.get("attachments", ()):
        yield attachment["fallback"]
    for block in blocks_of(payload):
        if block["type"] == "section":
            yield block["text"]["text"]
        elif block["type"] == "context":
            yield from (element["text"] for element in block["elements"])


def faults(payload: dict[str, Any]) -> Iterator[str]:
    """Everything about `payload` that Slack would refuse, cut, or act upon; nothing for a good one."""
    if not payload["text"].strip() or len(payload["text"].encode()) > 4000:
        yield f"text of {len(payload['text'].encode())} bytes"
    blocks = blocks_of(payload)
    if len(blocks) > 50:
        yield f"{len(blocks)} blocks"
    if sum(units(text) for text in mrkdwn_of(payload)) > 13_000:
        yield "all texts together are too long"
    for block in blocks:
        yield from _block_faults(block)
    for text in mrkdwn_of(payload):
        if CONTROL.search(text):
            yield f"control character in {text!r}"
    metadata = json.dumps(payload.get("metadata", {}))
    if len(metadata) > 8000:
        yield f"metadata of {len(metadata)} characters"


def active_markup(payload: dict[str, Any], *, allow_links: bool = False) -> Iterator[str]:
    """Texts that hold a control sequence other than a date of ours, or an ampersand that is no entity."""
    for text in mrkdwn_of(payload):
        rest = DATE.sub("", text)
        if allow_links:
            rest = LINK.sub("", rest)
        if re.search(r"[<>]|&(?!(?:amp|lt|gt);)", rest):
            yield text


def _block_faults(block: dict[str, Any]) -> Iterator[str]:
    if block["type"] == "section" and not 1 <= units(block["text"]["text"]) <= 3000:
        yield f"section of {units(block['text']['text'])}"
    if block["type"] == "context":
        if not 1 <= len(block["elements"]) <= 10:
            yield f"context of {len(block['elements'])} elements"
        if any(not 1 <= units(element["text"]) <= 2000 for element in block["elements"]):
            yield "context element of a bad length"
    if block["type"] == "actions":
        if not 1 <= len(block["elements"]) <= 25:
            yield f"{len(block['elements'])} actions"
        for element in block["elements"]:
            yield from _element_faults(element)


def _element_faults(element: dict[str, Any]) -> Iterator[str]:
    if len(element["action_id"]) > 255 or units(element.get("url", "")) > 3000:
        yield "action_id or url too long"
    if element["type"] == "button" and not 1 <= units(element["text"]["text"]) <= 75:
        yield "button text of a bad length"
    if len(element.get("value", "")) > 2000:
        yield "button value too long"
    if element["type"] == "overflow" and not 2 <= len(element["options"]) <= 5:
        yield f"{len(element['options'])} options"
    if any(len(option["value"]) > 75 or units(option["text"]["text"]) > 75 for option in element.get("options", ())):
        yield "option too long"
