"""The sentences that say why an alert changed; hides the wording from the state machine."""

from typing import Protocol

from alerts.engine.durations import format_duration
from alerts.engine.units import PLAIN, Unit, format_value


class Measured(Protocol):
    """What a sentence needs to know of an alert."""

    @property
    def value(self) -> float:
        """The last value for which the condition held."""

    @property
    def limit(self) -> float | None:
        """The number it was compared with, None when the expression decides itself."""

    @property
    def threshold_id(self) -> int | None:
        """The row that gave the limit."""

    @property
    def hold_seconds(self) -> float:
        """How long the condition must hold before the alert fires."""


def waits(alert: Measured, unit: Unit = PLAIN) -> str:
    """Say that the condition became true and how long it must stay so."""
    hold = format_duration(alert.hold_seconds)
    return f"Condition became true: {_measure(alert, unit)}; fires when it stays so for {hold}."


def fires(held_seconds: float, alert: Measured, unit: Unit = PLAIN) -> str:
    """Say why the alert fires now."""
    if alert.hold_seconds == 0:
        return f"Condition is true: {_measure(alert, unit)}; the rule fires at once."
    held = format_duration(held_seconds)
    return (
        f"Condition has been true for {held} (asked: {format_duration(alert.hold_seconds)}): {_measure(alert, unit)}."
    )


def fires_without_data(gone_seconds: float) -> str:
    """Say that the alert fires because its series does not report."""
    return f"No data for {format_duration(gone_seconds)}: this rule fires on that."


def dropped(held_seconds: float, alert: Measured, cause: str, current: float | None, unit: Unit = PLAIN) -> str:
    """Say why a pending alert went away without firing."""
    held = f"{format_duration(held_seconds)} of {format_duration(alert.hold_seconds)}"
    return f"{_ended(alert, cause, current, unit)} after {held}: it never fired."


def keeps_firing(
    keep_firing_seconds: float, alert: Measured, cause: str, current: float | None, unit: Unit = PLAIN
) -> str:
    """Say that the alert outlives its condition for a while."""
    return (
        f"{_ended(alert, cause, current, unit)}; keeps firing for {format_duration(keep_firing_seconds)} (keep firing)."
    )


def resolved(alert: Measured, cause: str, current: float | None, kept_seconds: float, unit: Unit = PLAIN) -> str:
    """Say why a firing alert ended; a lack of data is never worded as a recovery."""
    ended = _ended(alert, cause, current, unit)
    tail = f", for {format_duration(kept_seconds)}" if kept_seconds else ""
    if cause == "no_data":
        return f"{ended}{tail}: resolved for lack of data, not recovered."
    return f"{ended}{tail}."


def gone(gone_seconds: float, alert: Measured, unit: Unit = PLAIN) -> str:
    """Say that the no-data policy ended an alert after its time."""
    lasted = f"No data for {format_duration(gone_seconds)} (last {_measure(alert, unit)})"
    return f"{lasted}: resolved for lack of data, not recovered."


def no_data_kept(resolve_after_seconds: float | None, alert: Measured, unit: Unit = PLAIN) -> str:
    """Say that the series stopped reporting and the alert stays as it is."""
    until = "" if resolve_after_seconds is None else f"; resolved after {format_duration(resolve_after_seconds)}"
    return f"No data any more (last {_measure(alert, unit)}): the alert stays as it is{until}."


def no_data_fires() -> str:
    """Say that the series stopped reporting and this rule treats that as its condition."""
    return "No data any more: this rule takes that as its condition."


def data_back(gone_seconds: float, alert: Measured, unit: Unit = PLAIN) -> str:
    """Say that the series reports again."""
    return f"Data is back after {format_duration(gone_seconds)} without (last {_measure(alert, unit)})."


def _measure(alert: Measured, unit: Unit) -> str:
    limit = "" if alert.limit is None else f", limit {format_value(alert.limit, unit)}"
    row = "" if alert.threshold_id is None else f" (row {alert.threshold_id})"
    return f"value {format_value(alert.value, unit)}{limit}{row}"


def _ended(alert: Measured, cause: str, current: float | None, unit: Unit) -> str:
    if cause == "no_data":
        return f"No data any more (last {_measure(alert, unit)})"
    if current is None:
        return f"Condition is no longer true (last {_measure(alert, unit)})"
    limit = "" if alert.limit is None else f", limit {format_value(alert.limit, unit)}"
    return f"Condition is no longer true: value {format_value(current, unit)}{limit}"
