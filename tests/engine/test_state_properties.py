"""What holds for any history of a rule: rows written for what changed are the whole state, also over restarts."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.state import ActiveSet, Advance, AlertState, NoDataPolicy, RuleSpec, State, advance
from monitoring.promql import Labels

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALERTS = [Labels.of({"alertname": "High", "host": host}) for host in "abc"]
LASTING = 12  # fields of AlertState before annotations, value and last_seen

# Per evaluation and alert: a value, or None for no data. Over 80 is too much.
histories = st.lists(st.tuples(*[st.sampled_from([None, 50.0, 95.0, 99.0]) for _ in ALERTS]), min_size=1, max_size=25)
specs = st.builds(
    RuleSpec,
    hold_seconds=st.sampled_from([0.0, 15.0, 40.0]),
    keep_firing_seconds=st.sampled_from([0.0, 30.0]),
    no_data=st.sampled_from(NoDataPolicy),
    no_data_seconds=st.sampled_from([0.0, 30.0]),
)
States = dict[Labels, AlertState]


def columns(values: tuple[float | None, ...]) -> tuple[ActiveSet, dict[Labels, float]]:
    data = {labels: value for labels, value in zip(ALERTS, values, strict=True) if value is not None}
    over = {labels: value for labels, value in data.items() if value > 80}
    return ActiveSet(list(over), list(over.values()), limits=[80.0] * len(over)), data


def lasting(states: States) -> dict[Labels, tuple[object, ...]]:
    return {labels: state[:LASTING] for labels, state in states.items()}


def told(step: Advance) -> list[tuple[str, ...]]:
    """Return what was told, in an order that does not depend on that of the rows."""
    return sorted((str(t.labels), t.kind, t.after, t.cause) for t in step.transitions)


@given(histories, specs)
def test_rows_of_changed_and_removed_alerts_are_the_whole_state(
    history: list[tuple[float | None, ...]], spec: RuleSpec
) -> None:
    states: States = {}
    rows: States = {}
    for number, values in enumerate(history):
        active, data = columns(values)
        step = advance(states, active, spec, START + timedelta(seconds=15 * number), data, ALERTS)
        states = step.states
        rows.update({state.labels: state for state in step.changed})
        for labels in step.removed:
            rows.pop(labels, None)
        assert lasting(rows) == lasting(states)


@given(histories, specs, st.integers(0, 24))
def test_a_restart_from_rows_changes_nothing_that_is_told(
    history: list[tuple[float | None, ...]], spec: RuleSpec, restart: int
) -> None:
    states: States = {}
    restarted: States = {}
    rows: States = {}
    for number, values in enumerate(history):
        active, data = columns(values)
        at = START + timedelta(seconds=15 * number)
        step = advance(states, active, spec, at, data, ALERTS)
        again = advance(rows if number == restart else restarted, active, spec, at, data, ALERTS)
        assert told(again) == told(step)
        states, restarted = step.states, again.states
        rows.update({state.labels: state for state in step.changed})
        for labels in step.removed:
            rows.pop(labels, None)


@given(histories, specs)
def test_transitions_tell_every_change_of_state(history: list[tuple[float | None, ...]], spec: RuleSpec) -> None:
    states: States = {}
    last_told = dict.fromkeys(ALERTS, State.INACTIVE)
    for number, values in enumerate(history):
        active, data = columns(values)
        step = advance(states, active, spec, START + timedelta(seconds=15 * number), data, ALERTS)
        for transition in step.transitions:
            last_told[transition.labels] = transition.after
        states = step.states
        now = {labels: states[labels].state if labels in states else State.INACTIVE for labels in ALERTS}
        assert now == last_told
