"""What alerts owe the outside: until when they are valid, and how a restart treats them.

Hides Prometheus 2.42, rules/alerting.go sendAlerts, and rules/manager.go RestoreForState.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from alerts.engine.state import AlertState, State
from monitoring.promql import Labels

# Prometheus 2.42, cmd/prometheus: --rules.alert.resend-delay, -for-grace-period and -for-outage-tolerance.
RESEND_DELAY = timedelta(minutes=1)
FOR_GRACE = timedelta(minutes=10)
OUTAGE_TOLERANCE = timedelta(hours=1)


def ends_at(
    state: AlertState, at: datetime, interval_seconds: float, resend_delay: timedelta = RESEND_DELAY
) -> datetime:
    """Return when the alert ends for a receiver: when resolved, or four periods after `at` if nobody speaks (PN-3)."""
    if state.resolved_at is not None:
        return state.resolved_at
    return at + 4 * max(timedelta(seconds=interval_seconds), resend_delay)


def starts_at(state: AlertState) -> datetime:
    """Return when the alert began to fire, which is what a receiver is told, never when it became pending (PA-5)."""
    return state.fired_at or state.active_since


def restore(
    states: Mapping[Labels, AlertState],
    last_evaluated_at: datetime,
    at: datetime,
    interval_seconds: float,
    grace: timedelta = FOR_GRACE,
    tolerance: timedelta = OUTAGE_TOLERANCE,
) -> dict[Labels, AlertState]:
    """Return the alerts as the first evaluation after a pause finds them: firing ones go on, pending clocks are mended.

    A pause shorter than two intervals changes nothing (PF-5); after a longer one the hold time of pending alerts is
    restored as Prometheus does (PF-1, PF-2).
    """
    if at - last_evaluated_at < timedelta(seconds=2 * interval_seconds):
        return dict(states)
    return {
        labels: _mended(state, last_evaluated_at, at, grace, tolerance) if state.state is State.PENDING else state
        for labels, state in states.items()
    }


def _mended(
    state: AlertState, last_evaluated_at: datetime, at: datetime, grace: timedelta, tolerance: timedelta
) -> AlertState:
    """PF-2: downtime does not count; nothing fires in the first `grace` after it unless its time was up before."""
    hold = timedelta(seconds=state.hold_seconds)
    if hold < grace or at - last_evaluated_at > tolerance:
        return state._replace(active_since=at)
    left = hold - (last_evaluated_at - state.active_since)
    if left <= timedelta(0):
        return state
    if left < grace:
        return state._replace(active_since=at + grace - hold)
    return state._replace(active_since=state.active_since + (at - last_evaluated_at))
