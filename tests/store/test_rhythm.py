"""The rhythm of sources: read off their rows, and whether the next row is late."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import store
from monitoring.promql import parse_matchers
from monitoring.store import Rhythm

pytestmark = pytest.mark.django_db
T0_MS = 1_772_625_600_000
PERIOD_MS = 5000


def write(source: str, *times_ms: int, metric: str = "load") -> None:
    """Store one sample of a source at each time."""
    scrapes = [
        store.Scrape(source, {"job": source}, at_ms, [store.sample_key(metric, {})], np.array([1.0]))
        for at_ms in times_ms
    ]
    store.append(scrapes, now_ms=max(times_ms))


def regular(phase_ms: int, count: int = 4) -> list[int]:
    """Times one period apart, the last of them just before T0_MS + PERIOD_MS."""
    return [T0_MS + phase_ms - number * PERIOD_MS for number in range(count)]


def found(at_ms: int = T0_MS + PERIOD_MS, selector: str = "load") -> list[tuple[int, int]]:
    """Period and phase of what a selector asks for."""
    rhythms = store.rhythms([parse_matchers(f'{{__name__="{selector}"}}')], at_ms, leave_out="rules:")
    return sorted((one.period_ms, one.phase_ms) for one in rhythms)


def test_period_and_phase_are_those_of_the_last_rows():
    write("target:1", *regular(1200))
    assert found() == [(PERIOD_MS, 1200)]


def test_only_sources_of_the_series_asked_for_count():
    write("target:1", *regular(1200))
    write("target:2", *regular(700), metric="other")
    assert found(selector="other") == [(PERIOD_MS, 700)]


def test_what_rules_write_is_left_out():
    write("rules:1", *regular(1200))
    assert found() == []


def test_a_missed_time_does_not_change_the_period():
    first, _, *rest = regular(1200)
    write("target:1", first, *rest)
    assert found() == [(PERIOD_MS, 1200)]


def test_a_source_without_regular_times_has_no_rhythm():
    write("target:1", T0_MS, T0_MS - 4000, T0_MS - 9001)
    assert found() == []


def test_one_row_tells_no_rhythm():
    write("target:1", T0_MS)
    assert found() == []


def test_a_silent_source_has_no_rhythm_any_more():
    write("target:1", *regular(0))
    assert found(T0_MS + 4 * PERIOD_MS) == []


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [(T0_MS + 1200, set()), (T0_MS + 6199, set()), (T0_MS + 6200, {0}), (T0_MS + 11_200, set())],
    ids=["it has written", "the next time has not come", "it is about to write", "it missed the time before"],
)
def test_behind_is_who_wrote_the_time_before_and_not_yet_now(at_ms: int, expected: set[int]):
    write("target:1", *regular(1200))
    [rhythm] = store.rhythms([parse_matchers('{__name__="load"}')], T0_MS + PERIOD_MS, leave_out="rules:")
    assert store.behind([(rhythm, at_ms)]) == expected


def test_nobody_is_behind_where_nobody_is_expected():
    assert store.behind([]) == set()
    assert store.behind([(Rhythm(999_999, PERIOD_MS, 0), T0_MS)]) == set()
