"""Limits: each is kept and says how to change it; nothing a person can type takes the process down."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from monitoring import promql
from monitoring.promql import Block, Labels, LimitError, Limits, Matcher

HOUR_MS = 3_600_000


def select(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
    """Return ten series with a sample every 15 seconds for an hour."""
    ts = np.arange(0, HOUR_MS, 15_000, dtype=np.int64)
    labels = tuple(Labels.of({"__name__": "x", "i": str(i)}) for i in range(10))
    return [Block(labels, ts, np.tile(np.arange(len(ts), dtype=np.float64), (10, 1)))]


@pytest.mark.parametrize(
    ("limits", "query", "name"),
    [
        (Limits(max_steps=10), "x", "max_steps"),
        (Limits(max_samples=100), "x", "max_samples"),
        (Limits(max_series=5), "x", "max_series"),
        (Limits(max_result_points=100), "x", "max_result_points"),
        (Limits(max_subquery_depth=1), "max_over_time(max_over_time(x[5m:])[5m:])", "max_subquery_depth"),
        (Limits(), "max_over_time(x[10y:1ms])", "max_result_points"),
        (Limits(max_result_points=1000), 'count_values("v", x + time())', "max_result_points"),
    ],
)
def test_each_limit_is_kept_and_named(limits: Limits, query: str, name: str) -> None:
    with pytest.raises(LimitError, match=name) as caught:
        promql.range_(query, 0, HOUR_MS, 60_000, select, limits)
    assert caught.value.limit == name
    assert f"raise {name}" in str(caught.value)


def test_the_time_limit_is_checked_inside_the_walk() -> None:
    ticks = iter(range(10_000))
    with pytest.raises(LimitError, match="timeout_seconds"):
        promql.range_("rate(x[5m]) + x", 0, HOUR_MS, 60_000, select, Limits(timeout_seconds=3), lambda: next(ticks))


def test_the_time_limit_is_checked_between_gathered_windows() -> None:
    def long(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        ts = np.arange(100_000, dtype=np.int64)
        return [Block((Labels.of({"__name__": "x"}),), ts, ts[None, :].astype(np.float64))]

    ticks = iter(range(10_000))
    with pytest.raises(LimitError, match="timeout_seconds"):
        limits = Limits(timeout_seconds=8)
        promql.range_("quantile_over_time(0.5, x[50s])", 50_000, 99_000, 500, long, limits, lambda: next(ticks))


def test_a_limit_error_pickles() -> None:
    with pytest.raises(LimitError) as caught:
        promql.instant("x", HOUR_MS - 1, select, Limits(max_series=5))
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (copy.limit, str(copy)) == ("max_series", str(caught.value))


def test_a_query_within_its_limits_is_answered() -> None:
    result = promql.range_("sum(x)", 0, HOUR_MS, 60_000, select, Limits(max_series=10, max_samples=2400))
    assert len(result.labels) == 1
    assert result.stats.samples == 2400


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, -1, 1000), (0, 1000, 0), (0, 1000, -5), (1 << 62, 1 << 62, 1000)]
)
def test_nonsense_ranges_are_refused(start: int, end: int, step: int) -> None:
    with pytest.raises(promql.QueryError):
        promql.range_("x", start, end, step, select)


def test_a_chain_of_thousands_of_operators_is_evaluated() -> None:
    result = promql.instant("+".join(["1"] * 20_000), 0, select)
    assert result.scalar == 20_000
