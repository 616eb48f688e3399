"""Threshold rows: which one wins, what counts as past the limit, and the words for it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.thresholds import (
    NO_ROW,
    Operator,
    Resolver,
    Threshold,
    compare,
    matching_positions,
    rank_key,
    resolve,
)
from monitoring.promql import Labels, Matcher, parse_matchers

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERIES = [
    Labels.of({"model": "ranker", "host": "a"}),
    Labels.of({"model": "ranker", "host": "b"}),
    Labels.of({"model": "tagger"}),
]


def row(number: int, selector: str = "{}", **fields: object) -> Threshold:
    matchers = parse_matchers(selector) if selector != "{}" else ()
    given = {"severity": "warning", "operator": Operator.GREATER, "value": 80.0, "created_seq": number} | fields
    return Threshold(id=number, matchers=matchers, **given)  # type: ignore[arg-type]


def winners(rows: list[Threshold], at: datetime = NOW, severity: str = "warning") -> list[int | None]:
    """Return the id of the winning row per series."""
    resolution = resolve(rows, SERIES, at)
    found = resolution.winners[severity]
    return [None if index == NO_ROW else resolution.rows[index].id for index in found.tolist()]


def test_a_row_without_matchers_applies_to_every_series() -> None:
    assert winners([row(1)]) == [1, 1, 1]


def test_a_row_applies_only_where_all_its_matchers_hold() -> None:
    assert winners([row(1, '{model="ranker",host="b"}')]) == [None, 1, None]


def test_the_highest_priority_wins_over_better_matching_rows() -> None:
    assert winners([row(1, priority=10), row(2, '{model="ranker"}')]) == [1, 1, 1]


def test_more_matchers_win_over_fewer() -> None:
    rows = [row(1, '{model="ranker",host=~"a|b"}'), row(2, '{model="ranker"}'), row(3)]
    assert winners(rows) == [1, 1, 3]


def test_exact_matchers_win_over_regular_expressions() -> None:
    assert winners([row(1, '{model="ranker"}'), row(2, '{model=~"rank.*"}')]) == [1, 1, None]


def test_the_newest_of_equals_wins() -> None:
    assert winners([row(1, created_seq=7), row(2, created_seq=3)]) == [1, 1, 1]


def test_an_absent_label_is_an_empty_one() -> None:
    assert winners([row(1, '{host=""}'), row(2, '{host!="a"}')]) == [None, 2, 1]


def test_a_row_stops_counting_at_the_moment_it_expires() -> None:
    rows = [row(1), row(2, '{model="tagger"}', expires_at=NOW + timedelta(seconds=1))]
    assert winners(rows) == [1, 1, 2]
    assert winners(rows, NOW + timedelta(seconds=1)) == [1, 1, 1]


def test_a_row_that_is_switched_off_does_not_count() -> None:
    assert winners([row(1), row(2, priority=5, is_enabled=False)]) == [1, 1, 1]


def test_a_row_knows_the_series_it_matches_whether_it_wins_or_not() -> None:
    found = matching_positions([row(1), row(2, '{model="ranker"}'), row(3, '{host=~"a|z"}')], SERIES)
    assert [positions.tolist() for positions in found] == [[0, 1, 2], [0, 1], [0]]


def test_severities_are_resolved_apart() -> None:
    rows = [row(1), row(2, '{model="tagger"}', severity="critical")]
    assert winners(rows, severity="critical") == [None, None, 2]


MODELS, HOSTS = ["m1", "m2", "m3", ""], ["h1", "h2", ""]
series_lists = st.lists(
    st.builds(lambda m, h: Labels.of({"model": m, "host": h}), st.sampled_from(MODELS), st.sampled_from(HOSTS)),
    max_size=40,
)
matcher_lists = st.lists(
    st.builds(
        Matcher,
        st.sampled_from(["=", "!=", "=~", "!~"]),
        st.sampled_from(["model", "host", "nosuch"]),
        st.sampled_from(["m1", "m2", "h1", "", "m1|m2", "h.*", ".+", "m1|"]),
    ),
    max_size=3,
)
row_lists = st.lists(
    st.builds(
        lambda matchers, severity, priority, seq, enabled, hours: Threshold(
            id=0,
            severity=severity,
            operator=Operator.GREATER,
            value=1.0,
            matchers=tuple(matchers),
            priority=priority,
            created_seq=seq,
            is_enabled=enabled,
            expires_at=None if hours is None else NOW + timedelta(hours=hours),
        ),
        matcher_lists,
        st.sampled_from(["warning", "critical"]),
        st.integers(0, 2),
        st.integers(0, 5),
        st.booleans(),
        st.sampled_from([None, -1, 0, 1]),
    ),
    max_size=12,
)


@given(row_lists, series_lists)
def test_resolve_agrees_with_looking_at_every_pair(rows: list[Threshold], labels: list[Labels]) -> None:
    resolution = resolve(rows, labels, NOW)
    for severity, found in resolution.winners.items():
        for series, index in zip(labels, found.tolist(), strict=True):
            standing = [r for r in rows if r.severity == severity and r.counts_at(NOW) and r.matches(series)]
            best = max((rank_key(r) for r in standing), default=None)
            assert best == (None if index == NO_ROW else rank_key(resolution.rows[index]))


@given(row_lists, st.lists(series_lists, min_size=2, max_size=3))
def test_a_resolver_that_remembers_gives_what_resolve_gives(
    rows: list[Threshold], evaluations: list[list[Labels]]
) -> None:
    resolver = Resolver()
    for minutes, labels in enumerate(evaluations * 2):
        at = NOW + timedelta(minutes=20 * minutes)
        kept, fresh = resolver.resolve(rows, labels, at), resolve(rows, labels, at)
        assert {severity: found.tolist() for severity, found in kept.winners.items()} == {
            severity: found.tolist() for severity, found in fresh.winners.items()
        }


def test_a_resolver_gives_the_same_object_while_nothing_changes() -> None:
    resolver = Resolver()
    rows = [row(1)]
    first = resolver.resolve(rows, SERIES, NOW)
    assert resolver.resolve(rows, list(SERIES), NOW + timedelta(minutes=1)) is first


def test_a_resolver_sees_that_a_row_has_expired() -> None:
    resolver = Resolver()
    rows = [row(1, expires_at=NOW + timedelta(seconds=30))]
    assert resolver.resolve(rows, SERIES, NOW).severities == ("warning",)
    assert resolver.resolve(rows, SERIES, NOW + timedelta(seconds=30)).severities == ()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("operator", "upper", "past"),
    [
        (">", None, [80.1, 85, INF]),
        (">=", None, [80, 80.1, 85, INF]),
        ("<", None, [-INF, 79.9]),
        ("<=", None, [-INF, 79.9, 80]),
        ("==", None, [80]),
        ("!=", None, [-INF, 79.9, 80.1, 85, INF, NAN]),
        ("outside", 90.0, [-INF, 79.9, INF]),
        ("inside", 90.0, [80, 80.1, 85]),
    ],
)
def test_each_operator_finds_the_values_past_its_limit(operator: str, upper: float | None, past: list[float]) -> None:
    values = np.array([-INF, 79.9, 80, 80.1, 85, INF, NAN])
    labels = [Labels.of({"n": str(number)}) for number in range(len(values))]
    resolution = resolve([row(1, operator=Operator(operator), upper=upper)], labels, NOW)
    found = values[compare(values, resolution)["warning"]]
    np.testing.assert_array_equal(found, np.array(past))


def is_past(threshold: Threshold, value: float, is_firing: bool) -> bool:
    resolution = resolve([threshold], SERIES[:1], NOW)
    return bool(compare(np.array([value]), resolution, {"warning": np.array([is_firing])})["warning"][0])


@pytest.mark.parametrize(
    ("operator", "value", "upper", "recover", "held", "over"),
    [
        (">", 80, None, 70, 70.1, 70),
        (">=", 80, None, 70, 70, 69.9),
        ("<", 20, None, 30, 29.9, 30),
        ("<=", 20, None, 30, 30, 30.1),
        ("outside", 10, 20, 2, 11.9, 12),
        ("outside", 10, 20, 2, 18.1, 18),
        ("inside", 10, 20, 2, 8, 7.9),
        ("inside", 10, 20, 2, 22, 22.1),
    ],
)
def test_a_firing_alert_stays_until_the_recovery_value_is_passed(
    operator: str, value: float, upper: float | None, recover: float, held: float, over: float
) -> None:
    threshold = row(1, operator=Operator(operator), value=value, upper=upper, recover_value=recover)
    assert is_past(threshold, held, is_firing=True)
    assert not is_past(threshold, held, is_firing=False)
    assert not is_past(threshold, over, is_firing=True)


def test_nan_is_past_no_recovery_value() -> None:
    assert not is_past(row(1, recover_value=70), NAN, is_firing=True)


def test_a_series_without_a_row_is_never_past() -> None:
    resolution = resolve([row(1, '{model="tagger"}', operator=Operator.NOT_EQUAL)], SERIES, NOW)
    assert compare(np.array([1.0, NAN, 1.0]), resolution)["warning"].tolist() == [False, False, True]


def test_series_are_compared_each_with_its_own_row() -> None:
    rows = [row(1, value=80), row(2, '{model="tagger"}', operator=Operator.LESS, value=10)]
    found = compare(np.array([85.0, 5.0, 5.0]), resolve(rows, SERIES, NOW))
    assert found["warning"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": NAN}, "must be a number"),
        ({"operator": "outside"}, "needs an upper limit"),
        ({"operator": "inside", "upper": 80.0}, "needs an upper limit above"),
        ({"upper": 90.0}, 'goes only with "outside" or "inside"'),
        ({"recover_value": 81.0}, "must not be above"),
        ({"operator": "<", "recover_value": 79.0}, "must not be below"),
        ({"operator": "==", "recover_value": 80.0}, "makes no sense"),
        ({"operator": "outside", "upper": 90.0, "recover_value": 5.0}, "leaves nothing of the band"),
        ({"operator": "outside", "upper": 90.0, "recover_value": -1.0}, "margin"),
        ({"hold_seconds": -1.0}, "0 seconds or more"),
        ({"operator": "=>"}, "not a valid Operator"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        row(1, **fields)
