"""Durations read and write as Prometheus does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("5m", 300),
        ("90s", 90),
        ("1h30m", 5400),
        ("324ms", 0.324),
        ("3s50ms", 3.05),
        ("1d", 86_400),
        ("4d1h", 349_200),
        ("14d", 1_209_600),
        ("3w2d1h", 1_990_800),
        ("10y", 315_360_000),
        (" 5m ", 300),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty duration"),
        ("5", "has no unit"),
        ("-5m", "negative"),
        ("1.5h", "fraction"),
        ("5m1h", "in that order"),
        ("5 m", "not a duration"),
        ("5M", "not a duration"),
        ("999999y", "out of range"),
    ],
)
def test_a_wrong_duration_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (300, "5m"),
        (5400, "1h30m"),
        (0.25, "250ms"),
        (86_400, "1d"),
        (90_000, "25h"),
        (604_800, "1w"),
        (691_200, "8d"),
        (31_536_000, "1y"),
    ],
)
def test_seconds_are_written_in_the_shortest_way(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_negative_duration_is_not_written() -> None:
    with pytest.raises(ValueError, match="negative"):
        format_duration(-1)


@given(st.integers(min_value=0, max_value=9 * 10**12))
def test_what_is_written_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds
