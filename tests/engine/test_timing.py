"""Ticks and the log: when a group is told, and what it takes to be told again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.timing import (
    NONE,
    Decision,
    GroupView,
    LogEntry,
    TimingSettings,
    decide,
    first_tick,
    is_swept,
    log_entry,
    next_tick,
    tick_after_arrival,
)

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SETTINGS = TimingSettings(group_interval_seconds=3, repeat_interval_seconds=3600)
QUIET = TimingSettings(group_interval_seconds=3, repeat_interval_seconds=3600, send_resolved=False)


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def told(firing: str = "", resolved: str = "", at: float = 0, settings: TimingSettings = SETTINGS) -> LogEntry:
    return log_entry(frozenset(firing), frozenset(resolved), after(at), settings)


def group(firing: str = "", resolved: str = "", **muted: str) -> GroupView:
    words = {"muted_words": "silenced"} if muted else {}
    return GroupView(frozenset(firing), frozenset(resolved), **{k: frozenset(v) for k, v in muted.items()}, **words)  # type: ignore[arg-type]


def tick(view: GroupView, log: LogEntry | None, at: float = 3, settings: TimingSettings = SETTINGS) -> Decision:
    return decide(view, log, after(at), settings)


def test_AG_3_a_new_group_waits_for_group_wait() -> None:
    assert first_tick(AT, AT, 30) == after(30)


def test_AG_4_an_alert_that_began_earlier_than_group_wait_is_told_at_once() -> None:
    assert first_tick(after(-31), AT, 30) == AT
    assert first_tick(after(-30), AT, 30) == after(30)


def test_AG_4_a_group_wait_of_zero_tells_at_once() -> None:
    assert first_tick(AT, AT, 0) == AT


def test_AG_4_an_old_alert_hurries_a_group_that_never_ticked() -> None:
    assert tick_after_arrival(after(20), False, after(-40), AT, 30) == AT


def test_AG_5_an_arrival_does_not_move_the_grid() -> None:
    assert tick_after_arrival(after(20), True, after(-40), AT, 30) == after(20)


def test_AG_5_ticks_stay_on_the_grid_however_late_the_work_ran() -> None:
    assert next_tick(AT, after(0.4), 3).at == after(3)


def test_AG_5_ticks_already_past_are_skipped_and_counted() -> None:
    found = next_tick(AT, after(10), 3)
    assert (found.at, found.missed) == (after(12), 3)


def test_AG_5_a_tick_due_at_this_very_moment_is_past() -> None:
    found = next_tick(AT, after(3), 3)
    assert (found.at, found.missed) == (after(6), 1)


def test_AG_6_all_resolved_alerts_leave_the_group_also_muted_ones() -> None:
    assert group("a", "b", muted_resolved="c").dropped_after == frozenset("bc")


def test_AG_8_an_empty_group_is_swept_after_thirty_seconds() -> None:
    assert not is_swept(AT, after(29.9))
    assert is_swept(AT, after(30))


def test_AD_1_nothing_new_says_nothing() -> None:
    decision = tick(group("a"), told("ab"))
    assert (decision.send, decision.why, decision.log_after) == (False, "unchanged", told("ab"))


def test_AD_1_resolved_alerts_that_were_told_say_nothing() -> None:
    assert not tick(group("a", "b"), told("a", "b")).send


def test_AD_2_a_new_firing_alert_sends_the_whole_group() -> None:
    decision = tick(group("ab"), told("a"))
    assert (decision.send, decision.why, decision.firing) == (True, "new_alerts", frozenset("ab"))


def test_AD_3_a_partial_resolve_sends_both_lists() -> None:
    decision = tick(group("a", "b"), told("ab"))
    assert (decision.send, decision.firing, decision.resolved) == (True, frozenset("a"), frozenset("b"))


def test_AD_4_when_all_resolved_that_is_told() -> None:
    decision = tick(group("", "a"), told("a"))
    assert (decision.why, decision.firing, decision.resolved) == ("all_resolved", NONE, frozenset("a"))


def test_AD_4_a_resolve_is_told_even_if_other_alerts_resolved_than_were_told() -> None:
    assert tick(group("", "b"), told("a")).send


def run(settings: TimingSettings, ticks: int) -> list[float]:
    """The ticks at which one alert that goes on firing is told."""
    log: LogEntry | None = None
    sent = []
    for number in range(ticks):
        at = number * settings.group_interval_seconds
        decision = tick(group("a"), log, at, settings)
        log = decision.log_after
        if decision.send:
            sent.append(at)
    return sent


@pytest.mark.parametrize(("repeat", "expected"), [(6, [0, 6, 12, 18]), (7, [0, 9, 18]), (1, [0, 3, 6, 9, 12, 15, 18])])
def test_AD_5_a_repeat_comes_at_the_first_tick_not_before_repeat_interval(repeat: float, expected: list[float]) -> None:
    assert run(TimingSettings(3, repeat), 7) == expected


def test_AD_5_exact_multiples_repeat_exactly_for_odd_intervals() -> None:
    assert run(TimingSettings(0.1, 0.3), 10) == pytest.approx([0, 0.3, 0.6, 0.9])


def test_AD_5_any_message_restarts_the_repeat_clock() -> None:
    settings = TimingSettings(3, 6)
    second = tick(group("ab"), told("a", settings=settings), 3, settings)
    assert second.why == "new_alerts"
    assert not tick(group("ab"), second.log_after, 6, settings).send
    assert tick(group("ab"), second.log_after, 9, settings).why == "repeat"


def test_AD_5_a_repeat_is_held_back_while_somebody_has_it() -> None:
    settings = TimingSettings(3, 6)
    held = decide(group("a"), told("a", settings=settings), after(6), settings, hold="acknowledged by ana")
    assert (held.send, held.why) == (False, "held")
    assert held.reason == "repeat: 1 alert still firing after 6 s, held back: acknowledged by ana"


def test_a_change_is_told_even_while_somebody_has_it() -> None:
    assert decide(group("ab"), told("a"), after(3), SETTINGS, hold="acknowledged by ana").send


def test_AD_6_resolved_alerts_nobody_heard_of_say_nothing() -> None:
    decision = tick(group("", "a"), None)
    assert (decision.send, decision.why, decision.log_after) == (False, "only_resolved", None)


def test_AD_6_resolved_alerts_after_an_all_resolved_message_say_nothing() -> None:
    assert tick(group("", "b"), told("", "a")).why == "only_resolved"


def test_AD_7_an_alert_that_came_and_went_between_ticks_is_told_as_resolved_while_others_fire() -> None:
    decision = tick(group("a", "b"), told("a"))
    assert (decision.why, decision.resolved) == ("some_resolved", frozenset("b"))


def test_AD_8_without_send_resolved_a_partial_resolve_says_nothing() -> None:
    assert not tick(group("b", "a"), told("ab", settings=QUIET), settings=QUIET).send


def test_AD_8_without_send_resolved_messages_leave_the_resolved_out() -> None:
    decision = tick(group("bc", "a"), told("ab", settings=QUIET), settings=QUIET)
    assert (decision.firing, decision.resolved) == (frozenset("bc"), NONE)


def test_AD_8_without_send_resolved_an_all_resolved_tick_is_only_logged() -> None:
    decision = tick(group("", "a"), told("a", settings=QUIET), settings=QUIET)
    assert (decision.send, decision.why) == (False, "resolved_not_wanted")
    assert tick(group("a"), decision.log_after, 6, QUIET).why == "new_alerts"


def test_AD_10_integrations_with_logs_of_their_own_decide_on_their_own() -> None:
    assert [tick(group("ab"), log).send for log in (told("a"), told("ab"))] == [True, False]


def test_AD_11_a_log_entry_lives_two_repeat_intervals() -> None:
    settings = TimingSettings(3, 1000)
    log = told("a", settings=settings)
    assert tick(group("", "a"), log, 1999, settings).why == "all_resolved"
    assert tick(group("", "a"), log, 2000, settings).why == "only_resolved"


def test_AD_11_a_log_entry_lives_no_longer_than_the_retention() -> None:
    settings = TimingSettings(3, 1000, retention_seconds=1200)
    assert told("a", settings=settings).expires_at == after(1200)


def test_AD_11_a_log_entry_lives_for_the_quarter_of_an_hour_between_two_sweeps_at_least() -> None:
    assert told("a", settings=TimingSettings(3, 10)).expires_at == after(900)


def test_AD_11_a_log_entry_outlives_the_next_tick_even_if_repeats_are_shorter() -> None:
    settings = TimingSettings(300, 10)
    assert tick(group("", "a"), told("a", settings=settings), 300, settings).why == "all_resolved"


def test_AS_4_a_group_that_is_muted_as_a_whole_says_nothing_and_keeps_its_log() -> None:
    decision = tick(group(muted_firing="a"), told("a"), 4000)
    assert (decision.send, decision.why, decision.log_after) == (False, "nothing_left", told("a"))
    assert decision.reason == "nothing to tell; 1 muted (silenced)"


def test_AS_4_other_alerts_of_the_group_go_on() -> None:
    decision = tick(group("b", muted_firing="a"), told("a"))
    assert (decision.send, decision.firing) == (True, frozenset("b"))


def test_AS_5_a_resolve_under_a_silence_is_not_told() -> None:
    assert not tick(group(muted_resolved="a"), told("a")).send


def test_AS_6_an_alert_told_before_a_silence_is_not_told_again_after_it() -> None:
    muted = tick(group(muted_firing="a"), told("a"))
    assert not tick(group("a"), muted.log_after, 6).send


def test_AS_6_a_swallowed_resolve_keeps_the_next_firing_quiet_as_upstream_does() -> None:
    swallowed = tick(group(muted_resolved="a"), told("a"))
    assert not tick(group("a"), swallowed.log_after, 6).send


def test_AT_3_what_still_fires_when_a_mute_interval_ends_is_told_at_the_next_tick() -> None:
    muted = tick(group(muted_firing="a"), None)
    assert tick(group("a"), muted.log_after, 6).why == "first"


def test_AT_4_what_resolved_inside_a_mute_interval_is_never_told() -> None:
    muted = tick(group(muted_resolved="a"), None)
    assert (muted.send, muted.log_after) == (False, None)
    assert not tick(group(), muted.log_after, 6).send


LOUD = TimingSettings(3, 3600, announce_after_swallowed_resolve=True)


def test_AS_6_with_the_setting_the_next_firing_after_a_swallowed_resolve_is_told() -> None:
    swallowed = tick(group(muted_resolved="a"), told("a", settings=LOUD), settings=LOUD)
    assert not swallowed.send
    assert tick(group("a"), swallowed.log_after, 6, LOUD).why == "new_alerts"


def test_AS_6_with_the_setting_a_silence_that_merely_ends_stays_quiet() -> None:
    muted = tick(group(muted_firing="a"), told("a", settings=LOUD), settings=LOUD)
    assert not tick(group("a"), muted.log_after, 6, LOUD).send


def with_unsent(
    view: GroupView, log: LogEntry | None, unsent: LogEntry, settings: TimingSettings = SETTINGS
) -> Decision:
    return decide(view, log, after(3), settings, unsent=unsent)


def test_DL_1_equal_messages_do_not_pile_up_while_one_is_queued() -> None:
    decision = with_unsent(group("a"), None, told("a"))
    assert (decision.send, decision.withdraw_unsent, decision.why) == (False, False, "still_queued")


def test_DL_1_a_queued_message_is_not_repeated() -> None:
    settings = TimingSettings(3, 3)
    assert (
        with_unsent(group("a"), told("", at=-3, settings=settings), told("a", settings=settings), settings).why
        == "still_queued"
    )


def test_DL_6_a_newer_state_takes_the_place_of_a_queued_message() -> None:
    decision = with_unsent(group("ab"), None, told("a"))
    assert (decision.send, decision.withdraw_unsent, decision.why) == (True, True, "first")


def test_DL_6_a_resolve_in_the_queue_is_withdrawn_when_the_alert_fires_again() -> None:
    decision = with_unsent(group("a"), told("a", at=-3), told("", "a"))
    assert (decision.send, decision.withdraw_unsent, decision.log_after) == (False, True, told("a", at=-3))


def test_DL_6_a_queued_message_is_withdrawn_when_all_of_it_is_silenced_meanwhile() -> None:
    decision = with_unsent(group(muted_firing="a"), None, told("a"))
    assert (decision.send, decision.withdraw_unsent, decision.log_after) == (False, True, None)


def test_AX_7_what_fired_and_resolved_unheard_is_not_told_as_upstream_does() -> None:
    decision = with_unsent(group("", "a"), None, told("a"))
    assert (decision.send, decision.withdraw_unsent) == (False, True)


LATE = TimingSettings(3, 3600, tell_missed_episodes=True)


def test_AX_7_with_the_setting_it_is_told_late_as_one_closed_message() -> None:
    decision = with_unsent(group("", "a"), None, told("a", settings=LATE), LATE)
    assert (decision.send, decision.why, decision.firing, decision.resolved) == (
        True, "fired_and_resolved", NONE, frozenset("a"),
    )  # fmt: skip
    assert decision.withdraw_unsent


def test_AX_7_with_the_setting_a_silenced_alert_is_not_taken_for_resolved() -> None:
    assert not with_unsent(group(muted_firing="a"), None, told("a", settings=LATE), LATE).send


small = st.frozensets(st.sampled_from("abc"))


@given(st.lists(st.tuples(small, small), min_size=1, max_size=12), st.booleans())
def test_a_receiver_always_knows_the_state_of_the_last_change(
    states: list[tuple[frozenset[str], frozenset[str]]], send_resolved: bool
) -> None:
    """Whatever happens, after each tick the last message agrees on what fires, but for resolves it does not want."""
    settings = TimingSettings(3, 10**9, send_resolved=send_resolved)
    log: LogEntry | None = None
    known: frozenset[str] = NONE
    for number, (firing, resolved) in enumerate(states):
        decision = tick(GroupView(firing, resolved - firing), log, number * 3, settings)
        log = decision.log_after
        known = decision.firing if decision.send else known
        assert firing <= known or not firing
        assert not decision.send or decision.firing | decision.resolved


@given(st.lists(st.tuples(small, st.booleans()), min_size=1, max_size=15))
def test_however_slow_the_channel_is_the_receiver_ends_up_knowing_what_fires(
    history: list[tuple[frozenset[str], bool]],
) -> None:
    """A queue of one message that is sent or not at each tick; resolved alerts stay until nothing waits."""
    last = history[-1][0]
    members: frozenset[str] = NONE
    log: LogEntry | None = None
    unsent: LogEntry | None = None
    told = 0
    for number, (firing, arrives) in enumerate([*history, (last, True), (last, True)]):
        members |= firing
        decision = decide(GroupView(firing, members - firing), log, after(3 * number), SETTINGS, unsent=unsent)
        assert not (decision.send and unsent) or decision.withdraw_unsent
        unsent = None if decision.withdraw_unsent else unsent
        if decision.send:
            unsent = decision.log_after
        elif unsent is None:
            log = decision.log_after
        if arrives and unsent is not None:
            log, unsent, told = unsent, None, told + 1
        members = members if unsent else firing
    assert unsent is None
    assert (log.firing if log else NONE) == last
    assert told <= len(history) + 1
