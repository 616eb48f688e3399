"""Threshold rows in words."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given

from alerts.engine.threshold_explain import conflicts, describe_limit, explain, unreachable
from alerts.engine.thresholds import Operator, Threshold, resolve
from monitoring.promql import Labels

from .test_thresholds import NOW, SERIES, row, row_lists, series_lists

RANKER = SERIES[0]


def test_the_winning_row_says_what_it_beats_and_by_what() -> None:
    found = explain([row(1), row(2, priority=10)], RANKER, NOW, "warning")
    assert found.sentence == "Row 2 applies (above 80): it wins over row 1 because priority 10 beats 0."


@pytest.mark.parametrize(
    ("better", "worse", "because"),
    [
        (row(2, '{model="ranker"}'), row(1), "1 matcher beats 0"),
        (row(2, '{model="ranker",host="a"}'), row(1, '{model="ranker"}'), "2 matchers beat 1"),
        (row(2, '{model="ranker"}'), row(3, '{model=~"r.*"}'), "1 exact of 1 matcher beat 0"),
        (row(2), row(1), "it is newer"),
        (row(2, created_seq=1), row(1, created_seq=1), "it has the higher number"),
    ],
)
def test_each_part_of_the_order_has_its_words(better: Threshold, worse: Threshold, because: str) -> None:
    assert explain([worse, better], RANKER, NOW, "warning").sentence.endswith(f"because {because}.")


def test_rows_that_do_not_count_say_why() -> None:
    rows = [
        row(1),
        row(2, '{model="tagger"}'),
        row(3, is_enabled=False),
        row(4, expires_at=NOW - timedelta(hours=1)),
        row(5, '{zone="x"}'),
    ]
    reasons = {c.threshold.id: c.reason for c in explain(rows, RANKER, NOW, "warning").candidates}
    assert reasons == {
        1: "it is the only one that matches",
        2: 'does not match: it asks for model="tagger", the series has "ranker"',
        3: "is switched off",
        4: "expired at 2026-03-01 11:00 UTC",
        5: 'does not match: it asks for zone="x", the series has no such label',
    }


def test_a_series_without_a_row_is_told_so() -> None:
    found = explain([row(1, severity="critical")], RANKER, NOW, "warning")
    assert (found.winner, found.sentence) == (
        None,
        'No warning row applies to {host="a", model="ranker"}: it cannot reach "warning".',
    )


@given(row_lists, series_lists)
def test_what_is_explained_is_what_resolve_does(rows: list[Threshold], labels: list[Labels]) -> None:
    resolution = resolve(rows, labels, NOW)
    for position, series in enumerate(labels[:5]):
        for severity, found in resolution.winners.items():
            index = int(found[position])
            winner = explain(rows, series, NOW, severity).winner
            assert (winner is None) == (index < 0)
            if winner is not None:
                assert winner.created_seq == resolution.rows[index].created_seq


@pytest.mark.parametrize(
    ("row_", "words"),
    [
        (row(1, operator=Operator.OUTSIDE, value=10, upper=20), "outside 10 to 20"),
        (row(1, operator=Operator.LESS_EQUAL, value=0.25), "at or below 0.25"),
    ],
)
def test_a_limit_reads_as_words(row_: Threshold, words: str) -> None:
    assert describe_limit(row_) == words


def test_a_row_under_a_more_general_one_of_higher_priority_is_out_of_reach() -> None:
    (found,) = unreachable([row(1, priority=5), row(2, '{model="ranker"}')])
    assert (found.threshold.id, found.by.id if found.by else None) == (2, 1)
    assert found.reason == "row 1 matches everything it matches and ranks higher: priority 5 beats 0"


def test_the_older_of_two_equal_selectors_is_out_of_reach() -> None:
    assert [found.threshold.id for found in unreachable([row(1, '{model="a"}'), row(2, '{model="a"}')])] == [1]


def test_a_row_whose_matchers_exclude_each_other_is_out_of_reach() -> None:
    reasons = [found.reason for found in unreachable([row(1, '{a="x",a="y"}'), row(2, '{a="x",a!~"x.*"}')])]
    assert reasons == ['a cannot be "x" and "y" at once', 'a!~"x.*" never holds where a is "x"']


def test_a_regular_expression_covers_the_exact_value_it_matches() -> None:
    rows = [row(1, '{model=~"rank.*"}', priority=1), row(2, '{model="ranker"}'), row(3, '{model="tagger"}')]
    assert [found.threshold.id for found in unreachable(rows)] == [2]


def test_rows_not_yet_saved_may_share_a_number() -> None:
    rows = [
        row(0, '{model="a"}', created_seq=0),
        row(0, '{model="b"}', created_seq=0),
        row(0, created_seq=0, priority=3),
    ]
    assert [found.threshold.matchers for found in unreachable(rows)] == [rows[0].matchers, rows[1].matchers]


def test_a_row_that_expires_first_covers_nothing_that_outlives_it() -> None:
    assert unreachable([row(1, priority=5, expires_at=NOW + timedelta(days=1)), row(2)]) == []


def test_a_row_that_expires_later_covers_one_that_expires_before() -> None:
    rows = [row(1, priority=5, expires_at=NOW + timedelta(days=2)), row(2, expires_at=NOW + timedelta(days=1))]
    assert [found.threshold.id for found in unreachable(rows)] == [2]
    assert unreachable([rows[1], row(3, priority=-1, expires_at=NOW + timedelta(days=3))]) == []


@given(row_lists, series_lists)
def test_an_unreachable_row_never_wins(rows: list[Threshold], labels: list[Labels]) -> None:
    numbered = [
        Threshold(
            id=number,
            severity=r.severity,
            operator=r.operator,
            value=r.value,
            matchers=r.matchers,
            priority=r.priority,
            created_seq=r.created_seq,
            is_enabled=r.is_enabled,
        )
        for number, r in enumerate(rows)
    ]
    resolution = resolve(numbered, labels, NOW)
    winning = {resolution.rows[i].id for found in resolution.winners.values() for i in np.unique(found) if i >= 0}
    assert winning.isdisjoint(found.threshold.id for found in unreachable(numbered))


def test_rows_that_differ_only_in_age_are_in_conflict_where_both_match() -> None:
    rows = [row(1, '{model="ranker"}', value=80), row(2, '{host="a"}', value=90)]
    (found,) = conflicts(rows, SERIES, NOW)
    assert (found.winner.id, found.loser.id, found.example, found.series_count) == (2, 1, RANKER, 1)


def test_rows_with_equal_limits_are_no_conflict() -> None:
    assert conflicts([row(1, '{model="ranker"}'), row(2, '{host="a"}')], SERIES, NOW) == []


def test_rows_below_a_higher_one_are_no_conflict() -> None:
    rows = [row(1, '{model="ranker"}'), row(2, '{host="a"}', value=90), row(3, priority=1)]
    assert conflicts(rows, SERIES, datetime(2026, 3, 1, tzinfo=UTC)) == []
