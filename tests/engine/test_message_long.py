"""A receiver's own text that no block holds."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import message_long
from alerts.engine.message import AlertLine, Custom, build
from alerts.engine.message_slack import slack_blocks
from alerts.engine.message_words import width
from monitoring.promql import Labels

T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
LABELS = Labels.of({"alertname": "A"})


def payload(text):
    """The Slack payload of a message with this text of its receiver's."""
    message = build([AlertLine(LABELS, "f", T0)], group_labels=LABELS, receiver="r", at=T0, group_url="http://p/x")
    message = replace(message, custom=Custom(text=text))
    return message_long.spread(message, slack_blocks(message, interactive=True))


def shown(text):
    """All that is readable of it."""
    return "\n".join(one["text"] for one in payload(text)["attachments"] if "text" in one)


def test_a_short_text_stays_in_blocks():
    message = build([AlertLine(LABELS, "f", T0)], group_labels=LABELS, receiver="r", at=T0)
    assert not message_long.is_long(replace(message, custom=Custom(text="short")))


def test_all_lines_are_there_in_parts_that_slack_does_not_cut():
    text = "\n".join(f"firing Bulk/{number:05d}" for number in range(1000))
    parts = [one for one in payload(text)["attachments"] if "text" in one]
    assert shown(text) == text and len(parts) == 3
    assert all(width(one["text"]) <= 7500 for one in parts)


def test_what_is_too_much_for_slack_is_cut_and_counted():
    text = "\n".join(f"firing Bulk/{number:05d}" for number in range(5000))
    assert shown(text).endswith("lines") and width(shown(text)) < 40_000


def test_the_buttons_stay():
    assert payload("x\n" * 5000)["attachments"][-1]["blocks"][0]["type"] == "actions"


@given(st.text(max_size=20_000))
def test_whatever_the_text_holds_it_pages_nobody_and_fits(text):
    for one in payload(text)["attachments"]:
        assert width(one.get("text", "")) <= 7500 and "<!" not in one.get("text", "")
