"""Flapping: when it begins, when it ends, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alerts.engine.flapping import FlapSettings, detect

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SETTINGS = FlapSettings(window_seconds=600, start_changes=4, stop_changes=1, min_span_seconds=30)


def changes(*seconds_ago: float) -> list[datetime]:
    return [AT - timedelta(seconds=ago) for ago in seconds_ago]


def test_few_changes_are_no_flapping() -> None:
    assert not detect(changes(10, 20, 30), AT, SETTINGS).is_flapping


def test_many_changes_inside_the_window_are_flapping() -> None:
    found = detect(changes(40, 20, 30, 50), AT, SETTINGS)
    assert (found.is_flapping, found.words) == (True, "flapping: 4 changes in 10 min, the last 20 s ago")


def test_changes_before_the_window_and_after_now_do_not_count() -> None:
    assert detect(changes(10, 20, 600, 700, -5), AT, SETTINGS).changes == 2


def test_flapping_ends_later_than_it_begins() -> None:
    assert detect(changes(10, 20), AT, SETTINGS, was_flapping=True).is_flapping
    assert not detect(changes(10), AT, SETTINGS, was_flapping=True).is_flapping


def test_an_alert_without_changes_is_calm() -> None:
    found = detect([], AT, SETTINGS)
    assert (found.is_flapping, found.calm_seconds, found.words) == (False, None, "")


def test_a_burst_is_not_flapping_before_it_has_lasted() -> None:
    assert not detect(changes(5, 10, 15, 20), AT, SETTINGS).is_flapping
    assert detect(changes(5, 10, 15, 30), AT, SETTINGS).is_flapping
