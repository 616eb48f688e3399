"""What must hold whatever the data: ranges equal instants, storage may be split, windows equal their definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring import promql
from monitoring.promql import Block, Labels, Matcher, QueryError, Result, matches_all
from tests.promql import reference
from tests.promql.expressions import Data, random_data, random_query
from tests.promqltest_engine import MemoryStore

SEEDS = st.integers(0, 10_000_000)
MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

Cells = dict[tuple[Labels, int], float]


def cells(result: Result) -> Cells:
    """Return every value of a vector or matrix by series and time."""
    if result.type == "vector":
        at = int(result.ts[0])
        return {(labels, at): float(value) for labels, value in zip(result.labels, result.values, strict=True)}
    out: Cells = {}
    for row, labels in enumerate(result.labels):
        for time, value in zip(*result.points(row), strict=True):
            out[labels, int(time)] = float(value)
    return out


def alike(a: Cells, b: Cells) -> bool:
    """Tell whether two answers agree to 1e-9, NaN equal to NaN."""
    if a.keys() != b.keys():
        return False
    return all(
        x == b[key] or (math.isnan(x) and math.isnan(b[key])) or math.isclose(x, b[key], rel_tol=1e-9, abs_tol=1e-10)
        for key, x in a.items()
    )


def ask(query: str, start: int, end: int, step: int, select: promql.Select) -> Cells | None:
    """Return the answer over a range, None for an error."""
    try:
        return cells(promql.range_(query, start, end, step, select))
    except QueryError:
        return None


def stored(data: Data) -> MemoryStore:
    """Return a store that holds the data."""
    store = MemoryStore()
    for labels, times, values in data.series:
        store.append(labels, times, values)
    return store


@MANY
@given(SEEDS)
def test_a_range_is_the_same_as_each_step_as_an_instant(seed: int) -> None:
    random = Random(seed)
    store = stored(random_data(random))
    query = random_query(random, 2)
    start, step = random.randrange(0, 900_000), random.choice((15_000, 47_000, 60_000))
    times = [start + i * step for i in range(6)]
    # start() and end() mean the range itself, which an instant does not have.
    query = query.replace("start()", str(start / 1000)).replace("end()", str(times[-1] / 1000))
    whole = ask(query, start, times[-1], step, store.select)
    single: Cells = {}
    failed = False
    for time in times:
        try:
            single |= cells(promql.instant(query, time, store.select))
        except QueryError:
            failed = True
    # A range also fails where only its steps together do (equal labels after names are dropped merge or clash).
    assert whole is None or (not failed and alike(whole, single))


class SplitStore:
    """The same series cut into blocks at random, in random order, some blocks overlapping in time."""

    def __init__(self, data: Data, random: Random) -> None:
        self._blocks: list[Block] = []
        for labels, times, values in data.series:
            order = np.argsort(times)
            ts, vs = np.array(times, np.int64)[order], np.array(values)[order]
            parts = random.randint(1, 4)
            owner = np.array([random.randrange(parts) for _ in ts]) if random.random() < 0.3 else None
            if owner is None:
                cuts = sorted(random.randint(0, len(ts)) for _ in range(parts - 1))
                owner = np.searchsorted(cuts, np.arange(len(ts)), "right")
            for part in range(parts):
                mine = owner == part
                self._blocks.append(Block((labels,), ts[mine], vs[mine][None, :]))
        random.shuffle(self._blocks)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the blocks of the matching series."""
        return [block for block in self._blocks if matches_all(matchers, block.labels[0])]


@MANY
@given(SEEDS)
def test_splitting_the_storage_changes_nothing(seed: int) -> None:
    random = Random(seed)
    data = random_data(random)
    query = random_query(random, 2)
    if "topk" in query or "bottomk" in query:  # among equals they take whichever comes first
        return
    whole = ask(query, 100_000, 1_000_000, 60_000, stored(data).select)
    split = ask(query, 100_000, 1_000_000, 60_000, SplitStore(data, random).select)
    assert (whole is None) == (split is None)
    assert whole is None or split is None or alike(whole, split)


FUNCTIONS = (
    *("rate", "increase", "delta", "irate", "idelta", "deriv", "changes", "resets"),
    *(f"{what}_over_time" for what in ("count", "present", "last", "first", "sum", "avg", "min", "max")),
    *(f"{what}_over_time" for what in ("stddev", "stdvar", "quantile", "mad", "ts_of_max")),
)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=SEEDS, range_s=st.integers(1, 1500), step_s=st.integers(1, 400), level=st.sampled_from([0.0, 1e6, 1e12]))
def test_a_window_function_equals_its_definition(name: str, seed: int, range_s: int, step_s: int, level: float) -> None:
    random = Random(seed)
    data = random_data(random, samples=60, wild=False)
    store, series = MemoryStore(), {}
    for labels, times, values in data.series:
        moved = [v if reference.is_stale(v) else v + level for v in values]
        store.append(labels, times, moved)
        series[labels] = dict(zip(times, moved, strict=True))
    times = [200_000 + i * step_s * 1000 for i in range(8)]
    argument = "0.7, " if name.startswith("quantile") else ""
    for metric in ("a_total", "g"):
        query = f"{name}({argument}{metric}[{range_s}s])"
        got = ask(query, times[0], times[-1], step_s * 1000, store.select)
        wanted: Cells = {}
        for labels, points in series.items():
            if labels.get("__name__") == metric:
                kept = (
                    labels if name in ("last_over_time", "first_over_time") else labels.without(frozenset({"__name__"}))
                )
                for time in times:
                    value = reference.over_time(
                        name, reference.window(points, time, range_s * 1000), time, range_s * 1000
                    )
                    if value is not None:
                        wanted[kept, time] = value
        assert got is not None
        assert got.keys() == wanted.keys()
        scale = level * 1e-12 + 1e-10
        worst = max((abs(got[k] - v) - abs(v) * 1e-8 for k, v in wanted.items()), default=0.0)
        assert worst <= scale * (1 + level * 1e-4), (query, worst)


@MANY
@given(SEEDS)
def test_sums_by_label_add_up_to_the_whole(seed: int) -> None:
    random = Random(seed)
    store = stored(random_data(random, wild=False))
    at = random.randrange(200_000, 900_000)
    parts = cells(promql.instant("sum(sum by (x, z) (g))", at, store.select))
    assert alike(parts, cells(promql.instant("sum(g)", at, store.select)))


@MANY
@given(SEEDS)
def test_the_instant_selector_equals_its_definition(seed: int) -> None:
    random = Random(seed)
    data = random_data(random)
    at = random.randrange(0, 1_500_000)
    wanted: Cells = {}
    for labels, times, values in data.series:
        value = reference.newest(dict(zip(times, values, strict=True)), at)
        if labels.get("__name__") == "g" and value is not None:
            wanted[labels, at] = value
    assert alike(cells(promql.instant("g", at, stored(data).select)), wanted)
