"""Plain regular expressions asked of a whole column of values: the same answer as value by value, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.promql.matchers import Matcher
from monitoring.promql.text_column import TextColumn, shape_of

PLACES = ["a", "b", "5", "-", r"\.", ".", r"\d", "[ab]", "[^a]", "[0-5]", "[a-b5]"]
patterns = st.tuples(st.lists(st.sampled_from(PLACES), max_size=4), st.sampled_from(["", ".*", ".+"]),
                     st.lists(st.sampled_from(PLACES), max_size=4)).map(
    lambda parts: "".join(parts[0]) + parts[1] + ("".join(parts[2]) if parts[1] else ""))  # fmt: skip
values = st.lists(st.text("ab5-.\n", max_size=9), unique=True, max_size=30)


@given(patterns, values)
def test_a_column_answers_as_its_values_do(pattern: str, texts: list[str]) -> None:
    found = TextColumn(texts).matching(pattern)
    if texts:
        assert found is not None
        accepted = Matcher("=~", "x", pattern).accepted(texts)
        assert [text for text, is_in in zip(texts, found.tolist(), strict=True) if is_in] == [
            text for text in texts if text in accepted
        ]


@pytest.mark.parametrize(
    "pattern",
    ["a|b", "(a)", "a*", "a+b", "a?", "a{2}", ".*a.*", r"\w", r"\bx", "[[:alpha:]]", "^a", "a$", r"a\.*", "ä"],
)
def test_what_says_more_than_beginning_gap_and_end_is_left_to_the_automaton(pattern: str) -> None:
    assert shape_of(pattern) is None


def test_values_beyond_ascii_are_left_to_the_automaton() -> None:
    assert TextColumn(["a", "ä"]).matching("a.*") is None


def test_a_null_character_is_a_character() -> None:
    assert TextColumn(["a\0", "a", "ab"]).matching("a.").tolist() == [True, False, True]


@pytest.mark.parametrize("op", ["=", "!=", "=~", "!~"])
@pytest.mark.parametrize("value", ["a.*", "(a|b)5", "a5", ""])
def test_a_mask_is_what_the_matcher_says_of_each_value(op: str, value: str) -> None:
    texts, matcher = ["a", "a5", "b5", "", "c"], Matcher(op, "x", value)
    assert TextColumn(texts).mask(matcher).tolist() == [matcher.matches(text) for text in texts]
