"""Our parser against another implementation of the grammar: both must read a text as the same expression."""

from __future__ import annotations

from random import Random

import promql_parser
import pytest

from monitoring.promql import ParseError, parse
from tests.promql.expressions import random_query

HAND_WRITTEN = (
    "-1 ^ 2 * 3 - -4 % 5",
    "a or b and c unless d or e",
    "a == bool b + c * d ^ e ^ f",
    "a offset 5m ^ 2",
    "-a offset 5m @ 10 * 2",
    "sum by (x) (a) / on (x) group_left sum without (y) (b) > 3",
    "a atan2 b * c",
    "max_over_time((a > 1)[5m:] @ end())",
    'a{b=~"c.*",d!=""} unless on () vector(1)',
    "1 < bool 2 == bool 3",
)


@pytest.mark.parametrize("text", HAND_WRITTEN)
def test_operators_bind_as_another_parser_binds_them(text: str) -> None:
    assert parse(promql_parser.parse(text).prettify()).pretty() == parse(text).pretty()


def test_random_queries_are_read_alike() -> None:
    random = Random(1)
    for _ in range(1500):
        text = random_query(random, random.randint(0, 4))
        if "group_" in text:  # its printer loses ignoring(), and it refuses ignoring (z) group_left (z)
            continue
        text = text.replace(" ignoring ()", "")
        assert parse(promql_parser.parse(text).prettify()).pretty() == parse(text).pretty()


def test_what_is_refused_is_refused_by_both() -> None:
    for text in HAND_WRITTEN:
        for cut in range(1, len(text)):
            broken = text[:cut]
            try:
                promql_parser.parse(broken)
                theirs = True
            except ValueError:
                theirs = False
            try:
                parse(broken)
                ours = True
            except ParseError:
                ours = False
            assert ours == theirs, broken
