"""Slack payloads: golden files for people to look at, limits and escaping for whatever the labels hold."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from alerts.engine.message import AlertLine, Custom, Message, build
from alerts.engine.message_mrkdwn import template_text
from alerts.engine.message_slack import (
    DEFAULT_BUDGET,
    slack_blocks,
    slack_digest,
    slack_plain,
    slack_thread,
    slack_webhook,
)
from alerts.engine.message_webhook import webhook_v4
from monitoring.promql import Labels
from tests.engine.slack_limits import active_markup, blocks_of, faults, mrkdwn_of

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FAKE_SLACK = Path(__file__).resolve().parents[2].parent / "shared" / "oracle" / "fakeworld.py"
GROUP = Labels.of({"alertname": "HighLatency"})
HOSTILE = "<!channel> <@U1|ana> & *b* _i_ ~s~ `c` @here \x07\u202e&lt; " + "🔥" * 40


CUSTOM = Custom(
    "[firing] alertname=HighLatency ", "firing HighLatency/1\n<https://x.example.org|graph> <!here>\n", "danger"
)


def line(number: int = 1, **values: object) -> AlertLine:
    known: dict[str, object] = {
        "labels": Labels.of({
            "alertname": "HighLatency", "severity": "critical", "model_name": "ranker", "model_version": "12",
            "host": f"gpu-{number:02d}", "gpu": "1", "tok": str(number),
        }),
        "fingerprint": f"{number:016x}",
        "starts_at": AT - timedelta(minutes=12),
        "annotations": {
            "summary": "p95 latency of ranker is above its limit",
            "description": "Requests wait in the queue.\nLook at batch size first.",
            "runbook_url": "https://wiki.example.org/latency",
        },
        "value": 0.91, "limit": 0.8, "unit": "seconds",
        "limit_reason": "override 41 by ana, ends Fri 18:00",
        "graph_url": "https://portal.example.org/graph?expr=x",
    }  # fmt: skip
    return AlertLine(**{**known, **values})  # type: ignore[arg-type]


def message(*lines: AlertLine, **values: object) -> Message:
    known: dict[str, object] = {
        "group_key": "7:{}", "upstream_key": '{}/{team="ml"}:{alertname="HighLatency"}', "outbox_id": "ob-1",
        "action_id": "inc-42", "route": "ml / critical", "owner": "ml-serving",
        "external_url": "https://portal.example.org", "group_url": "https://portal.example.org/groups/42",
    }  # fmt: skip
    return build(lines or (line(),), group_labels=GROUP, receiver="ml", at=AT, **{**known, **values})  # type: ignore[arg-type]


def hostile_line() -> AlertLine:
    named = dict.fromkeys(("alertname", "severity", "model_name", "host", HOSTILE), HOSTILE)
    annotations = {"summary": HOSTILE * 40, "description": HOSTILE * 90, "runbook_url": "javascript:alert(1)"}
    return line(
        labels=Labels.of({**named, "tok": "x" * 900}), annotations=annotations, state=HOSTILE, limit_reason=HOSTILE * 9
    )


def resolved(number: int = 1) -> AlertLine:
    return line(number, ends_at=AT - timedelta(minutes=1), value=0.4, peak=1.32)


PAYLOADS: dict[str, Any] = {
    "slack_firing_one": slack_blocks(message(), interactive=True),
    "slack_firing_many": slack_blocks(
        message(*(line(i, is_new=i < 3) for i in range(1, 40)), resolved(41), notes=("2 more are silenced",)),
        interactive=True,
    ),
    "slack_resolved": slack_blocks(message(resolved()), interactive=True),
    "slack_acknowledged": slack_blocks(message(acknowledged_by="ana"), interactive=True),
    "slack_hostile": slack_blocks(message(hostile_line(), owner=HOSTILE, route=HOSTILE), interactive=True),
    "slack_custom": slack_blocks(message(custom=CUSTOM)),
    "slack_webhook": slack_webhook(message()),
    "slack_plain": slack_plain(message(*(line(i) for i in range(20)))),
    "slack_thread_resolved": slack_thread(message(resolved())),
    "slack_digest": slack_digest([message(line(i), outbox_id=f"ob-{i}") for i in range(30)], "https://portal.example.org/groups"),
    "webhook_v4": webhook_v4(message(line(), resolved(2)), max_alerts=0),
}  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_the_one_people_have_looked_at(name: str) -> None:
    """Set ALPHAQ_UPDATE_GOLDEN=1 to write the files anew, then read the diff."""
    file = GOLDEN / f"{name}.json"
    text = json.dumps(PAYLOADS[name], indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("ALPHAQ_UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name.startswith("slack") and "thread" not in name])
def test_SL_2_every_golden_payload_is_within_slacks_limits(name: str) -> None:
    assert list(faults(PAYLOADS[name])) == []


@pytest.mark.parametrize("name", [name for name in PAYLOADS if blocks_of(PAYLOADS[name])])
def test_SL_2_slacks_own_models_accept_every_block(name: str) -> None:
    for raw in blocks_of(PAYLOADS[name]):
        block = Block.parse(raw)
        assert block is not None
        block.validate_json()


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name.startswith("slack") and name != "slack_custom"])
def test_SL_4_no_golden_payload_holds_markup_made_of_data(name: str) -> None:
    assert list(active_markup(PAYLOADS[name])) == []


NASTY = (HOSTILE, "&" * 500, "<" * 700, "🔥" * 400, "a" * 5000, "_*_`~", "")
KNOWN = ("alertname", "severity", "model_name", "model_version", "host", "gpu", "tok")
texts = st.one_of(st.text(max_size=60), st.sampled_from(NASTY))
labels = st.dictionaries(
    st.one_of(st.sampled_from(KNOWN), texts.filter(bool)),
    texts, max_size=12,
)  # fmt: skip
lines = st.builds(
    AlertLine,
    labels=labels.map(Labels.of),
    fingerprint=st.just("f"),
    starts_at=st.just(AT - timedelta(hours=1)),
    ends_at=st.sampled_from([None, AT]),
    annotations=st.fixed_dictionaries({}, optional={"summary": texts, "description": texts, "runbook_url": texts}),
    value=st.one_of(st.none(), st.floats()),
    limit=st.one_of(st.none(), st.floats()),
    unit=st.sampled_from(["", "bytes", "seconds", "ratio", "<b>"]),
    limit_reason=texts,
    state=texts,
    is_new=st.booleans(),
    graph_url=texts,
)


def message_of(alerts: list[AlertLine], group: dict[str, str], owner: str, notes: list[str]) -> Message:
    return build(
        alerts, group_labels=Labels.of(group), receiver=owner, at=AT, owner=owner, route=owner, notes=notes,
        action_id="inc-1", outbox_id="ob-1",
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.builds(message_of, st.lists(lines, min_size=1, max_size=6), labels, texts, st.lists(texts, max_size=5)))
def test_DL_11_no_label_makes_a_message_that_slack_refuses_or_acts_upon(any_message: Message) -> None:
    for payload in (
        slack_blocks(any_message, interactive=True),
        slack_plain(any_message),
        slack_digest([any_message] * 3),
    ):
        assert list(faults(payload)) == []
        assert list(active_markup(payload)) == []
        json.dumps(payload).encode()


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="<>!@#&|/:; ahtps`*\n", max_size=80)), st.integers(20, 200))
def test_SL_4_a_receivers_own_template_may_link_and_nothing_else(text: str, limit: int) -> None:
    payload = {"text": template_text(text, limit)}
    assert list(active_markup(payload, allow_links=True)) == []


def test_DL_11_a_big_group_is_one_message_that_counts_what_it_leaves_out() -> None:
    note = "a rather long label value that repeats in every alert of the group, a rather long label value that repeats"
    bulk = [line(i, labels=Labels.of({"alertname": "Bulk", "tok": str(i), "note": note})) for i in range(300)]
    payload = slack_blocks(message(*bulk))
    assert list(faults(payload)) == []
    assert any("+ 285 more" in text for text in mrkdwn_of(payload))


def test_DL_11_a_long_list_of_firing_alerts_does_not_hide_that_some_resolved() -> None:
    payload = slack_blocks(message(*(line(i) for i in range(40)), resolved(41)))
    assert any("*Resolved* (1)\n🟢 *gpu-41*" in text for text in mrkdwn_of(payload))


def test_DL_11_long_custom_texts_are_cut_at_lines_and_say_so() -> None:
    text = "\n".join(f"firing Bulk/{i} with some more words to make it long" for i in range(1000))
    payload = slack_blocks(message(custom=Custom("t", text)))
    assert list(faults(payload)) == []
    shown = sum(body.count("firing Bulk") for body in mrkdwn_of(payload))
    assert any(f"+ {1000 - shown} more lines" in body for body in mrkdwn_of(payload))


def test_metadata_lists_alerts_group_and_outbox_id() -> None:
    payload = slack_blocks(message(line(1), resolved(2)))["metadata"]["event_payload"]
    assert payload == {
        "firing": ["HighLatency/1"], "resolved": ["HighLatency/2"], "group": {"alertname": "HighLatency"},
        "status": "firing", "outbox_id": "ob-1",
    }  # fmt: skip


def test_metadata_is_cut_to_size_without_hiding_that_alerts_resolved() -> None:
    payload = slack_blocks(message(*(line(i) for i in range(3000)), resolved(9999)))["metadata"]
    assert len(json.dumps(payload)) < 8000
    assert payload["event_payload"]["cut"] is True
    assert payload["event_payload"]["resolved"] == ["HighLatency/9999"]


def elements(payload: dict[str, Any]) -> list[str]:
    return [e["action_id"] for block in blocks_of(payload) if block["type"] == "actions" for e in block["elements"]]


def test_buttons_that_act_need_an_app_that_hears_clicks() -> None:
    assert elements(slack_blocks(message(), interactive=True)) == [
        "alert.acknowledge", "alert.snooze", "alert.silence",
        "link.graph", "link.runbook", "link.group", "alert.more",
    ]  # fmt: skip
    assert elements(slack_webhook(message())) == ["link.graph", "link.runbook", "link.group"]


def test_an_acknowledged_message_offers_to_take_it_back() -> None:
    assert elements(slack_blocks(message(acknowledged_by="ana"), interactive=True))[0] == "alert.unacknowledge"


def test_a_resolved_message_offers_nothing_to_acknowledge() -> None:
    assert elements(slack_blocks(message(resolved()), interactive=True)) == [
        "link.graph",
        "link.runbook",
        "link.group",
        "alert.more",
    ]


def test_buttons_carry_an_opaque_id_only() -> None:
    actions = [
        e
        for block in blocks_of(slack_blocks(message(), interactive=True))
        if block["type"] == "actions"
        for e in block["elements"]
    ]
    assert {e["value"] for e in actions if "value" in e} == {"inc-42"}


def test_a_bad_runbook_makes_no_button() -> None:
    assert "link.runbook" not in elements(slack_blocks(message(line(annotations={"runbook_url": "javascript:x"}))))


@pytest.mark.parametrize(
    ("values", "color"),
    [
        ({}, "#d32f2f"),
        ({"acknowledged_by": "ana"}, "#6a1b9a"),
        ({"custom": Custom(color="good")}, "good"),
        ({"custom": Custom(color="x")}, "#d32f2f"),
    ],
)
def test_the_colour_bar_follows_the_state(values: dict[str, object], color: str) -> None:
    assert slack_blocks(message(**values))["attachments"][0]["color"] == color


def test_a_thread_line_tells_the_end_with_peak_and_duration() -> None:
    assert slack_thread(message(resolved())) == {
        "text": "🟢 Resolved after 11 min: now 400 ms, limit 800 ms, peak 1.32 s"
    }


def test_a_thread_line_tells_new_members_only() -> None:
    told = slack_thread(message(line(1, is_new=True), line(2)))
    assert told is not None
    assert told["text"] == "🔴 HighLatency · gpu-01 · 910 ms &gt; 800 ms"


def test_a_first_message_and_an_unchanged_one_need_no_thread_line() -> None:
    assert slack_thread(message(line(1, is_new=True))) is None
    assert slack_thread(message(line(1))) is None


def test_a_digest_puts_the_worst_first_and_counts_the_rest() -> None:
    warning = line(labels=Labels.of({"alertname": "Slow", "severity": "warning"}))
    payload = slack_digest([*[message(warning)] * 20, message()])
    (section,) = [block for block in blocks_of(payload) if block["type"] == "section"]
    rows = section["text"]["text"].splitlines()
    assert "HighLatency" in rows[0]
    assert rows[-1] == f"+ {21 - DEFAULT_BUDGET.alerts} more groups"


def test_a_note_is_shown_also_below_a_long_list() -> None:
    payload = slack_blocks(message(*(line(i) for i in range(40)), notes=("may be a repeat",)))
    assert "may be a repeat" in list(mrkdwn_of(payload))


def test_the_bench_reads_our_messages_and_finds_no_fault() -> None:
    if not FAKE_SLACK.exists():
        pytest.skip("the bench's fake Slack is not here (../shared/oracle/fakeworld.py)")
    spec = importlib.util.spec_from_file_location("fakeworld", FAKE_SLACK)
    assert spec is not None
    assert spec.loader is not None
    fakeworld = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakeworld)
    for made in (message(line(1), resolved(2)), replace(message(line(1), resolved(2)), custom=Custom("t", "x"))):
        payload = slack_blocks(made, interactive=True)
        read = fakeworld.parse_slack(payload)
        assert (read["firing"], read["resolved"], read["group"]) == (
            ["HighLatency/1"],
            ["HighLatency/2"],
            {"alertname": "HighLatency"},
        )
        assert fakeworld.slack_errors("chat.update", payload) is None
