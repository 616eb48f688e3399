"""The live check of a rule as it is typed: what it says of the expression, of each row, and of what would fire."""

from __future__ import annotations

import numpy as np
import pytest

from alerts import preview
from alerts.models import Alert, Event, Rule, Threshold
from alerts.preview import Check, TypedRow
from monitoring import query, store
from monitoring.models import MetricMetadata
from monitoring.promql import ParseError
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


def measure(metric: str = "cpu_usage_percent", **by_host: float) -> None:
    """Store one sample per host at T0."""
    at_ms = query.to_ms(T0)
    rows = [
        store.Scrape(f"host:{host}", {"host": host}, at_ms, [store.sample_key(metric, {})], np.array([value]))
        for host, value in by_host.items()
    ]
    store.append(rows, now_ms=at_ms)


def typed(expr: str = "cpu_usage_percent", **fields: object) -> Rule:
    """A rule that is not saved."""
    return Rule(name="CPUHigh", expr=expr, **fields)


def row(value: float, severity: str = "warning", **fields: object) -> Threshold:
    return Threshold(value=value, severity=severity, **fields)


def check(expr: str = "cpu_usage_percent", *rows: Threshold, **fields: object) -> Check:
    places = [TypedRow(f"thresholds-{number}", one) for number, one in enumerate(rows)]
    return preview.check(typed(expr, **fields), places, T0)


def test_a_parse_error_has_line_column_and_caret() -> None:
    found = check("sum(cpu_usage_percent")
    assert found.parse_problem is not None
    assert (found.parse_problem.line, found.parse_problem.column) == (1, 22)
    assert found.parse_problem.caret.splitlines()[1].endswith("^")


def test_an_unknown_function_is_named() -> None:
    found = check("rat(cpu_usage_percent[5m])")
    assert found.parse_problem is not None and "rat" in found.parse_problem.message


def test_an_expression_that_gives_no_vector_is_a_problem() -> None:
    measure(ana=1)
    found = check("cpu_usage_percent[5m]")
    assert not found.is_ok and "matrix" in found.problem


def test_the_series_are_counted() -> None:
    measure(ana=10, ben=20)
    assert check().series_count == 2


def test_it_says_what_would_fire_now() -> None:
    measure(ana=97, ben=20)
    found = check("cpu_usage_percent", row(85), row(95, "critical"))
    assert (found.tone, found.outcome) == ("critical", "1 critical and 1 warning alerts would fire at once.")


def test_it_says_when_it_would_fire_after_a_while() -> None:
    measure(ana=97)
    found = check("cpu_usage_percent", row(85), hold_seconds=300)
    assert found.outcome == "1 warning alert is past its limit now and fires after 5m."
    both = check("cpu_usage_percent", row(85), row(95, "critical"), hold_seconds=300)
    assert both.outcome == "1 critical and 1 warning alerts are past their limits now and fire after 5m."


def test_it_says_that_nothing_would_fire() -> None:
    measure(ana=10)
    found = check("cpu_usage_percent", row(85))
    assert (found.tone, found.outcome) == ("ok", "Would not fire now.")


def test_without_series_it_says_that_it_cannot_fire() -> None:
    found = check("cpu_usage_percent", row(85))
    assert (found.tone, "no series" in found.outcome) == ("warning", True)


def test_a_plain_condition_would_fire_for_each_series_it_returns() -> None:
    measure(ana=97, ben=99, cleo=5)
    assert check("cpu_usage_percent > 90").outcome == "2 alerts would fire at once."


def test_a_plain_condition_shows_the_values_behind_it() -> None:
    measure(ana=97, ben=42)
    found = check("cpu_usage_percent > 90")
    assert found.split_value == "cpu_usage_percent"
    assert [(one.labels, one.value, one.is_past) for one in found.nearest] == [
        ("host=ana", "97%", True), ("host=ben", "42%", False),
    ]  # fmt: skip


def test_values_past_a_limit_come_first_then_the_nearest() -> None:
    measure(ana=10, ben=84, cleo=86, dora=96)
    found = check("cpu_usage_percent", row(85), row(95, "critical"))
    assert [one.labels for one in found.nearest] == ["host=dora", "host=cleo", "host=ben", "host=ana"]


def test_a_value_past_two_limits_stands_beside_the_stricter_one() -> None:
    measure(ana=96)
    (shown,) = check("cpu_usage_percent", row(85), row(95, "critical")).nearest
    assert (shown.severity, shown.limit) == ("critical", "critical above 95%")


@pytest.mark.parametrize(
    ("operator", "limit", "upper", "expected"),
    [
        (">", 50, None, "host=high"), ("<", 50, None, "host=low"), ("outside", 40, 60, "host=high"),
        ("==", 51, None, "host=middle"), ("inside", 48, 52, "host=middle"),
    ],
)  # fmt: skip
def test_each_operator_knows_what_is_nearest(operator: str, limit: float, upper: float | None, expected: str) -> None:
    measure(low=10, middle=50, high=99)
    found = check("cpu_usage_percent", row(limit, operator=operator, upper=upper))
    assert found.nearest[0].labels == expected


def test_many_series_are_cut_and_counted() -> None:
    measure(**{f"host{number}": number for number in range(20)})
    found = check("cpu_usage_percent", row(85))
    assert (len(found.nearest), found.more) == (8, 12)


@pytest.mark.parametrize(
    ("value", "fields", "words"),
    [
        (85, {}, "matches 2 series, nearest 42%, would fire: no"),
        (40, {}, "matches 2 series, nearest 42%, would fire: yes"),
        (5, {}, "matches 2 series, nearest 42%, would fire: 2"),
        (85, {"selector": '{host="ana"}'}, "matches 1 series, now 42%, would fire: no"),
        (85, {"selector": '{host="nobody"}'}, "matches no series now"),
        (85, {"is_enabled": False}, "switched off"),
        (85, {"expires_at": T0}, "expired"),
    ],
)
def test_each_row_says_what_it_does_now(value: float, fields: dict[str, object], words: str) -> None:
    measure(ana=42, ben=10)
    (told,) = check("cpu_usage_percent", row(value, **fields)).rows
    assert (told.place, told.words) == ("thresholds-0", words)


def test_a_row_says_how_many_of_its_series_stronger_rows_take() -> None:
    measure(ana=42, ben=10)
    found = check("cpu_usage_percent", row(85), row(95, selector='{host="ana"}'))
    assert found.rows[0].words == "matches 2 series, rules 1 of them, now 10%, would fire: no"


def test_a_row_that_all_others_outrank_says_so() -> None:
    measure(ana=42)
    found = check("cpu_usage_percent", row(85, selector='{host="ana"}'), row(95, selector='{host=~"a.*"}', priority=5))
    assert found.rows[0].words == "matches 1 series, all ruled by stronger rows"


def test_a_row_that_cannot_be_read_keeps_its_problem() -> None:
    measure(ana=42)
    found = preview.check(typed(), [TypedRow("thresholds-3", None, "Enter a number.")], T0)
    assert [(one.place, one.words, one.tone) for one in found.rows] == [("thresholds-3", "Enter a number.", "problem")]


def test_a_row_with_a_bad_selector_is_a_problem_and_the_others_count() -> None:
    measure(ana=97)
    found = check("cpu_usage_percent", row(85), row(50, selector="{host="))
    assert {one.place: one.tone for one in found.rows} == {"thresholds-0": "firing", "thresholds-1": "problem"}


def test_the_sentence_speaks_of_what_was_typed() -> None:
    words = "Fires as warning when cpu_usage_percent is above 85%"
    assert check("cpu_usage_percent", row(85)).sentence.startswith(words)


def test_a_metric_that_nobody_sends_is_named_with_the_nearest_name() -> None:
    measure(ana=1)
    found = check("cpu_usage_percnt", row(85))
    (remark,) = [one for one in found.remarks if one.code == "unknown-metric"]
    assert "cpu_usage_percent" in remark.message and remark.suggestion == "cpu_usage_percent"


@pytest.mark.parametrize(
    ("told", "expr", "code"),
    [
        ([("load", "gauge")], "rate(load[5m])", "rate-of-gauge"),
        ([("load", "counter")], "load", ""),  # OpenMetrics: its series would be load_total
        ([("load", "gauge"), ("load", "summary")], "rate(load[5m])", ""),
        ([("work", "counter")], "work_total", "raw-counter"),
        ([("took_seconds", "summary")], "took_seconds_sum", "raw-counter"),
    ],
)
def test_what_targets_say_of_a_metrics_type_is_known_to_lint(told: list[tuple[str, str]], expr: str, code: str) -> None:
    for metric in ("load", "work_total", "took_seconds_sum"):
        measure(metric, ana=1)
    for name, kind in told:
        MetricMetadata.objects.create(name=name, type=kind)
    codes = {one.code for one in check(expr).remarks} & {"rate-of-gauge", "raw-counter"}
    assert codes == ({code} if code else set())


def test_a_remark_on_a_row_names_its_place_in_the_form() -> None:
    measure(ana=1)
    found = check("cpu_usage_percent", row(99, "critical"), row(99.5, "warning"))
    (beyond,) = [one for one in found.remarks if one.code == "beyond"]
    assert beyond.field == "thresholds-1-value"


def test_a_recording_rule_says_what_it_would_store() -> None:
    measure(ana=1, ben=2)
    rule = Rule(name="job:cpu:max", expr="max by (host) (cpu_usage_percent)", kind=Rule.Kind.RECORD)
    assert preview.check(rule, [], T0).outcome == "Would store 2 series as job:cpu:max."


def test_two_series_that_become_one_alert_are_a_problem() -> None:
    measure(ana=97, ben=98)
    found = check("cpu_usage_percent", row(85), labels={"host": "all"})
    assert "same labelset" in found.problem


def test_a_label_that_is_no_template_is_a_problem_and_no_crash() -> None:
    measure(ana=97)
    found = check("cpu_usage_percent", row(85), labels={"team": "{{ .Nope"})
    assert not found.is_ok


@pytest.mark.parametrize("labels", [None, [], "x", {"a": 1}])
def test_labels_that_are_no_object_do_not_break_the_check(labels: object) -> None:
    measure(ana=97)
    assert check("cpu_usage_percent", row(85), labels=labels).parse_problem is None


def test_a_check_writes_nothing() -> None:
    measure(ana=97)
    rule = build.rule()
    build.threshold(rule, 1)
    preview.check(rule, [TypedRow("thresholds-0", rule.thresholds.get())], T0)
    assert not Alert.objects.exists() and not Event.objects.exists()


def test_the_chart_has_the_last_hour_and_a_line_for_each_limit() -> None:
    measure(ana=97)
    rows = [TypedRow("a", row(85)), TypedRow("b", row(40, "critical", operator="outside", upper=60))]
    found = preview.chart("cpu_usage_percent", rows, T0)
    assert [line["value"] for line in found["thresholds"]] == [85, 40, 60]
    assert (found["unit"], found["data"]["series"][0]["values"][-1]) == ("percent", 97)


def test_the_chart_of_a_plain_condition_shows_the_value_and_its_limit() -> None:
    measure(ana=42)
    found = preview.chart("cpu_usage_percent > 90", [], T0)
    assert ([line["value"] for line in found["thresholds"]], len(found["data"]["series"])) == ([90], 1)


def test_the_chart_of_what_is_no_query_says_why() -> None:
    with pytest.raises(ParseError):
        preview.chart("sum(", [], T0)
