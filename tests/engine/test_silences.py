"""Silences: states, editing, recurrence, and what is refused or warned of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.engine.matching import parse_alertmanager_matchers
from alerts.engine.silences import (
    InvalidSilence,
    Recurrence,
    Silence,
    SilenceIndex,
    can_update,
    check_silence,
    covers_everything,
    ends_soon,
    expire,
    preview,
)
from monitoring.promql import Labels

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)  # a Sunday
HOUR = timedelta(hours=1)


def silence(matchers: str = "a=1", starts: float = -1, ends: float = 1, **values: object) -> Silence:
    found = parse_alertmanager_matchers(matchers)
    return Silence("s1", found, AT + starts * HOUR, AT + ends * HOUR, **values)  # type: ignore[arg-type]


def covered(one: Silence, at: datetime = AT, **labels: str) -> bool:
    return bool(SilenceIndex([one], at).covering(Labels.of(labels)))


def test_AS_1_all_matchers_must_hold() -> None:
    one = silence('alertname=A, env!=prod, team!~"ml.*"')
    assert covered(one, alertname="A", env="dev", team="web")
    assert covered(one, alertname="A")
    assert not covered(one, alertname="A", env="prod")
    assert not covered(one, alertname="A", team="mlops")
    assert not covered(one, alertname="B")


@pytest.mark.parametrize(
    ("starts", "ends", "state"), [(1, 2, "pending"), (0, 1, "active"), (-1, 1, "active"), (-1, 0, "expired")]
)
def test_AS_1_the_state_follows_the_time(starts: float, ends: float, state: str) -> None:
    one = silence(starts=starts, ends=ends)
    assert one.state(AT) == state
    assert covered(one, a="1") is (state == "active")


def test_AS_2_a_start_in_the_past_is_moved_to_now() -> None:
    assert check_silence(silence(starts=-5), AT).starts_at == AT


@pytest.mark.parametrize(
    ("matchers", "starts", "ends", "words"),
    [
        ("", 0, 1, "at least one matcher is required"),
        ('a=~".*"', 0, 1, "must not match the empty string"),
        ('a!="x",b=""', 0, 1, "must not match the empty string"),
        ("a=1", 0, 0, "start time must be before end time"),
        ("a=1", -3, -2, "end time can't be in the past"),
        ("a=1", 2, 1, "start time must be before end time"),
        ('alertname=~".+"', 0, 1, "would silence every alert"),
        ('alertname!="", env=~".*"', 0, 1, "would silence every alert"),
    ],
)
def test_AS_2_what_cannot_be_meant_is_refused(matchers: str, starts: float, ends: float, words: str) -> None:
    with pytest.raises(InvalidSilence, match=words):
        check_silence(silence(matchers, starts, ends), AT)


def test_AS_2_the_API_takes_what_upstream_takes() -> None:
    assert check_silence(silence('alertname=~".+"'), AT, refuse_all=False)


@pytest.mark.parametrize("matchers", ["alertname=A", 'alertname=~"A|B"', 'host=~".+"', 'alertname=~".+",a=1', "a!=1"])
def test_AS_2_a_silence_that_leaves_something_out_does_not_cover_everything(matchers: str) -> None:
    assert not covers_everything(parse_alertmanager_matchers(matchers))


def test_AS_2_a_matcher_with_at_least_one_value_left_out_is_accepted_by_upstream_rules() -> None:
    assert check_silence(silence("a=1,b!=2"), AT).matchers == parse_alertmanager_matchers("a=1,b!=2")


EDITS = [
    ("an active one may end later", silence(), {"ends_at": AT + 9 * HOUR}, True),
    ("an active one may not start elsewhere", silence(), {"starts_at": AT}, False),
    ("an active one may not end in the past", silence(), {"ends_at": AT - timedelta(seconds=1)}, False),
    ("other matchers make another silence", silence(), {"matchers": parse_alertmanager_matchers("a=2")}, False),
    ("a pending one may move", silence(starts=1, ends=2), {"starts_at": AT + HOUR / 2}, True),
    ("a pending one may not start in the past", silence(starts=1, ends=2), {"starts_at": AT - HOUR}, False),
    ("an expired one may not change", silence(starts=-2, ends=-1), {"ends_at": AT + HOUR}, False),
]


@pytest.mark.parametrize(("what", "old", "changes", "expected"), EDITS, ids=[row[0] for row in EDITS])
def test_AS_7_an_edit_keeps_the_id_only_where_upstream_does(
    what: str, old: Silence, changes: dict[str, object], expected: bool
) -> None:
    assert can_update(old, replace(old, **changes), AT) is expected, what  # type: ignore[arg-type]


def test_AS_8_expiring_an_active_silence_ends_it_now() -> None:
    assert expire(silence(), AT) == silence(ends=0)


def test_AS_8_expiring_a_pending_silence_starts_and_ends_it_now() -> None:
    assert expire(silence(starts=1, ends=2), AT) == silence(starts=0, ends=0)


def test_AS_8_expiring_twice_changes_nothing() -> None:
    once = expire(silence(), AT)
    assert expire(once, AT + HOUR) == once


def test_ending_soon_is_for_active_silences_only() -> None:
    assert ends_soon(silence(ends=0.5), AT, 3600)
    assert not ends_soon(silence(ends=2), AT, 3600)
    assert not ends_soon(silence(starts=0.1, ends=0.5), AT, 3600)


SUNDAYS = Recurrence(start_minute=120, duration_seconds=3600, weekdays=(0,), location="Europe/Zagreb")


def recurring(recurrence: Recurrence, starts: float = -1000, ends: float = 100_000) -> Silence:
    return silence(starts=starts, ends=ends, recurrence=recurrence)


def test_a_recurring_silence_covers_only_its_windows() -> None:
    one = recurring(SUNDAYS)
    assert covered(one, datetime(2026, 11, 22, 1, 0, tzinfo=UTC), a="1")
    assert not covered(one, datetime(2026, 11, 22, 2, 0, tzinfo=UTC), a="1")
    assert not covered(one, datetime(2026, 11, 23, 1, 30, tzinfo=UTC), a="1")


def test_a_recurring_silence_keeps_its_wall_time_when_the_clocks_change() -> None:
    starts = [window.starts_at for window in recurring(SUNDAYS).next_windows(datetime(2027, 3, 20, tzinfo=UTC), 3)]
    # On 28 March 2027 Zagreb goes from UTC+1 to UTC+2, and 02:00 does not exist: the window opens at 03:00 then.
    assert [f"{start:%m-%d %H:%M}" for start in starts] == ["03-21 01:00", "03-28 01:00", "04-04 00:00"]


def test_a_window_over_midnight_is_found_the_day_after() -> None:
    nightly = Recurrence(start_minute=23 * 60, duration_seconds=2 * 3600)
    assert covered(recurring(nightly), datetime(2026, 11, 22, 0, 30, tzinfo=UTC), a="1")


def test_windows_are_cut_to_the_silence() -> None:
    daily = Recurrence(start_minute=8 * 60, duration_seconds=4 * 3600)
    windows = recurring(daily, starts=-0.5, ends=25).next_windows(AT)
    assert [(window.starts_at - AT, window.ends_at - AT) for window in windows] == [
        (-HOUR / 2, 3 * HOUR),
        (23 * HOUR, 25 * HOUR),
    ]


def test_a_silence_without_recurrence_has_one_window() -> None:
    assert [w.ends_at for w in silence().next_windows(AT)] == [AT + HOUR]
    assert silence().next_windows(AT + 2 * HOUR) == ()


@pytest.mark.parametrize(
    "recurrence", [Recurrence(0, 0), Recurrence(1440, 60), Recurrence(0, 60, (7,)), Recurrence(0, 8 * 86_400)]
)
def test_a_recurrence_that_makes_no_sense_is_refused(recurrence: Recurrence) -> None:
    with pytest.raises(InvalidSilence):
        check_silence(silence(recurrence=recurrence), AT)


def test_a_recurrence_on_no_day_there_is_covers_nothing() -> None:
    assert not covered(recurring(Recurrence(0, 60, (9,))), a="1")


def test_a_recurrence_is_told_in_words() -> None:
    assert SUNDAYS.describe() == "every Sunday at 02:00 for 1 h (Europe/Zagreb)"


ALERTS = [Labels.of({"alertname": "A", "host": str(i)}) for i in range(8)] + [Labels.of({"alertname": "B"})]


def test_a_preview_lists_what_would_be_silenced() -> None:
    seen = preview(silence("alertname=A,host=3"), ALERTS, AT)
    assert seen.matched == (ALERTS[3],)
    assert seen.warnings == ()


def test_a_preview_warns_of_a_wide_silence() -> None:
    seen = preview(silence("alertname=A"), ALERTS, AT)
    assert seen.warnings == (
        "it covers 8 of 9 alerts",
        "it names only the alert: every host and model is silenced for it",
    )


def test_a_preview_warns_of_a_silence_that_covers_nothing() -> None:
    assert preview(silence("alertname=C,host=1"), ALERTS, AT).warnings == ("it covers no alert that there is now",)
