"""Sending (PN) and restart (PF), clause by clause."""

from datetime import UTC, datetime, timedelta

import pytest

from alerts.engine.resend import ends_at, restore, starts_at
from alerts.engine.state import AlertState, State
from monitoring.promql import Labels

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A = Labels.of({"alertname": "High", "host": "a"})
MINUTE = 60.0


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


FIRING = AlertState(A, State.FIRING, at(0), fired_at=at(30))
RESOLVED = AlertState(A, State.INACTIVE, at(0), fired_at=at(30), resolved_at=at(60))


def pending(hold_seconds: float) -> AlertState:
    return AlertState(A, State.PENDING, at(0), hold_seconds=hold_seconds)


@pytest.mark.parametrize(("interval", "valid_seconds"), [(15, 240), (300, 1200)])
def test_PN_3_a_firing_alert_is_valid_for_four_periods(interval: float, valid_seconds: float) -> None:
    assert ends_at(FIRING, at(30), interval) == at(30 + valid_seconds)


def test_PN_3_a_resolved_alert_ended_when_it_resolved() -> None:
    assert ends_at(RESOLVED, at(300), 15) == at(60)


def test_PA_5_a_receiver_is_told_when_it_began_to_fire() -> None:
    assert starts_at(FIRING) == at(30)


def mended(hold: float, paused_at: float, back_at: float) -> datetime:
    states = restore({A: pending(hold)}, at(paused_at), at(back_at), interval_seconds=15)
    return states[A].active_since


def test_PF_5_a_short_pause_changes_nothing() -> None:
    assert mended(hold=300, paused_at=60, back_at=75) == at(0)


def test_PF_5_a_pause_of_two_intervals_is_no_short_one() -> None:
    assert mended(hold=300, paused_at=60, back_at=90) == at(90)


def test_PF_2_the_clock_starts_again_when_for_is_shorter_than_the_grace_time() -> None:
    assert mended(hold=5 * MINUTE, paused_at=60, back_at=120) == at(120)


def test_PF_2_a_hold_time_that_was_over_before_the_pause_stays_over() -> None:
    assert mended(hold=10 * MINUTE, paused_at=600, back_at=900) == at(0)


def test_PF_2_little_time_left_becomes_the_grace_time() -> None:
    hold = 20 * MINUTE
    active_since = mended(hold, paused_at=15 * MINUTE, back_at=18 * MINUTE)
    assert active_since + timedelta(seconds=hold) == at(18 * MINUTE + 10 * MINUTE)


def test_PF_2_much_time_left_does_not_count_the_pause() -> None:
    assert mended(hold=30 * MINUTE, paused_at=5 * MINUTE, back_at=25 * MINUTE) == at(20 * MINUTE)


def test_PF_1_a_pause_longer_than_the_tolerance_starts_the_clock_again() -> None:
    assert mended(hold=3 * 3600, paused_at=60, back_at=2 * 3600) == at(2 * 3600)


def test_PF_5_what_fires_keeps_its_start_over_any_pause() -> None:
    assert restore({A: FIRING}, at(60), at(86_400), 15)[A] == FIRING
