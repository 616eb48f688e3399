"""Alert states in rows: read the active ones of a group, write what an evaluation changed, with its events.

Hides: bulk SQL, and the memory that spares reading rows while one process evaluates a group again and again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse

from alerts import bulk
from alerts.engine.fingerprint import fingerprint
from alerts.engine.state import Advance, AlertState, Cause, Kind, State, Transition
from alerts.models import Alert, Event, Rule
from alerts.outgoing import Outgoing
from monitoring.promql import Labels

States = dict[Labels, AlertState]
_UNCHANGED = Outgoing()
# What routing asks of an alert.
_ROUTED = ("labels", "state", "source", "is_shadow", "active_since", "fired_at")


@dataclass
class GroupMemory:
    """What one process remembers of a group: states and row ids by rule, valid while `version` is the row's."""

    version: int
    states: dict[int, States] = field(default_factory=dict)
    ids: dict[int, dict[Labels, int]] = field(default_factory=dict)


_memories: dict[int, GroupMemory] = {}


def recall(group_id: int, version: int) -> GroupMemory:
    """The active alerts of a group: from memory when nobody else changed them, else from rows."""
    memory = _memories.get(group_id)
    if memory is None or memory.version != version:
        memory = _read(group_id, version)
        _memories[group_id] = memory
    return memory


def forget(group_id: int) -> None:
    """Drop the memory of a group, as after a transaction that was rolled back."""
    _memories.pop(group_id, None)


def _read(group_id: int, version: int) -> GroupMemory:
    memory = GroupMemory(version)
    active = Alert.objects.filter(rule__group_id=group_id, state__in=[Alert.State.PENDING, Alert.State.FIRING])
    for alert in active.iterator(chunk_size=5000):
        labels = Labels.of(alert.labels if alert.identity is None else alert.identity)
        assert alert.rule_id is not None  # noqa: S101  (filtered by the rule's group)
        memory.states.setdefault(alert.rule_id, {})[labels] = state_of(alert, labels)
        memory.ids.setdefault(alert.rule_id, {})[labels] = alert.pk
    return memory


def state_of(alert: Alert, labels: Labels) -> AlertState:
    """The engine's form of a stored alert."""
    return AlertState(
        labels=labels,
        state=State(alert.state) if alert.state != Alert.State.RESOLVED else State.INACTIVE,
        active_since=alert.active_since,
        fired_at=alert.fired_at,
        keep_firing_since=alert.keep_firing_since,
        resolved_at=alert.resolved_at,
        resolved_cause=Cause(alert.resolve_reason),
        no_data_since=alert.no_data_since,
        hold_seconds=alert.hold_seconds,
        threshold_id=alert.threshold_id,
        limit=alert.limit_value,
        annotations=tuple(alert.annotations.items()),
        value=alert.value if alert.value is not None else float("nan"),
        last_seen=alert.last_seen_at,
    )


@dataclass(frozen=True)
class Changes:
    """What one evaluation changed of one rule."""

    rule: Rule
    step: Advance
    outgoing: Outgoing = _UNCHANGED


def save(memory: GroupMemory, changes: Sequence[Changes], at: datetime) -> list[Alert]:
    """Write what an evaluation changed of the rules of a group, in a few statements for all of them.

    Returns the alerts that fired or resolved, in the order of the rules. Call it inside a transaction.
    """
    known = [(state, ids[state.labels]) for one, ids in _each(memory, changes)
             for state in one.step.changed if state.labels in ids]  # fmt: skip
    _insert(memory, changes, at)
    _update(known, at)
    _write_events(memory, changes)
    _delete_dropped(memory, changes)
    told = [pk for one, ids in _each(memory, changes) for pk in _spoken(one.step.transitions, ids)]
    for one, ids in _each(memory, changes):
        for labels, state in one.step.states.items():
            if not state.is_active:
                ids.pop(labels, None)
        memory.states[one.rule.pk] = {labels: state for labels, state in one.step.states.items() if state.is_active}
    if not told:
        return []
    rows = Alert.objects.only(*_ROUTED).in_bulk(told)
    return [rows[pk] for pk in dict.fromkeys(told)]


def _each(memory: GroupMemory, changes: Sequence[Changes]) -> Iterator[tuple[Changes, dict[Labels, int]]]:
    """Each rule's changes with the ids of its rows."""
    for one in changes:
        yield one, memory.ids.setdefault(one.rule.pk, {})


def mend(memory: GroupMemory, rule_id: int, mended: Mapping[Labels, AlertState], at: datetime) -> int:
    """Write the alerts of a rule whose clocks were mended after an outage; returns how many. Inside a transaction."""
    states = memory.states.get(rule_id, {})
    changed = [state for labels, state in mended.items() if state is not states.get(labels)]
    ids = memory.ids.get(rule_id, {})
    _update([(state, ids[state.labels]) for state in changed], at)
    states.update({state.labels: state for state in changed})
    return len(changed)


def _insert(memory: GroupMemory, changes: Sequence[Changes], at: datetime) -> None:
    fresh = [
        (one, ids, state)
        for one, ids in _each(memory, changes)
        for state in one.step.changed
        if state.labels not in ids
    ]
    rules = {one.rule.pk: one.rule for one, _, _ in fresh}
    urls = {pk: _generator_url(rule) for pk, rule in rules.items()}
    rows = [_row(one, state, urls[one.rule.pk], at) for one, _, state in fresh]
    bulk.insert(rows)
    for row, (_, ids, state) in zip(rows, fresh, strict=True):
        ids[state.labels] = row.pk


def _generator_url(rule: Rule) -> str:
    return settings.ENV.external_url + reverse("admin:alerts_rule_change", args=[rule.pk])


def _row(change: Changes, state: AlertState, url: str, at: datetime) -> Alert:
    labels, rule = change.outgoing.labels(state.labels), change.rule
    shown = labels or state.labels
    return Alert(
        rule=rule,
        name=shown.get("alertname")[:200],
        fingerprint=fingerprint(shown),
        labels=shown.as_dict(),
        identity=None if labels in (None, state.labels) else state.labels.as_dict(),
        severity=shown.get("severity")[:50],
        # An alert that relabelling drops exists, and nobody is told of it (PN-6).
        is_shadow=rule.life == Rule.Life.SHADOW or labels is None,
        rule_revision=rule.revision,
        generator_url=url,
        updated_at=at,
        **_columns(state),
    )


def _columns(state: AlertState) -> dict[str, Any]:
    return {
        "state": state.state.value if state.is_active else Alert.State.RESOLVED,
        "active_since": state.active_since,
        "fired_at": state.fired_at,
        "keep_firing_since": state.keep_firing_since,
        "resolved_at": state.resolved_at,
        "resolve_reason": state.resolved_cause.value,
        "no_data_since": state.no_data_since,
        "hold_seconds": state.hold_seconds,
        "last_seen_at": state.last_seen,
        "value": _finite(state.value),
        "limit_value": state.limit,
        "threshold_id": state.threshold_id,
        "annotations": dict(state.annotations),
    }


def _finite(value: float) -> float | None:
    """Postgres stores NaN and infinities too, but JSON and the pages cannot show them."""
    return value if value == value and abs(value) != float("inf") else None


# Columns that an evaluation changes, with their types.
_CHANGED = {
    **dict.fromkeys(("state", "resolve_reason"), "text"),
    **dict.fromkeys(
        ("active_since", "fired_at", "keep_firing_since", "resolved_at", "no_data_since", "last_seen_at"),
        "timestamp with time zone",
    ),
    **dict.fromkeys(("hold_seconds", "value", "limit_value"), "double precision"),
    "threshold_id": "bigint",
    "annotations": "jsonb",
}
# One statement for any number of alerts: Django's bulk_update writes a CASE per row and column.
_UPDATE = f"""
UPDATE alerts_alert AS a SET {", ".join(f"{name} = v.{name}" for name in _CHANGED)}, updated_at = %s
FROM unnest(%s::bigint[], {", ".join(f"%s::{type_}[]" for type_ in _CHANGED.values())}) AS v (id, {", ".join(_CHANGED)})
WHERE a.id = v.id
"""  # noqa: S608  (names of ours)


def _update(states: Sequence[tuple[AlertState, int]], at: datetime) -> None:
    if not states:
        return
    rows = [_columns(state) for state, _ in states]
    columns = {name: [row[name] for row in rows] for name in _CHANGED}
    columns["annotations"] = [json.dumps(notes) for notes in columns["annotations"]]
    arrays = [bulk.array(columns[name], type_) for name, type_ in _CHANGED.items()]
    bulk.run(_UPDATE, [at, bulk.array([pk for _, pk in states], "bigint"), *arrays])


def _write_events(memory: GroupMemory, changes: Sequence[Changes]) -> None:
    bulk.insert(
        [
            Event(
                # The row of an alert that ended while pending goes; what happened to it stays with the rule.
                alert_id=None if transition.kind is Kind.DROPPED else ids.get(transition.labels),
                rule=one.rule,
                at=transition.at,
                kind=transition.kind.value,
                reason=_with_labels(transition) if transition.kind is Kind.DROPPED else transition.reason,
                value=_finite(transition.value),
                limit_value=transition.limit,
            )
            for one, ids in _each(memory, changes)
            for transition in one.step.transitions
        ],
        with_keys=False,
    )


def _with_labels(transition: Transition) -> str:
    return f"{transition.labels}: {transition.reason}"


def _delete_dropped(memory: GroupMemory, changes: Sequence[Changes]) -> None:
    dropped = [
        ids.pop(transition.labels)
        for one, ids in _each(memory, changes)
        for transition in one.step.transitions
        if transition.kind is Kind.DROPPED and transition.labels in ids
    ]
    if dropped:
        Alert.objects.filter(pk__in=dropped).delete()


def _spoken(transitions: Iterable[Transition], ids: Mapping[Labels, int]) -> list[int]:
    """Row ids of alerts that people hear of: those that fired, resolved, or lost or regained their data."""
    kinds = (Kind.FIRING, Kind.RESOLVED)
    return [ids[one.labels] for one in transitions if one.kind in kinds and one.labels in ids]
