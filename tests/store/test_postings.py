"""Matching by postings gives what matching label set by label set gives, also while keys come in."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.promql import Matcher
from monitoring.store.postings import KeyTable, Shape

MATCHERS = [
    Matcher(op, name, value)
    for name in ("a", "b", "job", "exported_job", "__name__", "nothing")
    for op, value in (("=", "1"), ("=", ""), ("!=", "1"), ("!=", ""), ("=~", "1|2"), ("=~", ".*"), ("=~", ".+"),
                      ("!~", "[1-3]"), ("=~", "m.?"), ("!~", ""))
]  # fmt: skip


def random_keys(random, first, count):
    rows = []
    for number in range(first, first + count):
        labels = {name: str(random.integers(0, 4)) for name in ("a", "b", "job") if random.random() < 0.6}
        rows.append((number + 1, f"m{random.integers(0, 3)}", labels))
    return rows


@pytest.mark.parametrize("source", [{}, {"job": "own"}])
def test_masks_agree_with_label_sets_before_and_after_growth(source):
    random = np.random.default_rng(9)
    table, shape = KeyTable(), Shape(source)
    for first in (0, 60, 61):
        table.add(random_keys(random, first, 1 if first == 60 else 60))
        for matcher in MATCHERS:
            if matcher.name in shape.names:
                continue
            expected = [matcher.matches(shape.merge(pairs).get(matcher.name)) for pairs in table.pairs]
            assert table.mask([matcher], shape.names).tolist() == expected, matcher


# -- long columns ------------------------------------------------------------------------------------------------------

MANY = [f"ranker-{number % 7}-{number:05d}" for number in range(3000)] + [
    "",
    "a|b",
    "x.y",
    "naïve",
    "\U0010ffffend",
    "end\U0010ffffx",
]
PATTERNS = [
    "end.*", "ranker-3-.*", "ranker-3-0*1.*", "ranker-[0-3].*", "ranker-1-00001|ranker-2-00002", ".*-00042",
    "", ".*", ".+", ".*8", ".*-0.042", ".-1.*", "[r]anker-1.*", ".+-00.4.",
    "rankers?-1-.*", "ranker-1-000+8", "a\\|b", "x.y", "x\\.y", "naïve.*", "(?i)RANKER-1-.*", "ranker-1-0{4}8",
    "^ranker-1.*",
    "nobody.*", "nobody|ranker-6-00006", "\U0010ffff.*", "r{1}anker-5.*", "ranker-4-.{5}",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("op", ["=~", "!~"])
@pytest.mark.parametrize("values", [MANY, [value for value in MANY if value.isascii()]], ids=["any", "ascii"])
def test_a_regex_over_a_long_column_finds_what_asking_each_value_finds(op, pattern, values):
    table = KeyTable()
    table.add((number + 1, "m", {"pod": value}) for number, value in enumerate(values))
    matcher = Matcher(op, "pod", pattern)
    expected = [matcher.matches(value) for value in values]
    assert table.mask([matcher], frozenset()).tolist() == expected


def test_a_long_column_that_grows_is_searched_whole():
    table = KeyTable()
    table.add((number + 1, "m", {"pod": value}) for number, value in enumerate(MANY))
    table.mask([Matcher("=~", "pod", "ranker-1-0.*")], frozenset())
    table.add([(9_001, "m", {"pod": "ranker-1-new"}), (9_002, "m", {"pod": "aaa"})])
    found = table.mask([Matcher("=~", "pod", "ranker-1-n.*")], frozenset())
    assert found.tolist() == [False] * len(MANY) + [True, False]


@pytest.mark.parametrize("op", ["=~", "!~"])
def test_a_known_value_under_a_new_name_is_found_by_a_new_question(op):
    table = KeyTable()
    table.add((number + 1, "m", {"pod": f"p{number}"}) for number in range(2000))
    table.mask([Matcher(op, "pod", ".*00")], frozenset())
    table.add([(9_001, "n", {"pod": "p77"}), (9_002, "n", {"other": "p77"})])
    matcher = Matcher(op, "pod", ".*77")
    expected = [matcher.matches(dict(pairs).get("pod", "")) for pairs in table.pairs]
    assert table.mask([matcher], frozenset()).tolist() == expected
