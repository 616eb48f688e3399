"""A rule in plain words."""

import pytest

from alerts.engine.sentence import RuleWords, record_sentence, sentence
from alerts.engine.sentence_query import describe_query
from alerts.engine.state import NoDataPolicy
from monitoring.promql import parse

from .test_thresholds import row

CPU = "cpu_usage_percent"


def test_two_severities_of_one_value_are_one_sentence() -> None:
    rows = [row(1, severity="critical", value=95.0), row(2, value=80.0)]
    assert sentence(RuleWords(CPU, rows, hold_seconds=300)) == (
        "Fires as warning when cpu_usage_percent is above 80% for 5 minutes; as critical above 95%. "
        "Without data it stays as it is."
    )


def test_a_hold_time_of_its_own_is_said() -> None:
    rows = [row(1, value=80.0), row(2, severity="critical", value=95.0, hold_seconds=60.0)]
    assert "above 80%, at once; as critical above 95% for 1 minute." in sentence(RuleWords(CPU, rows))


def test_overrides_are_counted() -> None:
    rows = [row(1), row(2, '{model="a"}'), row(3, '{model="b"}')]
    assert "above 80%, at once. 2 overrides for some series." in sentence(RuleWords(CPU, rows))


def test_a_rule_with_overrides_only_says_so() -> None:
    assert sentence(RuleWords(CPU, [row(1, '{model="a"}')])).startswith(
        "Fires for the series named by 1 row below when cpu_usage_percent is past their limit."
    )


def test_the_ruling_one_of_two_default_rows_is_told() -> None:
    assert "above 90%" in sentence(RuleWords(CPU, [row(1, value=80.0), row(2, value=90.0)]))


def test_recovery_keep_firing_and_missing_data_are_told() -> None:
    words = RuleWords(CPU, [row(1, recover_value=70.0)], 300, 600, NoDataPolicy.RESOLVE_AFTER, 3600)
    assert sentence(words).endswith(
        "A firing warning ends when no longer above 70%. Keeps firing for 10 minutes after it ends. "
        "After 1 hour without data it ends, told as no data."
    )


@pytest.mark.parametrize(
    ("expr", "labels", "text"),
    [
        ("up == 0", {"severity": "critical"}, "Fires as critical when up is equal to 0 for 5 minutes."),
        ("5 < queue_size", {}, "Fires when queue_size is above 5 for 5 minutes."),
        ('absent(up{job="x"})', {}, "Fires when up where job is x is missing for 5 minutes."),
        ("a > b", {}, "Fires for every series that `a > b` returns for 5 minutes."),
        (
            "a > 1",
            {"severity": "{{ $value }}"},
            "Fires with a severity from a template when a is above 1 for 5 minutes.",
        ),
        ("rate(", {}, "Cannot be evaluated: line 1, column 6: unexpected end of input in an expression."),
    ],
)
def test_a_rule_without_thresholds(expr: str, labels: dict[str, str], text: str) -> None:
    assert sentence(RuleWords(expr, hold_seconds=300, labels=labels)) == text


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ('x{host="a",job=~"b.*"}', 'x where host is a and job matches "b.*"'),
        ('x{host=""}', "x where there is no host"),
        ("rate(x_total[5m])", "the rate per second of x_total over 5 minutes"),
        ("max by (model) (rate(x_total[5m]))", "the highest rate per second of x_total over 5 minutes per model"),
        ("sum without (pod) (x)", "the total of x (all labels but pod)"),
        ("count(x)", "the number of series of x"),
        (
            "histogram_quantile(0.95, sum by (le, model) (rate(x_seconds_bucket[5m])))",
            "the 95th percentile of x_seconds over 5 minutes per model",
        ),
        ("avg_over_time(x[1h])", "the average of x over 1 hour"),
        ("a / b", "a divided by b"),
        ("x offset 5m", "`x offset 5m`"),
        ("topk(3, x)", "`topk(3, x)`"),
        ("label_replace(" * 4 + "x" + ', "abc", "$1", "def", "(.*)")' * 4, "the expression"),
    ],
)
def test_a_query_in_words(expr: str, words: str) -> None:
    assert describe_query(parse(expr)) == words


def test_a_recording_rule_says_what_it_stores() -> None:
    assert record_sentence("job:x:rate5m", "sum by (job) (rate(x_total[5m]))", 15) == (
        "Stores the total rate per second of x_total over 5 minutes per job as job:x:rate5m every 15 seconds."
    )
