"""The values of the state machine: an alert, what it takes to evaluate a rule, and what an evaluation finds.

The machine itself is state.py, which gives out these names too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.engine.units import PLAIN, Unit
from monitoring.promql import Labels

# Prometheus 2.42, rules/alerting.go resolvedRetention: so long can a resolve be sent again.
RESOLVED_RETENTION = timedelta(minutes=15)

Annotations = tuple[tuple[str, str], ...]


class State(StrEnum):
    """How far one alert has come."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class Kind(StrEnum):
    """What happened to one alert in one evaluation."""

    PENDING = "pending"
    FIRING = "firing"
    KEEP_FIRING = "keep_firing"
    RESOLVED = "resolved"
    DROPPED = "dropped"
    NO_DATA = "no_data"
    DATA_BACK = "data_back"


class Cause(StrEnum):
    """Why an alert ended; NO_DATA must never be told as a recovery."""

    NONE = ""
    RECOVERED = "recovered"
    NO_DATA = "no_data"


class NoDataPolicy(StrEnum):
    """What becomes of an alert whose series has stopped reporting."""

    KEEP = "keep"
    FIRE = "fire"
    RESOLVE = "resolve"
    RESOLVE_AFTER = "resolve_after"


class StateError(Exception):
    """One evaluation of a rule that must not change or tell anything as it stands."""


class DuplicateLabelsError(StateError):
    """Two elements became the same alert; the caller keeps the rule's state as it was (PA-3, PA-13)."""

    def __init__(self, labels: Labels) -> None:
        """Keep the label set that occurred twice."""
        super().__init__(
            f"vector contains metrics with the same labelset after applying alert labels: {labels}; "
            "aggregate the expression or let the rule's labels tell the series apart"
        )
        self.labels = labels


class LimitExceededError(StateError):
    """More alerts than the group's limit; the caller deletes all state of the rule and sends nothing (PA-12)."""

    def __init__(self, limit: int, count: int) -> None:
        """Keep the limit and the number of pending and firing alerts that passed it."""
        super().__init__(f"exceeded limit of {limit} with {count} alerts")
        self.limit = limit
        self.count = count


class AlertState(NamedTuple):
    """One alert of a rule after an evaluation. A tuple, because 10,000 of them are renewed in every evaluation.

    The fields before `annotations` change only when something happened; the last three are refreshed each time.
    Times are aware UTC; `limit` is the number the value was compared with, None when the expression decides itself.
    """

    labels: Labels
    state: State
    active_since: datetime
    fired_at: datetime | None = None
    keep_firing_since: datetime | None = None
    resolved_at: datetime | None = None
    resolved_cause: Cause = Cause.NONE
    no_data_since: datetime | None = None
    last_sent_at: datetime | None = None
    hold_seconds: float = 0.0
    threshold_id: int | None = None
    limit: float | None = None
    annotations: Annotations = ()
    value: float = float("nan")
    last_seen: datetime | None = None

    @property
    def is_active(self) -> bool:
        """True while pending or firing."""
        return self.state is not State.INACTIVE


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """How a rule treats its alerts over time; times in seconds, limit 0 means none, unit is that of its values."""

    hold_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    no_data: NoDataPolicy = NoDataPolicy.KEEP
    no_data_seconds: float = 0.0
    limit: int = 0
    unit: Unit = PLAIN


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """The elements for which the rule's condition holds at one time, as columns of equal length.

    identities: the alerts' label sets (identity.py builds them). values: (n,) floats. The optional columns carry, per
    element, the limit (None, never NaN, when there is none), the winning threshold row, its hold time (None: the
    rule's) and the expanded annotations (column None: an alert keeps those it has).
    """

    identities: Sequence[Labels]
    values: Sequence[float] | NDArray[np.float64]
    limits: Sequence[float | None] | NDArray[np.float64] | None = None
    threshold_ids: Sequence[int | None] | NDArray[np.int64] | None = None
    hold_seconds: Sequence[float | None] | NDArray[np.float64] | None = None
    annotations: Sequence[Annotations] | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """One thing that happened to one alert, with a sentence that says why."""

    kind: Kind
    labels: Labels
    at: datetime
    before: State
    after: State
    value: float
    limit: float | None
    threshold_id: int | None
    reason: str
    cause: Cause = Cause.NONE


def rule_state(states: Iterable[AlertState]) -> State:
    """Return firing if any alert fires, else pending if any is pending, else inactive (PA-16)."""
    found = {state.state for state in states}
    if State.FIRING in found:
        return State.FIRING
    return State.PENDING if State.PENDING in found else State.INACTIVE


@dataclass(frozen=True, slots=True)
class Advance:
    """The outcome of one evaluation.

    states: every alert to remember, inactive ones for 15 minutes. changed: those that differ from before by more than
    value, annotations and last_seen; only these need a row. removed: forgotten identities, whose rows may go.
    """

    states: dict[Labels, AlertState]
    transitions: tuple[Transition, ...]
    changed: tuple[AlertState, ...]
    removed: tuple[Labels, ...]

    @property
    def state(self) -> State:
        """The rule's state: the most advanced of its alerts (PA-16)."""
        return rule_state(self.states.values())
