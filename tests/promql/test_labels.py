"""Label sets and matchers."""

from __future__ import annotations

import pickle

import pytest

from monitoring.promql import EvaluationError, Labels, Matcher


def test_equal_label_sets_are_one_object() -> None:
    assert Labels.of({"b": "2", "a": "1"}) is Labels.of([("a", "1"), ("b", "2")])


def test_an_empty_label_is_an_absent_one() -> None:
    assert Labels.of({"a": "", "b": "1"}) == Labels.of({"b": "1"})


def test_labels_print_as_promql() -> None:
    labels = Labels.of({"__name__": "up", "job": 'a"b', "x.y": "1"})
    assert str(labels) == 'up{job="a\\"b", "x.y"="1"}'
    assert repr(labels) == '{__name__="up", job="a\\"b", "x.y"="1"}'


def test_a_pickled_label_set_comes_back_as_the_same_object() -> None:
    labels = Labels.of({"a": "1"})
    assert pickle.loads(pickle.dumps(labels)) is labels  # noqa: S301


def test_labels_iterate_in_name_order() -> None:
    assert list(Labels.of({"b": "2", "a": "1"})) == [("a", "1"), ("b", "2")]


def test_a_missing_label_gives_the_default() -> None:
    assert Labels.of({"a": "1"}).get("b", "none") == "none"


@pytest.mark.parametrize(
    ("op", "pattern", "value", "expected"),
    [
        ("=", "a", "a", True),
        ("!=", "a", "b", True),
        ("=~", "a.*", "abc", True),
        ("=~", "a.*", "xabc", False),
        ("=~", "a|b", "b", True),
        ("=~", "a|b", "ab", False),
        ("=~", "a.c", "a\nc", True),
        ("=~", ".+", "", False),
        ("=~", ".*", "", True),
        ("=~", "(?i)DUC", "duc", True),
        ("=~", r"\d+", "٣", False),
        ("=~", "[[:alpha:]]+", "ab", True),
        ("!~", "a.*", "b", True),
        ("=~", "x|", "", True),
    ],
)
def test_a_matcher_is_anchored_and_speaks_re2(op: str, pattern: str, value: str, expected: bool) -> None:
    assert Matcher(op, "l", pattern).matches(value) is expected


def test_a_bad_regular_expression_is_refused() -> None:
    with pytest.raises(EvaluationError, match="invalid regular expression"):
        Matcher("=~", "l", "(").matches("x")


def test_a_backtracking_trap_is_answered_at_once() -> None:
    assert not Matcher("=~", "l", "(a+)+$").matches("a" * 5000 + "b")
