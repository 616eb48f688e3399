"""Lint: one list of findings for form, import and command."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from alerts.engine import template
from alerts.engine.findings import Facts, Finding, Level, RuleDraft
from alerts.engine.lint import lint
from alerts.engine.template import Context
from monitoring.promql import Labels
from monitoring.promql.metric_names import lint_name

from .test_thresholds import NOW, row

TYPES = {
    "http_requests_total": "counter",
    "http_request_duration_seconds_bucket": "histogram",
    "http_request_duration_seconds_sum": "histogram",
    "http_request_duration_seconds_count": "histogram",
    "cpu_usage_percent": "gauge",
    "memory_usage_bytes": "gauge",
}
FACTS = Facts(metric_types=TYPES, scrape_interval_seconds=15)
TIDY = {"hold_seconds": 300.0, "labels": {"severity": "warning"}, "annotations": {"summary": "too much"}}


def find(code: str, expr: str = "cpu_usage_percent", facts: Facts = FACTS, **fields: object) -> list[Finding]:
    draft = RuleDraft("High", expr, **(TIDY | fields))  # type: ignore[arg-type]
    return [finding for finding in lint(draft, facts, NOW) if finding.code == code]


def test_a_sound_rule_has_no_finding_above_info() -> None:
    expr = 'sum(rate(http_requests_total{status=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))'
    rule = RuleDraft("High", expr, thresholds=[row(1, value=0.05)], **TIDY)  # type: ignore[arg-type]
    assert [finding for finding in lint(rule, FACTS) if finding.level is not Level.INFO] == []


def test_an_expression_that_does_not_parse_is_told_with_its_place() -> None:
    (found,) = find("parse-error", "cpu_usage_percent >\n  )")
    assert (found.level, found.line, found.column) == (Level.ERROR, 2, 3)


def test_a_range_vector_is_no_rule() -> None:
    assert "range vector" in find("wrong-type", "cpu_usage_percent[5m]")[0].message


def test_the_rate_of_a_gauge_is_found_by_type_and_by_name() -> None:
    assert find("rate-of-gauge", "rate(memory_usage_bytes[5m])")
    assert find("rate-of-gauge", "rate(gpu_usage_percent[5m])", Facts())
    assert not find("rate-of-gauge", "rate(http_requests_total[5m])")


@pytest.mark.parametrize(
    ("expr", "better"),
    [
        ("http_requests_total > 5", "rate(http_requests_total[5m]) > 5"),
        ('sum(http_requests_total{a="b"}) > 5', 'sum(rate(http_requests_total{a="b"}[5m])) > 5'),
        ("max_over_time(http_requests_total[5m]) > 5", ""),
    ],
)
def test_a_raw_counter_that_is_compared_is_found(expr: str, better: str) -> None:
    (found,) = find("raw-counter", expr)
    assert found.suggestion == better


@pytest.mark.parametrize(
    "expr",
    [
        "rate(http_requests_total[5m])",
        "absent(http_requests_total)",
        "count(http_requests_total)",
        "up and http_requests_total",
        "resets(http_requests_total[1h])",
    ],
)
def test_a_counter_may_be_used_where_its_height_does_not_matter(expr: str) -> None:
    assert not find("raw-counter", expr)


def test_a_histogram_asked_for_a_quantile_is_found_and_rewritten() -> None:
    (found,) = find("histogram-without-bucket", 'http_request_duration_seconds{quantile="0.9"} > 1')
    assert found.level is Level.ERROR
    assert found.suggestion == (
        "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m]))) > 1"
    )


def test_a_histogram_inside_a_quantile_gets_its_bucket() -> None:
    (found,) = find("histogram-without-bucket", "histogram_quantile(0.5, sum by (le) (http_request_duration_seconds))")
    assert found.suggestion == ("histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))")


@pytest.mark.parametrize("grouping", ["by (model)", "without (le)", ""])
def test_a_quantile_over_buckets_without_le_is_an_error(grouping: str) -> None:
    expr = f"histogram_quantile(0.9, sum {grouping} (rate(http_request_duration_seconds_bucket[5m])))"
    assert find("quantile-without-le", expr)


def test_a_quantile_over_raw_buckets_is_found() -> None:
    assert find("raw-counter", "histogram_quantile(0.9, http_request_duration_seconds_bucket)")


def test_a_window_shorter_than_two_intervals_is_found_and_widened() -> None:
    (found,) = find("short-range", "rate(http_requests_total[20s]) > 1")
    assert found.suggestion == "rate(http_requests_total[1m]) > 1"
    assert not find("short-range", "rate(http_requests_total[30s])")


def test_an_unknown_metric_is_named_with_the_nearest_one() -> None:
    (found,) = find("unknown-metric", "rate(http_request_total[5m])")
    assert (found.column, found.suggestion) == (6, "rate(http_requests_total[5m])")


def test_a_metric_may_be_unknown_under_absent() -> None:
    assert not find("unknown-metric", "absent(nosuch_metric)")


def test_nothing_is_said_about_metrics_when_none_are_known() -> None:
    assert not find("unknown-metric", "nosuch_metric", Facts())


def test_a_selector_that_contradicts_itself_never_matches() -> None:
    (found,) = find("never-matches", 'cpu_usage_percent{host="a",host!~"a|b"}')
    assert found.level is Level.ERROR


def test_a_label_that_the_metric_does_not_have_never_matches() -> None:
    facts = Facts(label_values={"cpu_usage_percent": {"host": frozenset({"gpu-1", "gpu-2"})}})
    assert 'no label "hots"' in find("never-matches", 'cpu_usage_percent{hots="gpu-1"}', facts)[0].message
    assert 'did you mean "gpu-1"?' in find("never-matches", 'cpu_usage_percent{host="gpu1"}', facts)[0].message
    assert not find("never-matches", 'cpu_usage_percent{host=~"gpu.*"}', facts)


def test_an_expression_that_returns_nothing_is_told_apart_from_a_false_condition() -> None:
    assert find("matches-nothing", facts=Facts(series=[]))
    assert not find("matches-nothing", facts=Facts(series=None))


def test_two_conditions_in_one_rule_are_found() -> None:
    assert find("two-conditions", "cpu_usage_percent > 80 or memory_usage_bytes > 5")


def test_a_rate_of_failures_is_no_share_of_failures() -> None:
    (found,) = find("rate-not-share", 'rate(http_requests_total{status=~"5..",job="a"}[5m]) > 0.1')
    assert found.suggestion == (
        'sum(rate(http_requests_total{status=~"5..",job="a"}[5m])) / sum(rate(http_requests_total{job="a"}[5m])) > 0.1'
    )


def test_a_changing_label_is_found() -> None:
    assert find("changing-label", labels={"severity": "{{ $value }}"})
    assert find("changing-label", labels={"x": "{{ now }}"})
    assert not find("changing-label", labels={"x": "{{ $labels.host }}"}, annotations={"summary": "{{ $value }}"})


def test_a_missing_for_is_found_unless_the_rows_have_one() -> None:
    assert find("missing-for", hold_seconds=0.0)
    assert not find("missing-for", hold_seconds=0.0, thresholds=[row(1, hold_seconds=60.0)])


def test_a_for_between_two_evaluations_is_told_as_it_works() -> None:
    (found,) = find("for-rounds-up", hold_seconds=90.0, interval_seconds=60.0)
    assert found.suggestion == "2m"


def test_a_template_error_has_field_line_and_column() -> None:
    (found,) = find("template-error", annotations={"summary": "a\n{{ $nope }}"})
    assert (found.field, found.line, found.column, found.level) == ("annotations.summary", 2, 4, Level.ERROR)


def test_a_template_that_fails_when_expanded_is_found() -> None:
    (found,) = find("template-trial", annotations={"summary": "{{ if gt $value 80 }}x{{ end }}"})
    assert "incompatible types for comparison" in found.message


def test_a_template_label_that_no_series_has_is_found() -> None:
    facts = Facts(series=[Labels.of({"host": "a"})])
    (found,) = find("unknown-template-label", facts=facts, annotations={"summary": "{{ $labels.hots }}"})
    assert (found.line, found.column) == (1, 4)


def test_a_percentage_is_not_multiplied_by_100_again() -> None:
    (found,) = find("percent-twice", annotations={"summary": "{{ $value | humanizePercentage }}"})
    assert found.suggestion == '{{ $value | printf "%.1f%%" }}'
    assert not find("percent-twice", "memory_usage_bytes", annotations={"summary": "{{ humanizePercentage $value }}"})


@pytest.mark.parametrize(
    ("mild", "worse"),
    [
        ({"value": 95.0}, {"value": 90.0}),
        ({"operator": "<", "value": 5.0}, {"operator": "<", "value": 10.0}),
        ({"operator": "outside", "value": 5.0, "upper": 50.0}, {"operator": "outside", "value": 10.0, "upper": 40.0}),
    ],
)
def test_a_warning_beyond_critical_is_found(mild: dict[str, object], worse: dict[str, object]) -> None:
    assert find("beyond", thresholds=[row(1, **mild), row(2, severity="critical", **worse)])
    assert not find("beyond", thresholds=[row(1, **worse), row(2, severity="critical", **mild)])


def test_a_warning_override_beyond_critical_is_found_on_the_series_it_rules() -> None:
    rows = [row(1), row(2, severity="critical", value=90.0), row(3, '{host="a"}', value=95.0, reason="old")]
    (found,) = find("beyond", facts=Facts(series=[Labels.of({"host": "a"}), Labels.of({"host": "b"})]), thresholds=rows)
    assert (found.field, '{host="a"}' in found.message) == ("thresholds.3", True)


def test_an_override_that_can_never_win_is_found() -> None:
    rows = [row(1, priority=5), row(2, '{host="a"}', reason="old")]
    assert [finding.field for finding in find("unreachable", thresholds=rows)] == ["thresholds.2"]


def test_an_expired_row_is_not_looked_at() -> None:
    rows = [row(1), row(2, '{host="a"}', expires_at=NOW - timedelta(days=1))]
    assert not find("missing-reason", thresholds=rows)


def test_an_override_without_a_reason_is_found() -> None:
    assert find("missing-reason", thresholds=[row(1), row(2, '{host="a"}')])


def test_an_override_that_matches_no_series_is_found() -> None:
    rows = [row(1), row(2, '{host="z"}', reason="why")]
    found = find("matches-nothing", facts=Facts(series=[Labels.of({"host": "a"})]), thresholds=rows)
    assert [finding.field for finding in found] == ["thresholds.2"]


def test_rows_in_conflict_are_found() -> None:
    rows = [row(1, '{host="a"}', value=70.0, reason="x"), row(2, '{zone="b"}', value=90.0, reason="y")]
    assert find("conflict", facts=Facts(series=[Labels.of({"host": "a", "zone": "b"})]), thresholds=rows)


def test_a_comparison_above_threshold_rows_is_found() -> None:
    (found,) = find("double-condition", "cpu_usage_percent > 50", thresholds=[row(1)])
    assert found.suggestion == "cpu_usage_percent"


@pytest.mark.parametrize(
    ("expr", "code", "better"),
    [
        ("memory_used_bytes / memory_total_bytes > 80", "ratio-as-percent", "0.8"),
        ("cpu_usage_percent > 0.8", "percent-as-ratio", "80"),
        ("cpu_usage_percent > 100", "never-true", ""),
    ],
)
def test_a_limit_in_the_wrong_unit_is_found(expr: str, code: str, better: str) -> None:
    (found,) = find(code, expr, Facts())
    assert found.suggestion == better


def test_a_condition_that_can_be_split_is_offered() -> None:
    assert find("can-split", "cpu_usage_percent > 80")[0].suggestion == "cpu_usage_percent"


def test_a_rule_without_severity_or_summary_is_told() -> None:
    assert find("missing-severity", labels={})
    assert find("missing-summary", annotations={})


@pytest.mark.parametrize(
    ("expr", "labels", "summary"),
    [
        ("cpu_usage_percent", {"host": "ana"},
         'cpu_usage_percent of {{ $labels.host }} is {{ $value | printf "%.1f" }}%, '
         'limit {{ $threshold | printf "%.1f" }}%'),
        ("rate(net_bytes_total[5m])", {"host": "ana", "model_name": "ranker"},
         "The rate per second of net_bytes_total over 5 minutes of {{ $labels.model_name }} is "
         "{{ $value | humanize1024 }}B/s, "
         "limit {{ $threshold | humanize1024 }}B/s"),
        ("sum(up)", {}, "The total of up is {{ $value | humanize }}, limit {{ $threshold | humanize }}"),
    ],
)  # fmt: skip
def test_a_summary_is_suggested_in_the_unit_of_the_value(expr: str, labels: dict[str, str], summary: str) -> None:
    facts = Facts(series=[Labels.of(labels)])
    (found,) = find("missing-summary", expr, facts, annotations={}, thresholds=[row(1, value=5)])
    assert (found.field, found.suggestion) == ("annotations.summary", summary)


def test_a_suggested_summary_can_be_expanded() -> None:
    (found,) = find("missing-summary", "x_seconds > 5", annotations={})
    text = template.expand(template.compile(found.suggestion), Context(Labels.of({}), 93.0))
    assert text == "x_seconds is 1m 33s"


def test_a_recording_rule_named_like_a_metric_is_told() -> None:
    assert find("record-name", kind="record")


def test_a_model_in_a_metric_name_of_the_rule_is_found() -> None:
    facts = Facts(metric_types={"model_bert_inference_seconds_count": "histogram"}, model_names=["bert"])
    assert find("model-in-name", "rate(model_bert_inference_seconds_count[5m])", facts)


def test_errors_come_first() -> None:
    levels = [finding.level for finding in lint(RuleDraft("A", 'http_request_duration_seconds{a="b",a="c"}'), FACTS)]
    assert levels == sorted(levels, key=[Level.ERROR, Level.WARNING, Level.INFO].index)


@pytest.mark.parametrize(
    ("name", "kind", "code", "better"),
    [
        ("requests", "counter", "counter-without-total", "requests_total"),
        ("requests_total", "gauge", "total-without-counter", "requests"),
        ("latency_ms", "gauge", "unit", "latency_seconds"),
        ("memory_megabytes_used", "gauge", "unit", "memory_bytes_used"),
        ("cpuUsage", "gauge", "camel-case", "cpu_usage"),
        ("queue_count", "gauge", "reserved-suffix", ""),
        (
            "model_bert_base_inference_seconds",
            "",
            "model-in-name",
            'model_inference_duration_seconds{model_name="bert-base"}',
        ),
    ],
)
def test_an_unusual_metric_name_is_found(name: str, kind: str, code: str, better: str) -> None:
    found = [finding for finding in lint_name(name, kind, ["bert-base"]) if finding.code == code]
    assert [finding.suggestion for finding in found] == [better]


@pytest.mark.parametrize(("name", "kind"), [("http_requests_total", "counter"), ("up", "gauge"), ("x_bytes", "gauge")])
def test_a_usual_metric_name_is_left_alone(name: str, kind: str) -> None:
    assert lint_name(name, kind, ["bert"]) == []


def test_a_part_of_a_histogram_is_judged_by_the_histograms_name() -> None:
    assert not find("reserved-suffix", "rate(http_request_duration_seconds_count[5m])")
    assert find("unit", "rate(lat_ms_bucket[5m])", Facts(metric_types={"lat_ms_bucket": "histogram"}))


def test_the_name_of_a_recording_rule_follows_other_customs() -> None:
    assert not find("colon", "job:http_requests:rate5m > 1", Facts(metric_types={"job:http_requests:rate5m": ""}))


def seed_rules() -> list[dict[str, str]]:
    guide = Path(__file__).resolve().parents[2].parent / "shared" / "seed" / "monitoring-guide.md"
    if not guide.exists():
        pytest.skip("../shared/seed/monitoring-guide.md is not here")
    blocks = guide.read_text().split("```yaml")
    text = next(block.split("```")[0] for block in blocks if "groups:" in block)
    lines = text.splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    parsed = yaml.safe_load("\n".join(line[indent:] for line in lines))
    return list(parsed["groups"][0]["rules"])


@pytest.mark.parametrize(
    ("alert", "codes"),
    [
        ("HighErrorRate", {"rate-not-share"}),
        ("HighLatency", {"histogram-without-bucket"}),
        ("HighResourceUsage", {"unknown-metric", "two-conditions"}),
    ],
)
def test_the_first_rules_of_the_project_are_flagged(alert: str, codes: set[str]) -> None:
    rule = next(rule for rule in seed_rules() if rule["alert"] == alert)
    assert codes <= {finding.code for finding in lint(RuleDraft(alert, rule["expr"]), FACTS)}
