"""What a rule finds at one time: which series have a value, and for which of them the condition holds.

Joins the query's answer with identities and thresholds. The evaluator and the live check of the form both call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from alerts.engine import thresholds as limits
from alerts.engine.identity import SEVERITY
from alerts.engine.state import ActiveSet, Advance, AlertState, DuplicateLabelsError, NoDataPolicy, State
from alerts.engine.template import Context, Surroundings, expand
from alerts.engine.thresholds import NO_ROW
from alerts.prepared import PreparedRule
from monitoring import promql, query
from monitoring.promql import NAME, Labels

# How far back a first evaluation looks for series that ought to report (no-data policy "fire").
EXPECTED_BACK = timedelta(minutes=5)
_NOTHING = ActiveSet((), ())


@dataclass
class Finding:
    """The outcome of asking a rule: its alerts' identities where the condition holds, and all that has data.

    `elements` are the label sets of the active elements as the query gave them, in the order of `active`.
    `data` maps every identity with a value to it; None for a plain condition, where false and missing look alike.
    """

    at: datetime
    series_count: int = 0
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    labels: Sequence[Labels] = ()
    active: ActiveSet = _NOTHING
    elements: Sequence[Labels] = ()
    data: Mapping[Labels, float] | None = None
    expected: frozenset[Labels] = frozenset()
    resolution: limits.Resolution | None = None
    # With thresholds, by severity: the identity of every series, and which are past their limit.
    identities: Mapping[str, Sequence[Labels]] = field(default_factory=dict)
    past: Mapping[str, np.ndarray] = field(default_factory=dict)
    record_labels: Sequence[Labels] = ()
    record_values: Sequence[float] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    warnings: tuple[str, ...] = ()

    def with_annotations(self, prepared: PreparedRule, step: Advance) -> Advance:
        """Expand the annotations of the alerts that changed; one that ends tells its last true value (PA-10)."""
        if not prepared.annotations or not step.changed:
            return step
        place = {identity: index for index, identity in enumerate(self.active.identities)}
        states, changed = dict(step.states), []
        for state in step.changed:
            index = place.get(state.labels)
            if index is not None:
                prepared.elements[state.labels] = self.elements[index]
            element = prepared.elements.get(state.labels)
            if element is not None:
                state = state._replace(annotations=self._expanded(prepared, state, element))
                states[state.labels] = state
            if not state.is_active:
                prepared.elements.pop(state.labels, None)
            changed.append(state)
        return replace(step, states=states, changed=tuple(changed))

    def _expanded(self, prepared: PreparedRule, state: AlertState, element: Labels) -> tuple[tuple[str, str], ...]:
        context = Context(element, state.value, state.limit, state.labels.get("severity"), self.surroundings)
        return tuple((name, expand(found, context)) for name, found in prepared.annotations.items())


def find(
    prepared: PreparedRule,
    at: datetime,
    select: promql.Select,
    previous: Mapping[Labels, AlertState],
    bounds: promql.Limits | None = None,
) -> Finding:
    """Ask the rule's question at `at` and say where its condition holds; raises QueryError and StateError."""
    assert prepared.query is not None  # noqa: S101  (callers look at `problem` first)
    result = query.instant(prepared.query, at, select=select, limits=bounds)
    labels, values = _elements(result)
    finding = Finding(at, len(labels), values, labels, warnings=(*result.warnings, *result.infos))
    finding.surroundings = _surroundings(prepared, at, select)
    judge(prepared, finding, previous)
    return finding


def judge(prepared: PreparedRule, finding: Finding, previous: Mapping[Labels, AlertState]) -> None:
    """Fill in where the condition holds; a backtest calls it with answers that it read for many slots at once."""
    if prepared.is_recording:
        _record(prepared, finding)
    elif prepared.has_thresholds:
        _compare(prepared, finding, previous)
        if prepared.spec.no_data is NoDataPolicy.FIRE:
            finding.expected = _expected(prepared, finding)
    else:
        _take_all(prepared, finding)


def _elements(result: promql.Result) -> tuple[Sequence[Labels], np.ndarray]:
    """Labels and values; a scalar is one element without labels (PA-1)."""
    if result.type == "scalar":
        return (Labels.of({}),), np.atleast_1d(result.values)
    if result.type != "vector":
        raise promql.EvaluationError(
            f"the expression gives a {result.type}; a rule needs an instant vector or a scalar"
        )
    return result.labels, result.values


def _surroundings(prepared: PreparedRule, at: datetime, select: promql.Select) -> Surroundings:
    def ask(text: str) -> list[tuple[Labels, float]]:
        labels, values = _elements(query.instant(text, at, select=select))
        return list(zip(labels, values.tolist(), strict=True))

    around = prepared.outgoing
    return Surroundings(dict(around.external_labels), around.external_url, query=ask, at_seconds=at.timestamp())


def _record(prepared: PreparedRule, finding: Finding) -> None:
    """The series of a recording rule: its name, its labels over the element's (Prometheus, rules/recording.go)."""
    own = {**prepared.rule.labels, NAME: prepared.rule.name}
    finding.record_labels = [Labels.of({**element.as_dict(), **own}) for element in finding.labels]
    finding.record_values = finding.values.tolist()
    if len(set(finding.record_labels)) != len(finding.record_labels):
        seen: set[Labels] = set()
        raise DuplicateLabelsError(next(one for one in finding.record_labels if one in seen or seen.add(one)))  # type: ignore[func-returns-value]


def _take_all(prepared: PreparedRule, finding: Finding) -> None:
    """A plain Prometheus condition: every element is an alert."""
    values = finding.values.tolist()
    identities = prepared.identities.many(finding.labels, values, surroundings=finding.surroundings)
    finding.active = ActiveSet(identities, values)
    finding.elements = finding.labels


def _compare(prepared: PreparedRule, finding: Finding, previous: Mapping[Labels, AlertState]) -> None:
    """Lay the thresholds over the values: one identity per series and severity that has a limit for it."""
    values = finding.values.tolist()
    resolution = prepared.resolver.resolve(prepared.limits, finding.labels, finding.at)
    finding.resolution = resolution
    names = {
        severity: prepared.identities.many(
            finding.labels, values, severity, resolution.limits[severity].tolist(), finding.surroundings
        )
        for severity in resolution.severities
    }
    firing = None
    if any(state.state is State.FIRING for state in previous.values()):
        firing = {severity: _fires(identities, previous) for severity, identities in names.items()}
    past = limits.compare(finding.values, resolution, firing)
    finding.identities, finding.past = names, past
    finding.active, finding.elements = _active(finding, resolution, names, past)
    if prepared.identities.is_stable:
        finding.data = _with_data(prepared, finding, names, previous)


def _with_data(
    prepared: PreparedRule,
    finding: Finding,
    names: Mapping[str, Sequence[Labels]],
    previous: Mapping[Labels, AlertState],
) -> dict[Labels, float]:
    """Every identity whose series has a value; also at severities that no row speaks of any more: those are false."""
    if not previous and prepared.spec.no_data is not NoDataPolicy.FIRE:
        return {}
    values = finding.values.tolist()
    spoken_before = {labels.get(SEVERITY) for labels in previous} - names.keys()
    gone = {severity: prepared.identities.many(finding.labels, values, severity) for severity in spoken_before}
    return {
        identity: value
        for identities in (*names.values(), *gone.values())
        for identity, value in zip(identities, values, strict=True)
    }


def _fires(identities: Sequence[Labels], previous: Mapping[Labels, AlertState]) -> np.ndarray:
    known = previous.get
    states = (known(identity) for identity in identities)
    return np.fromiter(
        (state is not None and state.state is State.FIRING for state in states), dtype=bool, count=len(identities)
    )


def _active(
    finding: Finding,
    resolution: limits.Resolution,
    names: Mapping[str, Sequence[Labels]],
    past: Mapping[str, np.ndarray],
) -> tuple[ActiveSet, list[Labels]]:
    rows = list(_past_rows(names, past))
    winners = [resolution.rows[resolution.winners[severity][index]] for severity, index in rows]
    active = ActiveSet(
        identities=[names[severity][index] for severity, index in rows],
        values=[float(finding.values[index]) for _, index in rows],
        limits=[_limit(row, float(finding.values[index])) for row, (_, index) in zip(winners, rows, strict=True)],
        threshold_ids=[row.id or None for row in winners],
        hold_seconds=[row.hold_seconds for row in winners],
    )
    return active, [finding.labels[index] for _, index in rows]


def _past_rows(names: Mapping[str, Sequence[Labels]], past: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int]]:
    for severity in names:
        for index in np.flatnonzero(past[severity]).tolist():
            yield severity, index


def _limit(row: limits.Threshold, value: float) -> float:
    """The limit to tell: of a band the end that the value passed."""
    return row.upper if row.upper is not None and value > row.upper else row.value


def _expected(prepared: PreparedRule, finding: Finding) -> frozenset[Labels]:
    """Identities that reported in the evaluation before; after a start, those of a few minutes ago."""
    before = prepared.reported
    if before is None:
        assert prepared.query is not None  # noqa: S101
        earlier = finding.at - EXPECTED_BACK
        labels, values = _elements(query.instant(prepared.query, earlier))
        resolution = limits.resolve(prepared.limits, labels, finding.at)
        before = frozenset(
            identity
            for severity in resolution.severities
            for identity, winner in zip(
                prepared.identities.many(labels, values.tolist(), severity), resolution.winners[severity], strict=True
            )
            if winner != NO_ROW
        )
    prepared.reported = before | frozenset(finding.data or {})
    return before
