"""Alertmanager's matcher texts, and the index that answers for many of them at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.matching import (
    MatcherError,
    MatcherIndex,
    first_failure,
    format_labels,
    format_matchers,
    matches_all,
    parse_alertmanager_matcher,
    parse_alertmanager_matchers,
)
from monitoring.promql import Labels, Matcher

READABLE = [
    ("a=b", ("=", "a", "b")),
    ('a="b"', ("=", "a", "b")),
    (' a != "b c" ', ("!=", "a", "b c")),
    ("a=~b.*|c", ("=~", "a", "b.*|c")),
    ('a!~"b{2,3}"', ("!~", "a", "b{2,3}")),
    (r'a="say \"x\" and \\ and \n end"', ("=", "a", 'say "x" and \\ and \n end')),
    (r'a=~"\d+"', ("=~", "a", r"\d+")),
    ("a=", ("=", "a", "")),
    ('a=""', ("=", "a", "")),
    ("a==b", ("=", "a", "=b")),
    ("a=b\\", ("=", "a", "b\\")),
    ("a:b=c", ("=", "a:b", "c")),
    ('"my label"=x', ("=", "my label", "x")),
    ("a=é☃", ("=", "a", "é☃")),
]

UNREADABLE = ["", "a", "=b", "1a=b", 'a="b', 'a=b"', 'a="b"c"', 'a=~"["', r'a="b\"', "a>b"]


@pytest.mark.parametrize(("text", "expected"), READABLE)
def test_AR_6_a_matcher_is_read_with_or_without_quotes(text: str, expected: tuple[str, str, str]) -> None:
    assert parse_alertmanager_matcher(text) == Matcher(*expected)


@pytest.mark.parametrize("text", UNREADABLE)
def test_AR_6_a_bad_matcher_is_refused_in_words(text: str) -> None:
    with pytest.raises(MatcherError, match=r"matcher|regular expression"):
        parse_alertmanager_matcher(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("{}", 0), ("{a=b}", 1), ("a=b, c=~d", 2), ('{a="x,y",b=z,}', 2), ('a="\\",b=c"', 1), (" { a = b } ", 1)],
)
def test_AR_6_a_list_is_split_at_commas_outside_quotes(text: str, count: int) -> None:
    assert len(parse_alertmanager_matchers(text)) == count


def test_AR_6_an_empty_part_between_commas_is_refused() -> None:
    with pytest.raises(MatcherError, match="bad matcher format"):
        parse_alertmanager_matchers("a=b,,c=d")


def test_AR_6_regular_expressions_are_anchored_at_both_ends() -> None:
    matchers = parse_alertmanager_matchers('a=~"b"')
    assert matches_all(matchers, Labels.of({"a": "b"}))
    assert not matches_all(matchers, Labels.of({"a": "abc"}))


def test_AR_6_a_missing_label_counts_as_empty() -> None:
    assert matches_all(parse_alertmanager_matchers('a="", b!="x", c=~".*"'), Labels.of({}))


def test_the_first_matcher_that_fails_is_named() -> None:
    matchers = parse_alertmanager_matchers("a=1,b=2,c=3")
    assert first_failure(matchers, Labels.of({"a": "1", "b": "x"})) == Matcher("=", "b", "2")


def test_labels_print_as_in_upstream_group_keys() -> None:
    assert format_labels([("a", 'x"y'), ("b", "1\n2")]) == r'{a="x\"y", b="1\n2"}'


@given(
    st.lists(
        st.tuples(st.sampled_from(["=", "!="]), st.sampled_from(["a", "b_c"]), st.text(max_size=20)),
        max_size=4,
    )
)
def test_formatted_matchers_read_back_the_same(raw: list[tuple[str, str, str]]) -> None:
    matchers = tuple(Matcher(*one) for one in raw)
    assert parse_alertmanager_matchers(format_matchers(matchers)) == matchers


names = st.sampled_from(["a", "b", "c"])
values = st.sampled_from(["", "x", "y", "xy"])
label_sets = st.dictionaries(names, values).map(Labels.of)
matcher_lists = st.lists(
    st.builds(Matcher, st.sampled_from(["=", "!=", "=~", "!~"]), names, st.sampled_from(["", "x", "x.*", "x|y"])),
    max_size=3,
).map(tuple)


@given(st.lists(matcher_lists, max_size=8), st.lists(label_sets, max_size=8))
def test_the_index_finds_what_asking_every_list_finds(lists: list[tuple[Matcher, ...]], asked: list[Labels]) -> None:
    index = MatcherIndex(lists)
    for labels in asked:
        assert list(index.matching(labels)) == [i for i, one in enumerate(lists) if matches_all(one, labels)]
