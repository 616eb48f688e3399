"""What one evaluation does to the alerts of a rule: pending, firing, keep firing, resolved, without data.

Hides the state machine of Prometheus 2.42, rules/alerting.go Eval, and what the portal adds to it: limits and hold
times per series (threshold rows) and a policy for series that stop reporting. Restart and sending are in resend.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alerts.engine import reasons
from alerts.engine.alert_state import (
    RESOLVED_RETENTION,
    ActiveSet,
    Advance,
    AlertState,
    Annotations,
    Cause,
    DuplicateLabelsError,
    Kind,
    LimitExceededError,
    NoDataPolicy,
    RuleSpec,
    State,
    StateError,
    Transition,
    rule_state,
)
from monitoring.promql import Labels

__all__ = [
    "RESOLVED_RETENTION",
    "ActiveSet",
    "Advance",
    "AlertState",
    "Annotations",
    "Cause",
    "DuplicateLabelsError",
    "Kind",
    "LimitExceededError",
    "NoDataPolicy",
    "RuleSpec",
    "State",
    "StateError",
    "Transition",
    "advance",
    "rule_state",
]

# Positions in AlertState: those of (hold_seconds, threshold_id, limit), and of all that makes an alert worth a row.
_TERMS = slice(9, 12)
_LASTING = slice(0, 12)
_Item = TypeVar("_Item")
Terms = tuple[float, int | None, float | None]


def advance(
    previous: Mapping[Labels, AlertState],
    active: ActiveSet,
    spec: RuleSpec,
    at: datetime,
    data: Mapping[Labels, float] | None = None,
    expected: Iterable[Labels] = (),
) -> Advance:
    """Return what the alerts of a rule are after the evaluation at `at`, and what happened.

    `data` maps every identity that has a value now, true or false, to that value. With it a missing alert is known to
    be false or without data, and the no-data policy applies; None means plain Prometheus: missing is resolved.
    `expected` names identities that reported lately; only the policy "fire" looks at it.
    Raises DuplicateLabelsError or LimitExceededError, which say what the caller does with the state.
    """
    step = _Step(previous, spec, at, data)
    step.take(active)
    if data is not None and spec.no_data is NoDataPolicy.FIRE:
        step.fire_without_data(expected)
    step.finish_missing()
    step.check_limit()
    return Advance(step.states, tuple(step.transitions), tuple(step.changed), tuple(step.removed))


@dataclass(slots=True)
class _Step:
    """One evaluation at work."""

    previous: Mapping[Labels, AlertState]
    spec: RuleSpec
    at: datetime
    data: Mapping[Labels, float] | None
    states: dict[Labels, AlertState] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    changed: list[AlertState] = field(default_factory=list)
    removed: list[Labels] = field(default_factory=list)

    def take(self, active: ActiveSet) -> None:
        """Enter every active element; the common case, an alert that just goes on, takes the short way."""
        values = _plain(active.values)
        annotations: Iterable[Annotations | None] = repeat(None) if active.annotations is None else active.annotations
        states, known, at = self.states, self.previous.get, self.at
        firing, pending, renew = State.FIRING, State.PENDING, tuple.__new__
        for labels, value, terms, notes in zip(
            active.identities, values, self._terms(active), annotations, strict=False
        ):
            old = known(labels)
            if (
                old is not None
                and (old[1] is firing or (old[1] is pending and (at - old[2]).total_seconds() < terms[0]))
                and old[4] is None
                and old[7] is None
                and old[_TERMS] == terms
            ):
                kept = old[12] if notes is None else notes
                states[labels] = renew(AlertState, (*old[:12], kept, value, at))
            else:
                self._enter(old, labels, value, terms, notes)
        if len(states) != len(active.identities):
            raise DuplicateLabelsError(_first_repeated(active.identities))

    def _terms(self, active: ActiveSet) -> Iterator[Terms]:
        """Yield (hold_seconds, threshold_id, limit) per element."""
        default = self.spec.hold_seconds
        if active.limits is None and active.threshold_ids is None and active.hold_seconds is None:
            return repeat((default, None, None))
        own = active.hold_seconds
        holds = repeat(default) if own is None else (default if hold is None else hold for hold in _plain(own))
        ids: Iterable[int | None] = repeat(None) if active.threshold_ids is None else _plain(active.threshold_ids)
        limits: Iterable[float | None] = repeat(None) if active.limits is None else _plain(active.limits)
        return zip(holds, ids, limits, strict=False)

    def _enter(
        self, old: AlertState | None, labels: Labels, value: float, terms: Terms, notes: Annotations | None
    ) -> None:
        """Enter one active element that is new, pending, back from keep firing or from no data, or has new terms."""
        hold_seconds, threshold_id, limit = terms
        if old is None or not old.is_active:
            new = AlertState(
                labels,
                State.PENDING,
                self.at,
                hold_seconds=hold_seconds,
                threshold_id=threshold_id,
                limit=limit,
                annotations=notes or (),
                value=value,
            )
            before = State.INACTIVE
        else:
            before = old.state
            new = old._replace(
                keep_firing_since=None,
                hold_seconds=hold_seconds,
                threshold_id=threshold_id,
                limit=limit,
                annotations=old.annotations if notes is None else notes,
                value=value,
            )
            new = self._with_data_again(new)
        if new.state is State.PENDING:
            new = self._fire_or_wait(new, before)
        self._keep(old, new._replace(last_seen=self.at))

    def _with_data_again(self, state: AlertState) -> AlertState:
        """Note that data is back; time without data does not count towards the hold time of a pending alert."""
        if state.no_data_since is None:
            return state
        gone_for = self.at - state.no_data_since
        self._tell(
            Kind.DATA_BACK, state, state.state, reasons.data_back(gone_for.total_seconds(), state, self.spec.unit)
        )
        counted = self.spec.no_data is NoDataPolicy.FIRE or state.state is State.FIRING
        since = state.active_since if counted else state.active_since + gone_for
        return state._replace(no_data_since=None, active_since=since)

    def _fire_or_wait(self, state: AlertState, before: State) -> AlertState:
        """PA-4, PA-6: fire once the condition has held for the hold time, in the first evaluation when that is 0."""
        held_seconds = (self.at - state.active_since).total_seconds()
        if held_seconds >= state.hold_seconds:
            fired = state._replace(state=State.FIRING, fired_at=self.at)
            is_blind = state.no_data_since is not None
            text = (
                reasons.fires_without_data(held_seconds)
                if is_blind
                else reasons.fires(held_seconds, fired, self.spec.unit)
            )
            self._tell(Kind.FIRING, fired, before, text, Cause.NO_DATA if is_blind else Cause.NONE)
            return fired
        if before is State.INACTIVE:
            self._tell(Kind.PENDING, state, before, reasons.waits(state, self.spec.unit))
        return state

    def _keep(self, old: AlertState | None, new: AlertState) -> None:
        self.states[new.labels] = new
        if old is None or old[_LASTING] != new[_LASTING]:
            self.changed.append(new)

    def fire_without_data(self, expected: Iterable[Labels]) -> None:
        """Policy "fire": a series known before that has no data now counts as active, with value NaN."""
        data = self.data or {}
        held = (labels for labels, state in self.previous.items() if state.is_active)
        for labels in dict.fromkeys((*held, *expected)):
            if labels in self.states or labels in data:
                continue
            old = self.previous.get(labels)
            if old is None or not old.is_active:
                hold = self.spec.hold_seconds
                new = AlertState(labels, State.PENDING, self.at, hold_seconds=hold, no_data_since=self.at)
                before = State.INACTIVE
            else:
                before = old.state
                new = old._replace(keep_firing_since=None, no_data_since=old.no_data_since or self.at)
            if old is None or old.no_data_since is None or not old.is_active:
                self._tell(Kind.NO_DATA, new, before, reasons.no_data_fires(), Cause.NO_DATA)
            if new.state is State.PENDING:
                new = self._fire_or_wait(new, before)
            self._keep(old, new)

    def finish_missing(self) -> None:
        """Decide about every alert that was there before and is not active now."""
        for labels, old in self.previous.items():
            if labels in self.states:
                continue
            if old.state is State.INACTIVE:
                self._retain(old)
            elif self.data is None or labels in self.data:
                self._condition_false(old)
            else:
                self._without_data(old)

    def _retain(self, old: AlertState) -> None:
        """PA-10: remember a resolved alert for 15 minutes."""
        if old.resolved_at is None or self.at - old.resolved_at > RESOLVED_RETENTION:
            self.removed.append(old.labels)
        else:
            self.states[old.labels] = old

    def _condition_false(self, old: AlertState) -> None:
        """PA-7, PA-8, PA-9: drop a pending alert, keep or resolve a firing one."""
        current = None if self.data is None else self.data[old.labels]
        state = old
        if old.no_data_since is not None:
            gone_seconds = (self.at - old.no_data_since).total_seconds()
            self._tell(Kind.DATA_BACK, old, old.state, reasons.data_back(gone_seconds, old, self.spec.unit))
            state = old._replace(no_data_since=None)
        self._end(old, state, Cause.RECOVERED, current)

    def _end(self, old: AlertState, state: AlertState, cause: Cause, current: float | None) -> None:
        """Drop, keep firing for a while, or resolve; `current` is the value now where it is known."""
        if state.state is State.PENDING:
            held_seconds = (self.at - state.active_since).total_seconds()
            ended = state._replace(state=State.INACTIVE)
            self._tell(
                Kind.DROPPED,
                ended,
                State.PENDING,
                reasons.dropped(held_seconds, state, cause, current, self.spec.unit),
                cause,
            )
            self.removed.append(state.labels)
            return
        if self.spec.keep_firing_seconds > 0:
            since = state.keep_firing_since or self.at
            if (self.at - since).total_seconds() < self.spec.keep_firing_seconds:
                if state.keep_firing_since is None:
                    text = reasons.keeps_firing(self.spec.keep_firing_seconds, state, cause, current, self.spec.unit)
                    self._tell(Kind.KEEP_FIRING, state, State.FIRING, text, cause)
                self._keep(old, state._replace(keep_firing_since=since))
                return
        kept_seconds = self.spec.keep_firing_seconds if state.keep_firing_since else 0.0
        self._resolve(old, state, cause, reasons.resolved(state, cause, current, kept_seconds, self.spec.unit))

    def _resolve(self, old: AlertState, state: AlertState, cause: Cause, reason: str) -> None:
        ended = state._replace(state=State.INACTIVE, resolved_at=self.at, resolved_cause=cause)
        self._tell(Kind.RESOLVED, ended, State.FIRING, reason, cause)
        self._keep(old, ended)

    def _without_data(self, old: AlertState) -> None:
        """Apply the no-data policy; "fire" was applied before."""
        if self.spec.no_data is NoDataPolicy.RESOLVE:
            self._end(old, old, Cause.NO_DATA, None)
            return
        if old.keep_firing_since is not None:
            # Its condition was false when last seen: the lack of data must not hold it up for ever.
            self._end(old, old, Cause.RECOVERED, None)
            return
        since = old.no_data_since or self.at
        gone_seconds = (self.at - since).total_seconds()
        if self.spec.no_data is NoDataPolicy.RESOLVE_AFTER and gone_seconds >= self.spec.no_data_seconds:
            self._end_for_good(old, gone_seconds)
        elif old.state is State.PENDING and self.at - since > RESOLVED_RETENTION:
            # Nobody was told of it, and a pending alert of a series that is gone for good would stay for ever.
            self._end_for_good(old, gone_seconds)
        else:
            if old.no_data_since is None:
                text = reasons.no_data_kept(self._resolve_after_seconds(), old, self.spec.unit)
                self._tell(Kind.NO_DATA, old, old.state, text, Cause.NO_DATA)
            self._keep(old, old._replace(no_data_since=since))

    def _end_for_good(self, old: AlertState, gone_seconds: float) -> None:
        """End an alert whose series has been without data long enough; keep firing is over by then."""
        if old.state is State.PENDING:
            self._end(old, old, Cause.NO_DATA, None)
        else:
            self._resolve(old, old, Cause.NO_DATA, reasons.gone(gone_seconds, old, self.spec.unit))

    def _resolve_after_seconds(self) -> float | None:
        return self.spec.no_data_seconds if self.spec.no_data is NoDataPolicy.RESOLVE_AFTER else None

    def check_limit(self) -> None:
        """PA-12: refuse the whole evaluation when too many alerts are pending or firing."""
        if self.spec.limit <= 0 or len(self.states) <= self.spec.limit:
            return
        count = sum(state.is_active for state in self.states.values())
        if count > self.spec.limit:
            raise LimitExceededError(self.spec.limit, count)

    def _tell(self, kind: Kind, state: AlertState, before: State, reason: str, cause: Cause = Cause.NONE) -> None:
        self.transitions.append(
            Transition(
                kind,
                state.labels,
                self.at,
                before,
                state.state,
                state.value,
                state.limit,
                state.threshold_id,
                reason,
                cause,
            )
        )


def _plain(column: Sequence[_Item] | NDArray[Any]) -> Sequence[_Item]:
    """Return a column as Python values, which is what states and rows hold."""
    return column.tolist() if isinstance(column, np.ndarray) else column


def _first_repeated(identities: Sequence[Labels]) -> Labels:
    seen: set[Labels] = set()
    for labels in identities:
        if labels in seen:
            return labels
        seen.add(labels)
    raise ValueError("columns of different lengths: every element needs its identity, value and terms")
