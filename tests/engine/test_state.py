"""The state machine, clause by clause (PA of the alerting semantics)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from alerts.engine.state import (
    ActiveSet,
    Advance,
    AlertState,
    Cause,
    DuplicateLabelsError,
    Kind,
    LimitExceededError,
    RuleSpec,
    State,
    advance,
    rule_state,
)
from monitoring.promql import Labels

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A = Labels.of({"alertname": "High", "host": "a"})
B = Labels.of({"alertname": "High", "host": "b"})
NOTHING: Mapping[Labels, AlertState] = {}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def active(*labels: Labels, value: float = 95.0) -> ActiveSet:
    return ActiveSet(labels, [value] * len(labels))


class Rule:
    """A rule that is evaluated again and again."""

    def __init__(self, spec: RuleSpec) -> None:
        self.spec = spec
        self.last = Advance({}, (), (), ())

    def sees(self, seconds: float, *labels: Labels, value: float = 95.0) -> Advance:
        self.last = advance(self.last.states, active(*labels, value=value), self.spec, at(seconds))
        return self.last

    def kinds(self) -> list[Kind]:
        return [transition.kind for transition in self.last.transitions]


def test_PA_3_two_elements_of_one_identity_are_an_error() -> None:
    with pytest.raises(DuplicateLabelsError, match=r'same labelset after applying alert labels.*host="a"'):
        advance(NOTHING, active(A, B, A), RuleSpec(), START)


def test_PA_4_a_new_element_is_pending_since_then() -> None:
    found = Rule(RuleSpec(hold_seconds=30)).sees(0, A)
    assert (found.states[A].state, found.states[A].active_since) == (State.PENDING, at(0))


def test_PA_4_fires_at_the_first_slot_at_or_after_for() -> None:
    rule = Rule(RuleSpec(hold_seconds=40))
    states = [rule.sees(seconds, A).states[A].state for seconds in (0, 15, 30, 45)]
    assert states == [State.PENDING, State.PENDING, State.PENDING, State.FIRING]


def test_PA_4_fires_when_for_is_reached_exactly() -> None:
    rule = Rule(RuleSpec(hold_seconds=30))
    rule.sees(0, A)
    rule.sees(15, A)
    assert rule.sees(30, A).states[A].fired_at == at(30)


def test_PA_5_it_began_firing_when_for_was_over_not_when_it_became_true() -> None:
    rule = Rule(RuleSpec(hold_seconds=15))
    rule.sees(0, A)
    state = rule.sees(15, A).states[A]
    assert (state.active_since, state.fired_at) == (at(0), at(15))


def test_PA_6_without_for_it_fires_in_the_first_evaluation() -> None:
    rule = Rule(RuleSpec())
    assert rule.sees(0, A).states[A].state is State.FIRING
    assert rule.kinds() == [Kind.FIRING]


def test_PA_7_one_missing_evaluation_drops_a_pending_alert() -> None:
    rule = Rule(RuleSpec(hold_seconds=60))
    rule.sees(0, A)
    found = rule.sees(15)
    assert (found.states, found.removed, rule.kinds()) == ({}, (A,), [Kind.DROPPED])


def test_PA_7_a_dropped_alert_starts_from_zero() -> None:
    rule = Rule(RuleSpec(hold_seconds=30))
    rule.sees(0, A)
    rule.sees(15)
    rule.sees(30, A)
    assert rule.sees(45, A).states[A].state is State.PENDING
    assert rule.sees(60, A).states[A].state is State.FIRING


def test_PA_8_a_missing_alert_keeps_firing_with_its_old_value() -> None:
    rule = Rule(RuleSpec(keep_firing_seconds=30))
    rule.sees(0, A, value=97)
    state = rule.sees(15).states[A]
    assert (state.state, state.keep_firing_since, state.value) == (State.FIRING, at(15), 97)


def test_PA_8_it_resolves_when_keep_firing_for_is_over() -> None:
    rule = Rule(RuleSpec(keep_firing_seconds=30))
    rule.sees(0, A)
    states = [rule.sees(seconds).states[A].state for seconds in (15, 30, 45)]
    assert states == [State.FIRING, State.FIRING, State.INACTIVE]


def test_PA_8_an_element_that_comes_back_is_the_same_alert() -> None:
    rule = Rule(RuleSpec(keep_firing_seconds=30))
    rule.sees(0, A)
    rule.sees(15)
    state = rule.sees(30, A).states[A]
    assert (state.fired_at, state.keep_firing_since, rule.kinds()) == (at(0), None, [])


def test_PA_8_coming_back_starts_the_time_of_keep_firing_anew() -> None:
    rule = Rule(RuleSpec(keep_firing_seconds=30))
    for seconds, labels in ((0, [A]), (15, []), (30, [A]), (45, []), (60, [])):
        rule.sees(seconds, *labels)
    assert rule.last.states[A].state is State.FIRING
    assert rule.sees(75).states[A].state is State.INACTIVE


def test_PA_8_keep_firing_is_told_once() -> None:
    rule = Rule(RuleSpec(keep_firing_seconds=60))
    rule.sees(0, A)
    rule.sees(15)
    assert rule.kinds() == [Kind.KEEP_FIRING]
    rule.sees(30)
    assert rule.kinds() == []


def test_PA_8_does_not_keep_a_pending_alert() -> None:
    rule = Rule(RuleSpec(hold_seconds=60, keep_firing_seconds=300))
    rule.sees(0, A)
    assert rule.sees(15).states == {}


def test_PA_9_a_missing_firing_alert_is_resolved_at_that_evaluation() -> None:
    rule = Rule(RuleSpec())
    rule.sees(0, A)
    state = rule.sees(15).states[A]
    assert (state.state, state.resolved_at, state.resolved_cause) == (State.INACTIVE, at(15), Cause.RECOVERED)


def test_PA_10_a_resolved_alert_is_kept_for_15_minutes() -> None:
    rule = Rule(RuleSpec())
    rule.sees(0, A)
    rule.sees(15)
    assert A in rule.sees(15 + 900).states
    found = rule.sees(15 + 915)
    assert (found.states, found.removed) == ({}, (A,))


def test_PA_10_the_value_is_refreshed_in_every_evaluation() -> None:
    rule = Rule(RuleSpec())
    rule.sees(0, A, value=95)
    assert rule.sees(15, A, value=99).states[A].value == 99


def test_PA_11_a_relapse_is_a_new_alert_with_its_own_clock() -> None:
    rule = Rule(RuleSpec(hold_seconds=15))
    rule.sees(0, A)
    rule.sees(15, A)
    rule.sees(30)
    state = rule.sees(45, A).states[A]
    assert (state.state, state.active_since, state.resolved_at, state.last_sent_at) == (
        State.PENDING,
        at(45),
        None,
        None,
    )


def test_PA_12_more_alerts_than_the_limit_are_an_error() -> None:
    with pytest.raises(LimitExceededError, match="exceeded limit of 1 with 2 alerts"):
        advance(NOTHING, active(A, B), RuleSpec(hold_seconds=60, limit=1), START)


def test_PA_12_resolved_alerts_do_not_count_towards_the_limit() -> None:
    rule = Rule(RuleSpec(limit=1))
    rule.sees(0, A)
    assert rule.sees(15, B).states[B].state is State.FIRING


def test_PA_12_kept_alerts_count_towards_the_limit() -> None:
    rule = Rule(RuleSpec(limit=1, keep_firing_seconds=60))
    rule.sees(0, A)
    with pytest.raises(LimitExceededError):
        rule.sees(15, B)


def test_PA_14_an_alert_whose_value_is_nan_is_active_like_any_other() -> None:
    assert Rule(RuleSpec()).sees(0, A, value=float("nan")).states[A].state is State.FIRING


def test_PA_16_the_rule_is_as_far_as_its_most_advanced_alert() -> None:
    rule = Rule(RuleSpec(hold_seconds=15))
    assert rule.sees(0, A).state is State.PENDING
    assert rule.sees(15, A, B).state is State.FIRING
    assert rule_state([]) is State.INACTIVE


def test_an_alert_that_just_goes_on_is_not_listed_as_changed() -> None:
    rule = Rule(RuleSpec())
    rule.sees(0, A, value=95)
    found = rule.sees(15, A, value=96)
    assert (found.changed, found.transitions, found.states[A].last_seen) == ((), (), at(15))


def test_a_pending_alert_that_just_waits_is_not_listed_as_changed() -> None:
    rule = Rule(RuleSpec(hold_seconds=60))
    rule.sees(0, A)
    assert rule.sees(15, A, value=99).changed == ()


def test_values_may_come_as_an_array() -> None:
    found = advance(NOTHING, ActiveSet([A, B], np.array([1.0, 2.0])), RuleSpec(), START)
    assert [state.value for state in found.states.values()] == [1.0, 2.0]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        advance(NOTHING, ActiveSet([A, B], [1.0]), RuleSpec(), START)


def test_annotations_are_refreshed_when_given_and_kept_when_not() -> None:
    first = advance(NOTHING, ActiveSet([A], [1.0], annotations=[(("summary", "one"),)]), RuleSpec(), at(0))
    kept = advance(first.states, ActiveSet([A], [2.0]), RuleSpec(), at(15))
    renewed = advance(kept.states, ActiveSet([A], [3.0], annotations=[(("summary", "three"),)]), RuleSpec(), at(30))
    assert kept.states[A].annotations == (("summary", "one"),)
    assert renewed.states[A].annotations == (("summary", "three"),)


def test_each_threshold_brings_its_own_hold_time() -> None:
    columns = ActiveSet([A, B], [95, 95], limits=[80, 90], threshold_ids=[1, 2], hold_seconds=[0, None])
    found = advance(NOTHING, columns, RuleSpec(hold_seconds=60), START)
    assert [found.states[labels].state for labels in (A, B)] == [State.FIRING, State.PENDING]


def test_another_limit_changes_the_alert_without_a_transition() -> None:
    first = advance(NOTHING, ActiveSet([A], [95], limits=[80.0], threshold_ids=[1]), RuleSpec(), at(0))
    found = advance(first.states, ActiveSet([A], [95], limits=[90.0], threshold_ids=[2]), RuleSpec(), at(15))
    assert [(state.limit, state.threshold_id) for state in found.changed] == [(90.0, 2)]
    assert (found.transitions, found.states[A].fired_at) == ((), at(0))


def test_a_reason_names_value_limit_and_row() -> None:
    columns = ActiveSet([A], [95], limits=[80.0], threshold_ids=[41])
    (transition,) = advance(NOTHING, columns, RuleSpec(), START).transitions
    assert transition.reason == "Condition is true: value 95, limit 80 (row 41); the rule fires at once."


def test_a_recovery_tells_the_value_of_now() -> None:
    first = advance(NOTHING, ActiveSet([A], [95], limits=[80.0]), RuleSpec(), at(0))
    (transition,) = advance(first.states, active(), RuleSpec(), at(15), data={A: 60.0}).transitions
    assert transition.reason == "Condition is no longer true: value 60, limit 80."


def test_previous_states_are_left_as_they_were() -> None:
    first = advance(NOTHING, active(A), RuleSpec(), at(0))
    before = dict(first.states)
    advance(first.states, active(), RuleSpec(), at(15))
    assert first.states == before
