"""Regular expressions asked of a whole column of values: the same answer as RE2 gives value by value, or none."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitoring.promql.matchers import Matcher, compile_regex
from monitoring.promql.positions import positions_of
from monitoring.promql.text_column import MAX_STEPS, TextColumn

ATOMS = [
    "a",
    "b",
    "5",
    "-",
    r"\.",
    ".",
    r"\d",
    r"\W",
    r"\s",
    "[ab]",
    "[^a]",
    "[0-5]",
    "[a-b5]",
    r"[^\d.]",
    "[-a]",
    r"\n",
]
COUNTS = ["", "", "", "*", "+", "?", "*?", "{2}", "{1,}", "{0,2}", "{1,3}"]


def pieces(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    counted = st.tuples(inner, st.sampled_from(COUNTS)).map("".join)
    sequence = st.lists(counted, max_size=4).map("".join)
    return st.lists(sequence, min_size=1, max_size=3).map("|".join).map("({})".format)


patterns = st.recursive(st.sampled_from(ATOMS), pieces, max_leaves=8)
whole = st.lists(st.tuples(patterns, st.sampled_from(COUNTS)).map("".join), max_size=4).map("".join)
values = st.lists(st.text("ab5-.\n\0", max_size=9), unique=True, min_size=1, max_size=30)


@settings(max_examples=600, deadline=None)
@given(whole, values)
@example("a*", ["", "a", "aa", "b"])
@example("(a|b)*5.*|", ["", "a5", "ab5b", "ab"])
@example(".*a.*", ["a\0", "\0", "ba"])
@example("a.", ["a\0", "a", "ab"])
@example(".*a", ["a", "ba", "ab", "", "aab"])
@example(".*ba?.*5{1,}", ["5", "b5", "ab55", "5b", "a5"])
def test_a_column_answers_as_re2_does_value_by_value(pattern: str, texts: list[str]) -> None:
    found = TextColumn(texts).matching(pattern)
    if found is None:
        assert positions_of(pattern) is None
        return
    fullmatch = compile_regex(pattern).fullmatch
    assert found.tolist() == [fullmatch(text) is not None for text in texts]


@pytest.mark.parametrize(
    "pattern",
    [
        "pod-0.*5.",
        "pod-(1|2|33).*",
        ".*5.*",
        "(.*1.*2.*|.*7)",
        "[^-]+-[^-]+",
        r"pod-[0-4]{2}\d+",
        "^pod-.*$",
        "pod|pod-5.?",
    ],
)
def test_what_people_write_is_answered_for_all_values_at_once(pattern: str) -> None:
    texts = [f"pod-{number}" for number in range(300)] + ["pod", "", "a-b"]
    found = TextColumn(texts).matching(pattern)
    assert found is not None
    assert found.tolist() == [compile_regex(pattern).fullmatch(text) is not None for text in texts]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\bx", "[[:alpha:]]", "a^", "$a", "(?i)a", "(?P<n>a)", r"\pL", r"\Qa\E", "ä", "a**", "a{2}{3}", "[z-a]",
        "[]a]", "a{,2}", "a{65}", "x" * 65, "(" * 21 + "a" + ")" * 21, "*", "a|*", "(a", "a)", r"\x41", "a\\",
    ],
)  # fmt: skip
def test_what_is_read_differently_or_not_at_all_is_left_to_re2(pattern: str) -> None:
    assert positions_of(pattern) is None


def test_empty_groups_that_repeat_take_no_time() -> None:
    found = positions_of("(((((){60}){60}){60}){60}){60}")
    assert found is not None
    assert (found.is_nullable, found.codes) == (True, ())


def test_a_walk_that_would_take_too_long_is_left_to_re2() -> None:
    assert TextColumn(["a" * 9]).matching("(a*){30}") is not None
    assert TextColumn(["a" * MAX_STEPS]).matching("(a*){30}") is None


def test_values_beyond_ascii_are_left_to_re2() -> None:
    assert TextColumn(["a", "ä"]).matching("a.*") is None


@pytest.mark.parametrize("op", ["=", "!=", "=~", "!~"])
@pytest.mark.parametrize("value", ["a.*", "(a|b)5", "a5", ""])
def test_a_mask_is_what_the_matcher_says_of_each_value(op: str, value: str) -> None:
    texts, matcher = ["a", "a5", "b5", "", "c"], Matcher(op, "x", value)
    assert TextColumn(texts).mask(matcher).tolist() == [matcher.matches(text) for text in texts]
