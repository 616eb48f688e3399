"""Simple questions: written as PromQL, read from it, and refused with the field to change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import simple
from alerts.engine.simple import AGGREGATIONS, MEASURES, Simple, SimpleError, read, typed, write
from monitoring.promql import Matcher, parse


@pytest.mark.parametrize(
    ("fields", "expr"),
    [
        ({"metric": "cpu_usage_percent"}, "cpu_usage_percent"),
        ({"metric": " up ", "filter_text": 'job="a", host!=""'}, 'up{job="a", host!=""}'),
        ({"metric": "up", "filter_text": '{job=~"a.*"}'}, 'up{job=~"a.*"}'),
        ({"metric": "x_total", "measure": "rate", "window": "90s"}, "rate(x_total[1m30s])"),
        ({"metric": "up", "aggregation": "count"}, "count(up)"),
        (
            {"metric": "x_total", "measure": "increase", "window": "1h", "aggregation": "sum", "by": "host, gpu"},
            "sum by (host, gpu) (increase(x_total[1h]))",
        ),
        (
            {"metric": "latency_seconds_bucket", "measure": "p95", "window": "5m", "by": "model_name"},
            "histogram_quantile(0.95, sum by (le, model_name) (rate(latency_seconds_bucket[5m])))",
        ),
    ],
)
def test_fields_become_promql(fields: dict[str, str], expr: str) -> None:
    assert write(typed(**fields)) == expr


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"metric": ""}, "metric", "Choose a metric"),
        ({"metric": "a b"}, "metric", "is no name of a metric"),
        ({"metric": "sum(up)"}, "metric", "more than that is for PromQL"),
        ({"metric": "up", "filter_text": "host=ana"}, "filter", "Write it like"),
        ({"metric": "up", "filter_text": '__name__="x"'}, "filter", "chosen beside it"),
        ({"metric": "up", "measure": "rate", "window": "soon"}, "window", "5m or 1h"),
        ({"metric": "up", "measure": "rate", "window": "0s"}, "window", "such as 5m"),
        ({"metric": "up", "measure": "p95", "window": "5m"}, "metric", "buckets of a histogram"),
        ({"metric": "up", "measure": "wild"}, "measure", "from the list"),
        ({"metric": "up", "by": "host"}, "aggregation", "put together"),
    ],
)
def test_what_makes_no_question_is_refused_at_its_field(fields: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(SimpleError, match=words) as caught:
        typed(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "expr",
    [
        "up offset 5m", "up @ 5", "sum without (a) (up)", "a > b", '{__name__=~"a.*"}', "quantile(0.9, up)", "time()",
        "avg_over_time(up[5m:1m])", "rate(up[5m]) * 2", "up > bool 1", "1", "sum(sum(up))", "absent(up)",
        "histogram_quantile(0.42, sum by (le) (rate(x_bucket[5m])))", 'up{__name__!="b"}',
    ],
)  # fmt: skip
def test_a_question_that_says_more_is_left_to_promql(expr: str) -> None:
    assert read(parse(expr)) is None


@pytest.mark.parametrize("expr", ["cpu > 90", "90 < cpu", "(cpu) > 90", "cpu>9e1"])
def test_a_condition_is_read_with_its_limit(expr: str) -> None:
    assert read(parse(expr)) == Simple("cpu", operator=">", limit=90.0)


_names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_matchers = st.builds(Matcher, st.sampled_from(["=", "!=", "=~"]), _names, st.sampled_from(["a", "b.c", 'q"uote', ""]))


@given(
    metric=st.from_regex(r"[a-z][a-z0-9_]{0,8}x_bucket", fullmatch=True),
    matchers=st.lists(_matchers, max_size=3),
    measure=st.sampled_from(sorted(MEASURES)),
    seconds=st.integers(1, 10**6),
    aggregation=st.sampled_from(sorted(AGGREGATIONS)),
    by=st.lists(_names.filter(lambda name: name != "le"), max_size=3, unique=True),
    limit=st.none() | st.floats(-1e9, 1e9),
)
def test_what_is_written_is_read_back(
    metric: str, matchers: list[Matcher], measure: str, seconds: int, aggregation: str, by: list[str],
    limit: float | None,
) -> None:  # fmt: skip
    is_share = measure.startswith("p")
    question = Simple(
        metric,
        tuple(matchers),
        measure,
        float(seconds) if measure else 0.0,
        "" if is_share else aggregation,
        tuple(by) if is_share or aggregation else (),
        ">" if limit is not None else "",
        limit,
    )
    assert read(parse(simple.write(question))) == question
