"""What becomes of an alert whose series stops reporting, by policy."""

from datetime import UTC, datetime, timedelta

from alerts.engine.state import ActiveSet, Advance, Cause, Kind, NoDataPolicy, RuleSpec, State, advance
from monitoring.promql import Labels

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A = Labels.of({"alertname": "High", "host": "a"})
B = Labels.of({"alertname": "High", "host": "b"})


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Rule:
    """A rule with thresholds: what has data is known in every evaluation."""

    def __init__(self, policy: NoDataPolicy, seconds: float = 0.0, hold: float = 0.0, keep: float = 0.0) -> None:
        self.spec = RuleSpec(hold, keep, policy, seconds)
        self.last = Advance({}, (), (), ())

    def step(self, seconds: float, value: float | None, expected: tuple[Labels, ...] = ()) -> Advance:
        """Evaluate `A > 80` with A at a value, or without data."""
        data = {} if value is None else {A: value}
        is_over = value is not None and value > 80
        columns = ActiveSet([A], [value], limits=[80.0]) if is_over else ActiveSet([], [])
        self.last = advance(self.last.states, columns, self.spec, at(seconds), data, expected)
        return self.last

    def kinds(self) -> list[Kind]:
        return [transition.kind for transition in self.last.transitions]


def test_keep_leaves_a_firing_alert_as_it_is_and_says_so_once() -> None:
    rule = Rule(NoDataPolicy.KEEP)
    rule.step(0, 95)
    state = rule.step(15, None).states[A]
    assert (state.state, state.no_data_since, rule.kinds()) == (State.FIRING, at(15), [Kind.NO_DATA])
    rule.step(30, None)
    assert (rule.kinds(), rule.last.changed) == ([], ())


def test_keep_holds_a_firing_alert_for_ever() -> None:
    rule = Rule(NoDataPolicy.KEEP)
    rule.step(0, 95)
    rule.step(15, None)
    assert rule.step(30 * 86_400, None).states[A].state is State.FIRING


def test_data_that_is_back_and_too_high_goes_on_with_the_same_alert() -> None:
    rule = Rule(NoDataPolicy.KEEP)
    rule.step(0, 95)
    rule.step(15, None)
    state = rule.step(60, 97).states[A]
    assert (state.fired_at, state.no_data_since, rule.kinds()) == (at(0), None, [Kind.DATA_BACK])


def test_data_that_is_back_and_low_resolves_as_recovered() -> None:
    rule = Rule(NoDataPolicy.KEEP)
    rule.step(0, 95)
    rule.step(15, None)
    state = rule.step(60, 10).states[A]
    assert rule.kinds() == [Kind.DATA_BACK, Kind.RESOLVED]
    assert (state.resolved_cause, state.no_data_since) == (Cause.RECOVERED, None)


def test_keep_stops_the_clock_of_a_pending_alert() -> None:
    rule = Rule(NoDataPolicy.KEEP, hold=60)
    for seconds, value in ((0, 95), (15, 95), (30, None), (75, None), (90, 95)):
        rule.step(seconds, value)
    assert rule.last.states[A].active_since == at(60)
    assert rule.step(105, 95).states[A].state is State.PENDING
    assert rule.step(120, 95).states[A].state is State.FIRING


def test_keep_drops_a_pending_alert_after_15_minutes_without_data() -> None:
    rule = Rule(NoDataPolicy.KEEP, hold=3600)
    rule.step(0, 95)
    rule.step(15, None)
    rule.step(915, None)
    assert A in rule.last.states
    rule.step(930, None)
    assert (rule.last.states, rule.kinds()) == ({}, [Kind.DROPPED])


def test_keep_firing_runs_out_although_data_went_away_meanwhile() -> None:
    rule = Rule(NoDataPolicy.KEEP, keep=30)
    rule.step(0, 95)
    rule.step(15, 10)
    assert rule.step(30, None).states[A].state is State.FIRING
    assert rule.step(45, None).states[A].resolved_cause is Cause.RECOVERED


def test_resolve_ends_the_alert_for_lack_of_data_and_never_calls_it_recovered() -> None:
    rule = Rule(NoDataPolicy.RESOLVE)
    rule.step(0, 95)
    state = rule.step(15, None).states[A]
    (transition,) = rule.last.transitions
    assert (state.resolved_cause, transition.cause) == (Cause.NO_DATA, Cause.NO_DATA)
    assert transition.reason.endswith("resolved for lack of data, not recovered.")


def test_resolve_obeys_keep_firing() -> None:
    rule = Rule(NoDataPolicy.RESOLVE, keep=30)
    rule.step(0, 95)
    states = [rule.step(seconds, None).states[A].state for seconds in (15, 30, 45)]
    assert states == [State.FIRING, State.FIRING, State.INACTIVE]


def test_resolve_after_waits_for_its_time() -> None:
    rule = Rule(NoDataPolicy.RESOLVE_AFTER, seconds=60)
    rule.step(0, 95)
    states = [rule.step(seconds, None).states[A].state for seconds in (15, 60, 75)]
    assert states == [State.FIRING, State.FIRING, State.INACTIVE]
    assert rule.last.states[A].resolved_cause is Cause.NO_DATA


def test_fire_makes_a_known_series_without_data_fire_after_for() -> None:
    rule = Rule(NoDataPolicy.FIRE, hold=30)
    rule.step(0, 10)
    assert rule.step(15, None, expected=(A,)).states[A].state is State.PENDING
    assert rule.kinds() == [Kind.NO_DATA, Kind.PENDING]
    rule.step(30, None, expected=(A,))
    state = rule.step(45, None, expected=(A,)).states[A]
    assert (state.state, state.no_data_since) == (State.FIRING, at(15))


def test_fire_counts_time_without_data_for_an_alert_that_is_pending() -> None:
    rule = Rule(NoDataPolicy.FIRE, hold=30)
    rule.step(0, 95)
    rule.step(15, None)
    assert rule.step(30, None).states[A].state is State.FIRING


def test_fire_ends_when_data_is_back_and_low() -> None:
    rule = Rule(NoDataPolicy.FIRE)
    rule.step(0, None, expected=(A,))
    state = rule.step(15, 10).states[A]
    assert (state.state, state.resolved_cause) == (State.INACTIVE, Cause.RECOVERED)


def test_fire_leaves_series_with_data_alone() -> None:
    rule = Rule(NoDataPolicy.FIRE)
    assert rule.step(0, 10, expected=(A,)).states == {}


def test_without_knowledge_of_data_a_missing_element_is_resolved_as_in_prometheus() -> None:
    first = advance({}, ActiveSet([A, B], [1, 1]), RuleSpec(no_data=NoDataPolicy.KEEP), at(0))
    found = advance(first.states, ActiveSet([A], [1]), RuleSpec(no_data=NoDataPolicy.KEEP), at(15), data=None)
    assert found.states[B].resolved_cause is Cause.RECOVERED
