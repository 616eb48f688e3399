"""Who is on call, week by week and through overrides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from alerts.engine.rota import Override, Rota, on_call, shifts

MONDAY = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)  # 09:00 in Zagreb
ROTA = Rota("ml", ("ana", "ben", "cem"), date(2026, 11, 2), location="Europe/Zagreb")
WEEK, HOUR = timedelta(weeks=1), timedelta(hours=1)


def who(rota: Rota, at: datetime) -> str | None:
    shift = on_call(rota, at)
    return shift.user if shift else None


@pytest.mark.parametrize(("weeks", "user"), [(0, "ana"), (1, "ben"), (2, "cem"), (3, "ana"), (52, "ben")])
def test_turns_change_week_by_week(weeks: int, user: str) -> None:
    assert who(ROTA, MONDAY + weeks * WEEK) == user


def test_the_hours_before_the_handover_belong_to_the_turn_before() -> None:
    assert who(ROTA, MONDAY + WEEK - timedelta(seconds=1)) == "ana"


def test_a_shift_says_until_when() -> None:
    shift = on_call(ROTA, MONDAY + HOUR)
    assert shift is not None
    assert (shift.starts_at, shift.ends_at) == (MONDAY, MONDAY + WEEK)


def test_a_handover_keeps_its_wall_time_when_the_clocks_change() -> None:
    summer = replace(ROTA, starts_on=date(2026, 10, 19))
    shift = on_call(summer, datetime(2026, 10, 24, tzinfo=UTC))
    assert shift is not None
    assert (shift.starts_at.hour, shift.ends_at.hour) == (7, 8)


def test_nobody_is_on_call_before_the_rota_starts() -> None:
    assert who(ROTA, MONDAY - HOUR) is None


def test_nobody_is_on_call_in_an_empty_rota() -> None:
    assert who(replace(ROTA, members=()), MONDAY) is None


def test_a_turn_may_last_two_weeks() -> None:
    slow = replace(ROTA, weeks_per_turn=2)
    assert [who(slow, MONDAY + weeks * WEEK) for weeks in range(4)] == ["ana", "ana", "ben", "ben"]


OVERRIDE = Override("dan", MONDAY + 10 * HOUR, MONDAY + 20 * HOUR)


@pytest.mark.parametrize(("hours", "user"), [(9.9, "ana"), (10, "dan"), (19.9, "dan"), (20, "ana")])
def test_an_override_takes_over_for_its_time(hours: float, user: str) -> None:
    assert who(replace(ROTA, overrides=(OVERRIDE,)), MONDAY + hours * HOUR) == user


def test_of_two_overrides_the_one_that_started_last_counts() -> None:
    inner = Override("eva", MONDAY + 12 * HOUR, MONDAY + 14 * HOUR)
    rota = replace(ROTA, overrides=(inner, OVERRIDE))
    assert [who(rota, MONDAY + hours * HOUR) for hours in (11, 13, 15)] == ["dan", "eva", "dan"]


def test_shifts_follow_each_other_without_gap_or_overlap() -> None:
    rota = replace(ROTA, overrides=(OVERRIDE, Override("eva", MONDAY + 12 * HOUR, MONDAY + 14 * HOUR)))
    found = list(shifts(rota, MONDAY - WEEK, MONDAY + 2 * WEEK))
    assert [shift.user for shift in found] == ["ana", "dan", "eva", "dan", "ana", "ben"]
    assert [a.ends_at for a in found[:-1]] == [b.starts_at for b in found[1:]]
    assert (found[0].starts_at, found[-1].ends_at) == (MONDAY, MONDAY + 2 * WEEK)
