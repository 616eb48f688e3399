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
