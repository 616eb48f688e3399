"""Limits that fit a history: counted as the evaluator would have fired, marked, or refused in words."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from alerts import backtest_content, suggest
from alerts.engine import suggest as counting
from alerts.engine.suggest import Past, Terms
from alerts.history import Meter, aligned
from alerts.models import Rule
from alerts.prepared import latest_slot, ready
from alerts.replay import Replay
from monitoring import promql
from monitoring.promql import Labels
from tests import build
from tests.build import T0
from tests.past import remember

DAY = 86_400
STEP = 300


def past(*rows: list[float], step: float = 60.0, start: float = 0.0) -> Past:
    return Past(np.array(rows, dtype=float), start, step)


def test_each_stay_past_the_limit_is_an_episode() -> None:
    assert counting.firings(past([1, 9, 9, 1, 9, 1]), 5, Terms()) == 2


def test_a_stay_that_is_shorter_than_the_hold_time_is_none() -> None:
    assert counting.firings(past([1, 9, 9, 1, 9, 9, 9, 1]), 5, Terms(hold_seconds=120)) == 1


def test_what_keeps_firing_swallows_the_next_stay() -> None:
    assert counting.firings(past([9, 1, 9, 1, 1, 1, 9]), 5, Terms(keep_firing_seconds=120)) == 2


def test_at_the_limit_counts_only_for_at_or_above() -> None:
    row = past([5.0, 1.0])
    assert (counting.firings(row, 5, Terms()), counting.firings(row, 5, Terms(is_inclusive=True))) == (0, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(60))
def test_counts_are_those_of_the_state_machine(seed: int) -> None:
    chance = random.Random(seed)
    step, slots = 15.0, 400
    values = np.clip(
        np.cumsum([[chance.choice((-9, -3, 0, 3, 9)) for _ in range(slots)] for _ in range(3)], 1) + 50, 0, 100.0
    )
    for _ in range(chance.choice((0, 3, 9))):
        row, at, length = chance.randrange(3), chance.randrange(slots), chance.choice((1, 3, 20, 64, 90))
        values[row, at : at + length] = np.nan
    terms = Terms(chance.choice((0, 30, 75, 300)), chance.choice((0, 0, 45, 600)), chance.random() < 0.5)
    limit = chance.choice((40.0, 53.0, 60.0, 80.0))
    fields = {"hold_seconds": terms.hold_seconds, "keep_firing_seconds": terms.keep_firing_seconds}
    rule = Rule(name="X", expr="load", group=build.rule_group(), **fields)
    row_of_limits = build.threshold(build.rule("Y"), limit, operator=">=" if terms.is_inclusive else ">")
    frozen = backtest_content.freeze("x", rule, [row_of_limits])
    content = backtest_content.thaw(frozen)
    replay = Replay(ready(content.rule, content.group, content.limits, {}))
    start_ms = 1_772_625_600_000
    labels = [Labels.of({"host": host}) for host in ("ana", "ben", "cleo")]
    ts = start_ms + np.arange(slots) * 15_000
    replay.run(promql.Result("matrix", labels, ts, values, ~np.isnan(values)))
    assert counting.firings(Past(values, start_ms / 1000, step), limit, terms) == len(replay.book.episodes)


def test_the_lowest_limit_for_a_rate_fires_no_more_often_than_that() -> None:
    rng = np.random.default_rng(1)
    history = past(*rng.normal(50, 10, (3, 7 * 1440)).tolist())
    found = counting.curve(history, Terms())
    limit = counting.lowest_for(history, found, Terms(), 7.0)
    assert limit is not None
    assert counting.firings(history, limit, Terms()) <= 7 < counting.firings(history, limit - 1, Terms())


def test_the_usual_of_the_busiest_hour_is_found() -> None:
    hours = np.arange(7 * 24)
    values = np.where(hours == 26, 80.0, 20.0)  # Tuesday 02:00, the history begins on a Monday
    mark = counting.usual_by_hour(Past(values[None, :], 4 * DAY, 3600.0))
    assert mark is not None and (mark.hour, mark.limit) == (26, 80.0)


@pytest.mark.parametrize(
    ("value", "is_up", "wanted"),
    [
        (87.3428, True, 87.4),
        (87.3428, False, 87.3),
        (0.0123456, True, 0.0124),
        (85.0, True, 85),
        (-2.5119, True, -2.51),
    ],
)
def test_a_suggested_number_has_three_digits(value: float, is_up: bool, wanted: float) -> None:
    assert counting.nice(value, is_up) == wanted


# -- asked of the store --------------------------------------------------------------------------------------------


def asked(rule: Rule, days: float = 7, row: int | None = 0) -> dict[str, Any]:
    content = backtest_content.thaw(backtest_content.freeze_saved(rule))
    question = suggest.question(content, row)
    step = rule.group.interval_seconds
    span = aligned(T0 - timedelta(days=days), T0, step, latest_slot(rule.group, T0))
    return suggest.suggest(content, question, span, Meter(lambda done, samples: None))


def week(days: float = 7, peaks: int = 14, base: float = 20.0, peak: float = 90.0) -> list[float | None]:
    """Values every five minutes with so many short peaks, each a little higher."""
    count = int(days * DAY / STEP)
    values: list[float | None] = [base + (place % 7) for place in range(count)]
    for number in range(peaks):
        at = int((number + 0.5) * count / peaks)
        values[at : at + 3] = [peak + number / 10] * 3
    return values


def load_rule(**fields: Any) -> Rule:
    group = build.rule_group(interval_seconds=STEP)
    rule = build.rule("LoadHigh", "load", group=group, **fields)
    build.threshold(rule, 50)
    return rule


@pytest.mark.django_db
def test_marks_say_how_often_each_would_fire() -> None:
    remember(T0, STEP, {"ana": week()})
    found = asked(load_rule())
    marks = {mark["key"]: mark for mark in found["marks"]}
    assert set(marks) == {"day", "week", "p99", "mad"}
    assert 0 < marks["day"]["per_week"] <= 7
    assert marks["week"]["value"] > marks["day"]["value"] > 50
    assert found["now_per_week"] == pytest.approx(14, rel=0.02)
    assert found["points"] == sorted(found["points"])


@pytest.mark.django_db
def test_below_three_days_nothing_is_suggested() -> None:
    remember(T0, STEP, {"ana": week(2)})
    with pytest.raises(suggest.Refused, match=r"History reaches back .* from 3 days on"):
        asked(load_rule())


@pytest.mark.django_db
def test_a_floor_is_suggested_from_below() -> None:
    remember(T0, STEP, {"ana": week(base=60, peak=5)})
    rule = build.rule("LoadLow", "load", group=build.rule_group(interval_seconds=STEP))
    build.threshold(rule, 10, operator="<")
    marks = {mark["key"]: mark for mark in asked(rule)["marks"]}
    assert marks["p99"]["name"] == "p1"
    assert marks["week"]["value"] < marks["mad"]["value"] < 61


@pytest.mark.django_db
def test_series_with_a_limit_of_their_own_do_not_count() -> None:
    remember(T0, STEP, {"ana": week(), "ben": week()})
    rule = load_rule()
    build.threshold(rule, 99, selector='{host="ben"}', reason="batch host")
    assert asked(rule)["series"] == 1


@pytest.mark.django_db
def test_a_plain_condition_is_asked_about_its_number() -> None:
    remember(T0, STEP, {"ana": week()})
    rule = build.rule("LoadHigh", "load > 50", group=build.rule_group(interval_seconds=STEP))
    found = asked(rule, row=None)
    assert (found["expr"], found["operator"], found["now"], found["row"]) == ("load", ">", 50, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("expr", "operator", "words"),
    [
        ("load", None, "write the rule as value > number"),
        ("sum(load", None, "Line 1, column 9"),
        ("load", "outside", "not for a band"),
    ],
)
def test_what_cannot_be_suggested_is_told(expr: str, operator: str | None, words: str) -> None:
    rule = build.rule("X", expr)
    if operator:
        build.threshold(rule, 10, operator=operator, upper=20)
    with pytest.raises(suggest.Refused, match=words):
        asked(rule, row=0 if operator else None)


@pytest.mark.django_db
def test_a_long_history_is_read_at_a_coarser_step(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(T0, STEP, {"ana": week(), "ben": week()})
    monkeypatch.setattr(suggest, "CELLS", 1000)
    rule = load_rule()
    content = backtest_content.thaw(backtest_content.freeze_saved(rule))
    span = aligned(T0 - timedelta(days=7), T0, STEP, latest_slot(rule.group, T0))
    assert suggest.widened(suggest.question(content, 0), span, T0).step_seconds == 5 * STEP
