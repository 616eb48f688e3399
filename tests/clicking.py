"""A person in Slack: presses buttons of what lies in the channel and sends dialogues, signed as Slack signs."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.test import Client
from slack_sdk.signature import SignatureVerifier

from tests.fakes.slack import Message

SECRET = "signing-SECRET-of-tests"
TEAM = "T0000001"
_numbers = itertools.count(1)


def element(message: Message, name: str) -> dict[str, Any]:
    """The button or menu of a message whose action_id or label holds `name`."""
    for block in message.blocks:
        for one in block.get("elements") or ():
            if name in one.get("action_id", "") or name in json.dumps(one.get("text", "")):
                return dict(one)
    raise AssertionError(f"no {name!r} among {[b.get('elements') for b in message.blocks]}")


def press(
    message: Message, name: str, *, option: str = "", user: str = "U0000042", respond: str = "", **changes: Any
) -> dict[str, Any]:
    """The block_actions payload of a press on an element of a message; `option` is the word of a menu's choice."""
    found = element(message, name)
    number = next(_numbers)
    action = {"action_id": found["action_id"], "type": found["type"], "action_ts": f"{number}.5", "block_id": "b"}
    if option:
        action["selected_option"] = next(o for o in found["options"] if option in o["text"]["text"])
    else:
        action["value"] = found.get("value")
    payload = {
        "type": "block_actions", "user": {"id": user, "username": "ann", "team_id": TEAM}, "team": {"id": TEAM},
        "channel": {"id": "C00000001"}, "container": {"type": "message", "message_ts": message.ts},
        "trigger_id": f"trigger-{number}", "response_url": respond, "actions": [action],
    }  # fmt: skip
    return payload | changes


def sent(view: Mapping[str, Any], user: str = "U0000042", **typed: Any) -> dict[str, Any]:
    """The view_submission payload of a dialogue as filled in, with what was typed by block."""
    values: dict[str, Any] = {}
    for block in view["blocks"]:
        inner = block.get("element")
        if inner:
            known = {
                "selected_option": inner.get("initial_option"), "selected_options": inner.get("initial_options"),
                "value": inner.get("initial_value"), "selected_time": inner.get("initial_time"),
            }  # fmt: skip
            values[block["block_id"]] = {
                inner["action_id"]: {n: v for n, v in known.items() if v} | {"type": inner["type"]}
            }
    for name, value in typed.items():
        state = next(iter(values[name].values()))
        field = {"static_select": "selected_option", "checkboxes": "selected_options", "timepicker": "selected_time"}
        given = {"static_select": {"value": value}, "checkboxes": [{"value": one} for one in value]}
        state[field.get(state["type"], "value")] = given.get(state["type"], value)
    shown = {**view, "id": f"V{next(_numbers)}", "state": {"values": values}}
    return {"type": "view_submission", "user": {"id": user, "username": "ann", "team_id": TEAM}, "team": {"id": TEAM},
            "view": shown}  # fmt: skip


def send(payload: Mapping[str, Any] | str, *, secret: str = SECRET, age_seconds: int = 0, signature: str = "") -> Any:
    """The portal's answer to a payload, signed now or `age_seconds` ago."""
    body = urlencode({"payload": payload if isinstance(payload, str) else json.dumps(payload)})
    stamp = str(int(time.time()) - age_seconds)
    made = signature or SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body) or ""
    return Client().post(
        "/slack/interactions", body, content_type="application/x-www-form-urlencoded",
        headers={"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": made},
    )  # fmt: skip
