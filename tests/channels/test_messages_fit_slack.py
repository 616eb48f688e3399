"""Whatever labels and annotations hold, Slack's limits as the strict fake knows them are kept (SL-2, SL-3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine import message_slack
from alerts.engine.message import AlertLine, Custom, Message, build
from monitoring.promql import Labels
from tests.fakes.slack_limits import limit_error

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NASTY = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["<!channel>", "&lt;", "*_~`", "x" * 5000, "ü" * 3000, "🔥" * 2000, "\n" * 500, "<@U1|a>", " "]),
)
LABELS = st.dictionaries(st.sampled_from(["alertname", "host", "model_name", "severity", "gpu", "a", "b"]), NASTY)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """A message about some alerts with anything in them."""
    lines = [
        AlertLine(
            Labels.of({"alertname": "A"} | labels), f"{number:016x}", AT - timedelta(minutes=number),
            ends_at=AT if draw(st.booleans()) else None,
            annotations={"summary": draw(NASTY), "description": draw(NASTY), "runbook_url": draw(NASTY)},
            generator_url=draw(NASTY), limit_reason=draw(NASTY), state=draw(NASTY), unit=draw(NASTY),
            value=draw(st.none() | st.floats()), limit=draw(st.none() | st.floats()), is_new=draw(st.booleans()),
        )
        for number, labels in enumerate(draw(st.lists(LABELS, min_size=1, max_size=40)))
    ]  # fmt: skip
    return build(
        lines, group_labels=Labels.of(draw(LABELS)), receiver=draw(NASTY), at=AT, external_url=draw(NASTY),
        group_url=draw(NASTY), outbox_id="41", action_id="g" * 60, route=draw(NASTY), owner=draw(NASTY),
        acknowledged_by=draw(NASTY), notes=draw(st.lists(NASTY, max_size=5)),
        custom=Custom(title=draw(NASTY), text=draw(NASTY)) if draw(st.booleans()) else None,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(messages(), st.booleans())
def test_SL_2_every_form_of_every_message_is_one_slack_takes(message: Message, interactive: bool) -> None:
    thread = message_slack.slack_thread(message)
    forms = {
        "blocks": message_slack.slack_blocks(message, interactive=interactive),
        "webhook": message_slack.slack_webhook(message),
        "plain": message_slack.slack_plain(message),
        "digest": message_slack.slack_digest([message] * 30, "https://portal.example/alerts"),
    } | ({"thread": thread} if thread else {})
    refused = {name: limit_error("chat.update", payload) for name, payload in forms.items()}
    assert {name: error for name, error in refused.items() if error} == {}


def test_DL_11_a_group_of_a_thousand_is_one_slack_takes() -> None:
    lines = [
        AlertLine(Labels.of({"alertname": "HostCPUHigh", "host": f"host-{n}", "note": "n" * 300}), f"{n:016x}", AT)
        for n in range(1000)
    ]
    message = build(lines, group_labels=Labels.of({}), receiver="team", at=AT, outbox_id="41", action_id="g1")
    assert limit_error("chat.postMessage", message_slack.slack_blocks(message, interactive=True)) == ""
