"""The dialogues that open in Slack, as golden files for people to look at; limits and escaping as for messages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

from alerts.engine import message_views as views
from alerts.engine.message_slack import slack_reminder
from alerts.engine.message_views import SilenceTyped, ThresholdTyped
from tests.engine.slack_limits import CONTROL, units

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
HOSTILE = "<!channel> <@U1|ana> & *b* @here \x07\u202e&lt; " + "🔥" * 40
MATCHERS = ['alertname="HighLatency"', 'host="gpu-1"', 'model_name="ranker"', 'severity="critical"']
WHY = ["Row 41 wins because it names the most labels.", "Row 41: {model_name=ranker}", "Row 3: for every series"]


def silence(matchers: list[str], typed: SilenceTyped, said: str, **more: Any) -> dict[str, Any]:
    return views.silence_view(matchers, typed, said, '{"message": "ab12"}', **more)


def threshold(title: str, lines: list[str], typed: ThresholdTyped, *, can_change: bool = True) -> dict[str, Any]:
    return views.threshold_view(title, lines, typed, can_change, '{"message": "ab12"}')


PAYLOADS: dict[str, Any] = {
    "slack_view_silence": silence(
        MATCHERS, SilenceTyped(chosen=(0, 1, 2)), views.covered_words(3, 12, 2), names=["HighLatency ranker@12 · gpu-1"]
    ),
    "slack_view_silence_windows": silence(
        MATCHERS, SilenceTyped((0,), "4w", days=(6, 0), opens_at="02:00", lasts="4h"),
        "It would cover 3 of the 12 alerts that fire now. First window: 2026-11-28 01:00 UTC to 2026-11-28 05:00 UTC.",
        place="Europe/Zagreb",
    ),
    "slack_view_silence_hostile": silence([HOSTILE] * 12, SilenceTyped(), HOSTILE * 20, names=[HOSTILE], place=HOSTILE),
    "slack_view_threshold": threshold("HighLatency", WHY, ThresholdTyped("0.8", selector='{host="gpu-1"}')),
    "slack_view_threshold_add": threshold(HOSTILE, [HOSTILE * 20] * 12, ThresholdTyped("95"), can_change=False),
    "slack_view_errors": views.errors(reason="Say why: whoever looks at this silence later will ask."),
    "slack_reminder": slack_reminder("Ana, are you still on it? HighLatency fires for 4 h.", "inc-42"),
}  # fmt: skip
DIALOGUES = [name for name in PAYLOADS if name.startswith("slack_view") and not name.endswith("errors")]


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_dialogue_is_the_one_people_have_looked_at(name: str) -> None:
    """Set ALPHAQ_UPDATE_GOLDEN=1 to write the files anew, then read the diff."""
    file = GOLDEN / f"{name}.json"
    text = json.dumps(PAYLOADS[name], indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("ALPHAQ_UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", DIALOGUES)
def test_SL_2_slacks_own_models_accept_every_dialogue(name: str) -> None:
    view = PAYLOADS[name]
    View(**view).validate_json()
    for raw in view["blocks"]:
        block = Block.parse(raw)
        assert block is not None
        block.validate_json()


def texts(value: Any) -> list[str]:
    """Every text object inside a dialogue, with the limit that Slack has for its place."""
    if isinstance(value, dict):
        own = [value["text"]] if value.get("type") in ("plain_text", "mrkdwn") else []
        return own + [text for part in value.values() for text in texts(part)]
    return [text for part in value for text in texts(part)] if isinstance(value, list) else []


def options(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for block in view["blocks"] for one in block.get("element", {}).get("options", ())]


@pytest.mark.parametrize("name", DIALOGUES)
def test_SL_2_every_dialogue_is_within_slacks_limits(name: str) -> None:
    view = PAYLOADS[name]
    assert units(view["title"]["text"]) <= 24 and len(view["private_metadata"]) <= 3000
    assert all(units(one["text"]["text"]) <= 75 and len(one["value"]) <= 75 for one in options(view))
    assert all(units(text) <= 3000 for text in texts(view))
    assert len({block.get("block_id", number) for number, block in enumerate(view["blocks"])}) == len(view["blocks"])


@pytest.mark.parametrize("name", DIALOGUES)
def test_SL_4_a_label_in_a_dialogue_pages_nobody(name: str) -> None:
    marked = [block["text"]["text"] for block in PAYLOADS[name]["blocks"] if block["type"] == "section"]
    assert not any("<" in text or ">" in text or CONTROL.search(text) for text in marked)


def test_what_was_chosen_is_read_back() -> None:
    typed = SilenceTyped((0, 2), "4w", ("a=b",), "why", (1, 0), "02:00", "4h")
    view = silence(MATCHERS, typed, "")
    values: dict[str, Any] = {}
    written = {"more": "a=b", "reason": "why"}
    for block in view["blocks"]:
        inner = block.get("element")
        if inner:
            values[block["block_id"]] = {inner["action_id"]: {
                "selected_option": inner.get("initial_option"), "selected_options": inner.get("initial_options"),
                "selected_time": inner.get("initial_time"), "value": written.get(inner["action_id"]),
            }}  # fmt: skip
    read = views.silence_typed({"state": {"values": values}})
    assert (sorted(read.days), read.opens_at, read.lasts) == ([0, 1], "02:00", "4h")
    assert (read.chosen, read.duration, read.more, read.reason) == ((0, 2), "4w", ("a=b",), "why")
