"""Slack's own limits of one message (ALERTING SL-2, SL-3), as the error string Slack would answer with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_BLOCKS = 50
# Observed, not documented (SL-2, SL-3).
MAX_BLOCK_CHARACTERS = 13_200
MAX_UPDATE_TEXT_BYTES = 4_000
MAX_TEXT_CHARACTERS = 40_000
_ELEMENTS = {"context": 10, "actions": 25}
# Of a button and its text object: (path, limit).
_BUTTON = {"action_id": 255, "value": 2000, "url": 3000}


def limit_error(method: str, message: Mapping[str, Any]) -> str:
    """The error string for a message that breaks a limit; "" when Slack would take it."""
    blocks, attachments = message.get("blocks") or [], message.get("attachments") or []
    text = str(message.get("text") or "")
    if message.get("_unreadable") or not isinstance(blocks, list) or not isinstance(attachments, list):
        return "invalid_blocks_format"
    if not text and not blocks and not attachments:
        return "no_text"
    if len(attachments) > 100:
        return "too_many_attachments"
    if method == "chat.update" and len(text.encode()) > MAX_UPDATE_TEXT_BYTES:
        return "msg_too_long"
    lists = [blocks, *(a.get("blocks") or [] for a in attachments if isinstance(a, dict))]
    every = [block for some in lists for block in some]
    if any(len(some) > MAX_BLOCKS for some in lists) or not all(_is_valid_block(block) for block in every):
        return "invalid_blocks"
    ids = [block["block_id"] for block in every if block.get("block_id")]
    if len(ids) != len(set(ids)):
        return "invalid_blocks"
    if sum(len(piece) for piece in _texts(every)) > MAX_BLOCK_CHARACTERS:
        return "msg_blocks_too_long"
    return ""


def _is_valid_block(block: Any) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    if len(block.get("block_id") or "") > 255:
        return False
    kind, elements = block["type"], block.get("elements") or []
    if kind in _ELEMENTS and not 1 <= len(elements) <= _ELEMENTS[kind]:
        return False
    if kind == "header" and not _is_text(block.get("text"), 150, ("plain_text",)):
        return False
    if kind == "section" and not _is_valid_section(block):
        return False
    accessory = [block["accessory"]] if block.get("accessory") else []
    return all(_is_valid_element(element) for element in [*elements, *accessory])


def _is_valid_section(block: Mapping[str, Any]) -> bool:
    fields = block.get("fields") or []
    if "text" not in block and not fields:
        return False
    if "text" in block and not _is_text(block["text"], 3000):
        return False
    return len(fields) <= 10 and all(_is_text(field, 2000) for field in fields)


def _is_valid_element(element: Any) -> bool:
    if not isinstance(element, dict) or not element.get("type"):
        return False
    if any(len(str(element.get(name) or "")) > limit for name, limit in _BUTTON.items()):
        return False
    if element["type"] == "button":
        return _is_text(element.get("text"), 75, ("plain_text",))
    if element["type"] == "overflow":
        options = element.get("options") or []
        return 1 <= len(options) <= 5 and all(
            _is_text(option.get("text"), 75) and len(option.get("value") or "") <= 150 for option in options
        )
    if element["type"] in ("mrkdwn", "plain_text"):
        return _is_text(element, 3000)
    return True


def _is_text(value: Any, limit: int, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") in kinds
        and isinstance(value.get("text"), str)
        and 1 <= len(value["text"]) <= limit
    )


def _texts(node: Any) -> Iterator[str]:
    """Every text a reader sees in blocks."""
    if isinstance(node, list):
        for item in node:
            yield from _texts(item)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "text" and isinstance(value, str):
                yield value
            elif name in ("text", "fields", "elements", "accessory", "options"):
                yield from _texts(value)
