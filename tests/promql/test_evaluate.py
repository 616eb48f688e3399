"""The outer contract of evaluation: shapes, raw series, storage calls, memory layouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from monitoring import promql
from monitoring.promql import (
    STALE_NAN,
    Block,
    EvaluationError,
    Labels,
    Matcher,
    Select,
    matches_all,
)

TS = np.arange(0, 600_000, 15_000, dtype=np.int64)


def series(name: str, **labels: str) -> Labels:
    return Labels.of({"__name__": name, **labels})


class Recorder:
    """A storage of a few blocks that remembers what it was asked."""

    def __init__(self, *blocks: Block) -> None:
        self.blocks = blocks
        self.calls: list[tuple[tuple[Matcher, ...], int, int]] = []

    def __call__(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        self.calls.append((tuple(matchers), start_ms, end_ms))
        out = []
        for block in self.blocks:
            rows = [row for row, labels in enumerate(block.labels) if matches_all(matchers, labels)]
            out.append(Block(tuple(block.labels[row] for row in rows), block.ts, block.values[rows]))
        return out


@pytest.fixture
def storage() -> Recorder:
    labels = (series("x", i="1"), series("x", i="2"))
    return Recorder(Block(labels, TS, np.vstack([np.arange(40.0), np.arange(40.0) * 2])))


def test_an_instant_vector_has_one_value_a_series(storage: Select) -> None:
    result = promql.instant("x", 60_000, storage)
    assert (result.type, result.values.tolist(), result.ts.tolist()) == ("vector", [4.0, 8.0], [60_000])


def test_a_range_has_a_row_a_series_and_a_column_a_step(storage: Select) -> None:
    result = promql.range_("x", 0, 60_000, 30_000, storage)
    assert result.values.tolist() == [[0.0, 2.0, 4.0], [0.0, 4.0, 8.0]]
    assert result.present.all()


def test_a_range_reaches_no_step_beyond_its_end(storage: Select) -> None:
    assert promql.range_("x", 0, 59_999, 30_000, storage).ts.tolist() == [0, 30_000]


def test_gaps_are_absent_not_nan(storage: Select) -> None:
    result = promql.range_("x > 3", 0, 60_000, 30_000, storage)
    assert result.points(0)[0].tolist() == [60_000]
    assert result.points(1)[1].tolist() == [4.0, 8.0]


def test_a_range_selector_gives_its_raw_samples(storage: Select) -> None:
    result = promql.instant('x{i="2"}[30s]', 60_000, storage)
    assert result.type == "matrix"
    assert [(raw.ts.tolist(), raw.values.tolist()) for raw in result.raw] == [([45_000, 60_000], [6.0, 8.0])]


def test_the_result_is_a_copy_of_what_storage_holds(storage: Recorder) -> None:
    result = promql.range_("x", 0, 585_000, 15_000, storage)
    result.values[:] = -1
    assert storage.blocks[0].values[0, 1] == 1


def test_storage_is_asked_once_for_a_selector_used_twice(storage: Recorder) -> None:
    promql.instant("rate(x[5m]) / x + x offset 1m", 600_000, storage)
    assert storage.calls == [((Matcher("=", "__name__", "x"),), 240_001, 600_000)]


def test_distant_times_of_a_selector_are_asked_for_apart(storage: Recorder) -> None:
    promql.instant("x - x offset 1w", 600_000, storage)
    assert len(storage.calls) == 2


def test_a_stale_marker_ends_a_series_at_once() -> None:
    values = np.array([[1.0, STALE_NAN]])
    storage = Recorder(Block((series("x"),), np.array([0, 15_000]), values))
    assert promql.instant("x", 14_999, storage).values.tolist() == [1.0]
    assert promql.instant("x", 15_000, storage).values.tolist() == []


def test_where_blocks_overlap_a_sample_beats_a_stale_marker() -> None:
    ts = np.array([0, 15_000])
    first = Block((series("x"),), ts, np.array([[1.0, 2.0]]))
    second = Block((series("x"),), ts, np.array([[5.0, STALE_NAN]]))
    result = promql.instant("x[1m]", 15_000, Recorder(first, second))
    assert result.raw[0].values.tolist() == [5.0, 2.0]


def test_equal_label_sets_at_one_step_are_an_error() -> None:
    blocks = [Block((series(name),), TS, np.ones((1, 40))) for name in ("a", "b")]
    with pytest.raises(EvaluationError, match="same labelset"):
        promql.instant('abs({__name__=~"a|b"})', 60_000, Recorder(*blocks))


def test_native_histogram_functions_are_refused_by_name(storage: Select) -> None:
    with pytest.raises(EvaluationError, match=r"histogram_count\(\) needs native histograms"):
        promql.instant("histogram_count(x)", 60_000, storage)


@pytest.mark.parametrize("level", [0.1, 1e9, 1e15])
def test_the_mean_of_a_constant_series_is_its_value(level: float) -> None:
    storage = Recorder(Block((series("x"),), TS, np.full((1, 40), level)))
    assert promql.instant("avg_over_time(x[5m])", 600_000, storage).values.tolist() == [level]
    assert promql.instant("stddev_over_time(x[5m])", 600_000, storage).values.tolist() == [0.0]
    assert promql.instant("deriv(x[5m])", 600_000, storage).values.tolist() == [0.0]


def test_a_long_quiet_window_after_a_huge_value_keeps_its_digits() -> None:
    values = np.concatenate([[1e18], np.linspace(0.1, 0.2, 39)])[None, :]
    storage = Recorder(Block((series("x"),), TS, values))
    expected = float(np.mean(values[0, -20:]))
    result = promql.instant("avg_over_time(x[5m])", int(TS[-1]), storage)
    assert result.values[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("query", ["rate(x[5m])", "avg_over_time(x[5m])", "x", "quantile_over_time(0.5, x[3m])"])
def test_the_memory_layout_of_a_block_does_not_matter(query: str) -> None:
    labels = tuple(series("x", i=str(i)) for i in range(50))
    values = np.random.default_rng(1).random((50, 40))
    answers = []
    for laid in (np.ascontiguousarray(values), np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2]):
        answers.append(promql.range_(query, 0, 585_000, 15_000, Recorder(Block(labels, TS, laid))).values)
    assert all(np.array_equal(answers[0], answer, equal_nan=True) for answer in answers[1:])
