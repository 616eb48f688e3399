"""What a message says before any renderer touches it, and the words it is made of."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from alerts.engine.message import AlertLine, alert_key, build, parts, rest_of_labels, subject
from alerts.engine.message_words import clean, cut, one_line, quantity, rfc3339, safe_url, span, width
from monitoring.promql import Labels

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
GROUP = Labels.of({"alertname": "HighLatency"})


def line(labels: dict[str, str] | None = None, **values: object) -> AlertLine:
    own = Labels.of({"alertname": "HighLatency", "severity": "warning", **(labels or {})})
    return AlertLine(own, "f" * 16, AT - timedelta(minutes=12), **values)  # type: ignore[arg-type]


def message(*lines: AlertLine, **values: object):
    return build(lines, group_labels=GROUP, receiver="ml", at=AT, **values)  # type: ignore[arg-type]


def test_AG_9_alerts_are_sorted_by_job_instance_and_all_labels() -> None:
    rows = [
        {"job": "b"},
        {"job": "a", "instance": "2"},
        {"job": "a", "instance": "1", "z": "2"},
        {"job": "a", "instance": "1"},
    ]
    sorted_rows = message(*(line(row) for row in rows)).alerts
    assert [alert.labels for alert in sorted_rows] == [line(rows[i]).labels for i in (3, 2, 1, 0)]


def test_a_message_fires_while_any_alert_does() -> None:
    assert message(line(), line({"a": "1"}, ends_at=AT)).status == "firing"
    assert message(line(ends_at=AT)).status == "resolved"


def test_a_message_has_the_highest_severity_of_those_that_fire() -> None:
    assert message(line(), line({"severity": "critical"}), line({"severity": "odd"})).severity == "critical"
    assert message(line(), line({"severity": "critical"}, ends_at=AT)).severity == "warning"


def test_common_labels_and_annotations_are_those_of_all_alerts() -> None:
    found = message(
        line({"host": "a", "x": "1"}, annotations={"summary": "s", "own": "1"}),
        line({"host": "b", "x": "1"}, annotations={"summary": "s", "own": "2"}),
    )
    assert found.common_labels == Labels.of({"alertname": "HighLatency", "severity": "warning", "x": "1"})
    assert found.common_annotations == {"summary": "s"}


@pytest.mark.parametrize(
    ("labels", "headline"),
    [
        ({"model_name": "ranker", "model_version": "12", "host": "gpu-1"}, "Warning: HighLatency · ranker@12"),
        ({"host": "gpu-1", "gpu": "0"}, "Warning: HighLatency · gpu-1"),
        ({"instance": "a:9100"}, "Warning: HighLatency · a:9100"),
        ({"gpu": "3"}, "Warning: HighLatency · GPU 3"),
        ({"severity": ""}, "Firing: HighLatency"),
    ],
)
def test_the_headline_is_severity_rule_and_main_label(labels: dict[str, str], headline: str) -> None:
    assert message(line(labels)).headline == headline


def test_the_headline_counts_what_fires_and_names_the_first_of_several_rules() -> None:
    found = message(line({"host": "a"}), line({"host": "b"}), line({"alertname": "Other", "host": "c"}, ends_at=AT))
    assert found.headline == "Warning: HighLatency and 1 more (2 firing)"


def test_the_headline_of_a_resolved_message_says_so() -> None:
    assert message(line(ends_at=AT)).headline == "Resolved: HighLatency"


def test_IX_6_a_problem_that_ended_for_lack_of_data_is_not_called_resolved() -> None:
    assert message(line(ends_at=AT, state="no data")).word == "Ended without data"


def test_the_headline_keeps_the_spelling_of_a_severity_we_do_not_know() -> None:
    assert message(line({"severity": "pageSRE"})).word == "PageSRE"


def test_the_headline_says_who_has_it() -> None:
    assert message(line(), acknowledged_by="ana").word == "Warning, acknowledged by ana"


def test_a_firing_alert_shows_value_against_limit() -> None:
    assert line(value=0.91, limit=0.8, unit="seconds").measure() == "910 ms > 800 ms"


def test_a_resolved_alert_shows_value_now_limit_and_peak() -> None:
    found = line(value=0.4, limit=0.8, peak=1.5, unit="seconds", ends_at=AT)
    assert found.measure() == "now 400 ms, limit 800 ms, peak 1.5 s"


def test_an_alert_without_a_limit_shows_its_value() -> None:
    assert line(value=3).measure() == "value 3"
    assert line().measure() == ""


def test_new_still_firing_and_resolved_are_told_apart() -> None:
    found = message(line({"a": "1"}, is_new=True), line({"a": "2"}), line({"a": "3"}, ends_at=AT))
    assert [(heading, len(alerts)) for heading, alerts in parts(found)] == [
        ("New", 1),
        ("Still firing", 1),
        ("Resolved", 1),
    ]


def test_a_first_message_only_says_firing() -> None:
    assert [heading for heading, _ in parts(message(line({"a": "1"}, is_new=True), line({"a": "2"}, is_new=True)))] == [
        "Firing"
    ]


def test_a_message_needs_an_alert() -> None:
    with pytest.raises(ValueError, match="at least one alert"):
        message()


def test_an_action_id_must_fit_into_a_button() -> None:
    with pytest.raises(ValueError, match="61 characters"):
        message(line(), action_id="x" * 61)


@pytest.mark.parametrize(
    ("labels", "key"),
    [({"alertname": "A", "tok": "1"}, "A/1"), ({"alertname": "A"}, "A"), ({}, "?"), ({"tok": "1"}, "?/1")],
)
def test_an_alert_has_a_short_key(labels: dict[str, str], key: str) -> None:
    assert alert_key(Labels.of(labels)) == key


def test_the_subject_leaves_out_what_is_already_known() -> None:
    labels = Labels.of({"model_name": "m", "version": "2", "host": "h", "gpu": "1", "env": "prod"})
    assert subject(labels) == "m@2 · h · GPU 1"
    assert subject(labels, [("model_name", "m"), ("version", "2")]) == "h · GPU 1"
    assert rest_of_labels(labels) == [("env", "prod")]


QUANTITIES = [
    (None, "", "no value"), (math.nan, "seconds", "NaN"), (-math.inf, "bytes", "-Inf"), (0.91, "seconds", "910 ms"),
    (5400, "seconds", "1h 30m"), (1536, "bytes", "1.5 KiB"), (1536, "bytes/s", "1.5 KiB/s"), (0.953, "ratio", "95.3%"),
    (81, "percent", "81%"), (12.3456, "", "12.3456"), (1234567, "requests", "1,234,567 requests"),
    (70, "celsius", "70 °C"), (3, "count/s", "3 per second"), (3, "</b>", "3 </b>"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "unit", "words"), QUANTITIES)
def test_numbers_are_told_with_units(value: float | None, unit: str, words: str) -> None:
    assert quantity(value, unit) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
    ],
)
def test_spans_are_told_in_two_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_times_are_written_as_go_writes_them() -> None:
    assert rfc3339(None) == "0001-01-01T00:00:00Z"
    assert rfc3339(AT) == "2026-11-22T09:00:00Z"
    assert rfc3339(AT.replace(microsecond=250_000)) == "2026-11-22T09:00:00.25Z"


@pytest.mark.parametrize("text", ["@here", "@Channel", "x @everyone y", "@group"])
def test_a_mass_mention_is_taken_apart(text: str) -> None:
    assert "@" not in clean(text)


def test_addresses_and_other_mentions_stay() -> None:
    assert clean("ana@example.org @heretic") == "ana@example.org @heretic"


def test_texts_lose_control_characters_and_direction_marks() -> None:
    assert one_line("a\x00b\u202ec\r\nd\ud800") == "a b c d\ufffd"


@pytest.mark.parametrize(
    ("text", "limit", "expected"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("🔥🔥", 4, "🔥🔥"), ("🔥🔥", 3, "🔥…")]
)
def test_a_cut_is_shown_and_counts_as_slack_does(text: str, limit: int, expected: str) -> None:
    assert cut(text, limit) == expected
    assert width(cut(text, limit)) <= limit


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://x",
        "https://x y",
        "https://x|y",
        "https://x>",
        "https://" + "x" * 3000,
        "https://x\n",
    ],
)
def test_a_url_nobody_should_follow_is_dropped(url: str) -> None:
    assert safe_url(url) == ""
