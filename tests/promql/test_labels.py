"""Label sets and matchers."""

from __future__ import annotations

import pickle
from random import Random

import pytest
import re2

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


PIECES = ("a", "b|", "a.", ".*", "b+", "(a|b)", "(.*b)", "[ab-]", "\\d", "\\.", "(a)*", "x?", "1")


def test_every_regular_expression_means_what_re2_says() -> None:
    options = re2.Options()
    options.log_errors = False
    random = Random(3)
    values = ["".join(random.choices("ab1.-x\n", k=random.randint(0, 6))) for _ in range(60)]
    for _ in range(600):
        pattern = "".join(random.choices(PIECES, k=random.randint(1, 5)))
        judge = re2.compile(f"(?s:{pattern})", options)
        expected = {value for value in values if judge.fullmatch(value)}
        assert Matcher("=~", "l", pattern).accepted(values) == expected, pattern
        assert Matcher("!~", "l", pattern).accepted(values) == set(values) - expected, pattern


def test_a_bad_regular_expression_is_refused() -> None:
    with pytest.raises(EvaluationError, match="invalid regular expression"):
        Matcher("=~", "l", "(").matches("x")


def test_a_backtracking_trap_is_answered_at_once() -> None:
    assert not Matcher("=~", "l", "(a+)+$").matches("a" * 5000 + "b")
