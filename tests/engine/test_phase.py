"""Where in its interval a rule group is evaluated, given when the samples it needs come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.phase import LANDING_MS, Beat, Phase, choose

SECOND = 1000


def test_slots_move_to_just_after_the_scrape():
    assert choose(5 * SECOND, 0, [Beat(5 * SECOND, 1200)]) == Phase(1200 + LANDING_MS, (0,), 0.0)


def test_an_offset_before_the_turn_of_the_interval_wraps():
    assert choose(5 * SECOND, 0, [Beat(5 * SECOND, 4950)]).offset_ms == 4950 + LANDING_MS - 5 * SECOND


def test_a_group_stays_where_little_is_gained():
    phase = choose(15 * SECOND, 1500 + LANDING_MS, [Beat(15 * SECOND, 1000)])
    assert (phase.offset_ms, phase.wait_ms) == (1500 + LANDING_MS, 500.0)


def test_of_several_targets_the_one_is_followed_after_which_all_wait_least():
    beats = [Beat(10 * SECOND, phase) for phase in (1000, 2000, 3000)]
    assert choose(10 * SECOND, 0, beats) == Phase(3000 + LANDING_MS, (2,), 1000.0)


def test_scrapes_more_often_than_evaluations_count_by_their_own_period():
    phase = choose(15 * SECOND, 0, [Beat(5 * SECOND, 1000)])
    assert (phase.offset_ms, phase.wait_ms) == (1000 + LANDING_MS, 0.0)


def test_scrapes_less_often_than_evaluations_are_met_by_one_of_them():
    assert choose(15 * SECOND, 0, [Beat(60 * SECOND, 34_000)]).offset_ms == 4000 + LANDING_MS


@pytest.mark.parametrize("beats", [[], [Beat(7 * SECOND, 100)]], ids=["none", "of a period that does not fit"])
def test_without_a_beat_that_fits_the_offset_stays(beats: list[Beat]):
    assert choose(5 * SECOND, 3210, beats) == Phase(3210)


def test_samples_that_came_long_before_the_slot_are_not_waited_for():
    assert choose(5 * SECOND, 3000, [Beat(5 * SECOND, phase) for phase in (400, 2700)]).awaited == (1,)


@given(
    interval=st.sampled_from([1000, 5000, 15_000, 60_000]),
    offset=st.integers(0, 59_999),
    beats=st.lists(
        st.builds(Beat, st.sampled_from([1000, 5000, 7000, 15_000, 60_000]), st.integers(0, 59_999)), max_size=8
    ),
)
def test_choosing_again_changes_nothing(interval: int, offset: int, beats: list[Beat]):
    once = choose(interval, offset % interval, beats)
    assert 0 <= once.offset_ms < interval
    assert choose(interval, once.offset_ms, beats) == once
