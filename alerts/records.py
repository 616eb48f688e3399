"""The evaluation record: what every rule asked, found and decided in every slot, whole for two days.

Hides the stored form: one row per group and slot, so that a hundred rules cost one small INSERT and 100,000 unchanged
alerts cost nothing more. Of a rule's series those nearest to a limit are kept, past it first; the values of all others
are still in the sample store and can be asked again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection

from alerts.condition import Finding
from alerts.engine.state import Advance, AlertState, State, Transition
from alerts.models import EvaluationRecord
from alerts.prepared import PreparedRule
from monitoring.promql import Labels

# How long records are kept whole; transitions stay as events for 13 months.
KEPT = timedelta(hours=48)
# Series recorded per rule and slot.
NEAR = 5
_BATCH = 5000
# Identity, value, limit, threshold row.
_Chosen = tuple[Labels, float | None, float | None, int | None]
# By rule: what `_entry` made of each series near a limit, the nearest first.
Nearest = dict[int, list[list[Any]]]
_NEWEST = """
SELECT w.group_id, w.moment, r.body
FROM unnest(%s::bigint[], %s::timestamptz[], %s::float8[]) AS w (group_id, moment, age)
CROSS JOIN LATERAL (
    SELECT body FROM alerts_evaluationrecord
    WHERE group_id = w.group_id AND slot <= w.moment AND slot > w.moment - w.age * interval '1 second'
    ORDER BY slot DESC LIMIT 1
) AS r
"""
_STATES = {State.INACTIVE: "", State.PENDING: "pending", State.FIRING: "firing"}


@dataclass(frozen=True)
class NearSeries:
    """One series near its limit in one slot; `labels` is the alert's identity, state "" means inactive."""

    labels: Mapping[str, str]
    value: float | None
    limit: float | None
    threshold_id: int | None
    before: str
    after: str
    reason: str = ""


@dataclass(frozen=True)
class RuleRecord:
    """What one rule did in one slot; `seconds` is the time it took, `problem` why it could not be evaluated."""

    rule_id: int
    revision: int
    expr: str
    seconds: float
    series_count: int
    problem: str
    near: tuple[NearSeries, ...] = ()


@dataclass(frozen=True)
class SlotRecord:
    """What one group did in one slot."""

    group_id: int
    slot: datetime
    duration_ms: float
    missed_slots: int
    rules: tuple[RuleRecord, ...] = ()

    def of(self, rule_id: int) -> RuleRecord | None:
        """The part of one rule; None when it was not evaluated then: draft, disabled, or made later."""
        return next((rule for rule in self.rules if rule.rule_id == rule_id), None)


@dataclass
class Recorder:
    """Gathers one slot of a group while it is evaluated."""

    rules: list[list[Any]] = field(default_factory=list)

    def add(
        self,
        prepared: PreparedRule,
        seconds: float,
        problem: str,
        finding: Finding | None,
        previous: Mapping[Labels, AlertState],
        step: Advance | None,
    ) -> None:
        """Note what one rule found; `step` is None for a recording rule and after an error."""
        rule, near = prepared.rule, []
        if finding is not None and step is not None:
            near = _near(finding, previous, step)
        count = finding.series_count if finding else 0
        self.rules.append([rule.pk, rule.revision, rule.expr, round(seconds, 6), count, problem, near])

    def write(self, group_id: int, slot: datetime, duration_ms: float, missed_slots: int) -> None:
        """Store the slot; call inside the transaction of the evaluation."""
        body = zlib.compress(json.dumps(self.rules, separators=(",", ":")).encode(), 1)
        EvaluationRecord.objects.create(
            group_id=group_id, slot=slot, duration_ms=duration_ms, missed_slots=missed_slots, body=body
        )


def at(group_id: int, when: datetime) -> SlotRecord | None:
    """The newest evaluation of a group that is not after `when`; None when there is no record of it."""
    rows = EvaluationRecord.objects.filter(group_id=group_id, slot__lte=when, slot__gt=when - KEPT)
    row = rows.order_by("-slot").first()
    return _read(row) if row is not None else None


def nearest_at(asked: Mapping[tuple[int, datetime], timedelta]) -> dict[tuple[int, datetime], Nearest]:
    """For each group and moment the series nearest to its limit of every rule, from the newest record not after it.

    `asked` says how old a record may be at that moment. Read as it is stored, without the classes above: a
    list of rules asks for thousands of them.
    """
    if not asked:
        return {}
    groups, moments = zip(*asked, strict=True)
    ages = [back.total_seconds() for back in asked.values()]
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [list(groups), list(moments), ages])
        rows = cursor.fetchall()
    return {
        (group_id, moment): {one[0]: one[6] for one in json.loads(zlib.decompress(bytes(body)))}
        for group_id, moment, body in rows
    }


def any_between(start: datetime, end: datetime, interval_seconds: float) -> bool:
    """Whether any group was evaluated in between, an interval away from both ends: somebody was at work then."""
    margin = timedelta(seconds=interval_seconds)
    return EvaluationRecord.objects.filter(slot__gt=start + margin, slot__lt=end - margin).exists()


def drop_before(when: datetime) -> int:
    """Delete some of the records older than `when`; returns how many, less than a batch when none is left."""
    old = EvaluationRecord.objects.filter(slot__lt=when).order_by("slot").values("pk")[:_BATCH]
    return EvaluationRecord.objects.filter(pk__in=old).delete()[0]


def _near(finding: Finding, previous: Mapping[Labels, AlertState], step: Advance) -> list[list[Any]]:
    told = {one.labels: one for one in step.transitions}
    if finding.resolution is None:
        pairs = zip(finding.active.identities[:NEAR], finding.active.values[:NEAR], strict=True)
        chosen: list[_Chosen] = [(labels, float(value), None, None) for labels, value in pairs]
    else:
        chosen = _beside_limits(finding)
    known = {labels for labels, *_ in chosen}
    # What changed in this slot without being near a limit now: it recovered, or its series is gone.
    for labels in list(told)[:NEAR]:
        if labels not in known:
            value = finding.data.get(labels) if finding.data else None
            chosen.append((labels, value, told[labels].limit, told[labels].threshold_id))
    return [_entry(*one, previous, step.states, told) for one in chosen]


def _beside_limits(finding: Finding) -> list[_Chosen]:
    """The series past a limit or nearest to one, over all severities."""
    resolution = finding.resolution
    assert resolution is not None  # noqa: S101  (the caller looked)
    found: list[tuple[float, str, int]] = []
    for severity in finding.identities:
        distance = np.abs(finding.values - resolution.limits[severity])
        distance = np.where(finding.past[severity], -1.0, np.where(np.isnan(distance), np.inf, distance))
        places = np.argpartition(distance, NEAR)[:NEAR] if len(distance) > NEAR else np.arange(len(distance))
        found += [(float(distance[place]), severity, place) for place in places.tolist()]
    found.sort(key=lambda one: one[0])
    return [_with_limit(finding, severity, place) for _, severity, place in found[:NEAR]]


def _with_limit(finding: Finding, severity: str, place: int) -> _Chosen:
    resolution = finding.resolution
    assert resolution is not None  # noqa: S101  (the caller looked)
    winner = int(resolution.winners[severity][place])
    row = resolution.rows[winner] if winner >= 0 else None
    labels, value = finding.identities[severity][place], float(finding.values[place])
    return labels, value, row.value if row else None, (row.id or None) if row else None


def _entry(
    labels: Labels,
    value: float | None,
    limit: float | None,
    threshold_id: int | None,
    previous: Mapping[Labels, AlertState],
    states: Mapping[Labels, AlertState],
    told: Mapping[Labels, Transition],
) -> list[Any]:
    before, after = previous.get(labels), states.get(labels)
    return [
        labels.pairs,
        value,
        limit,
        threshold_id,
        _STATES[before.state] if before else "",
        _STATES[after.state] if after else "",
        told[labels].reason if labels in told else "",
    ]


def _read(row: EvaluationRecord) -> SlotRecord:
    rules = json.loads(zlib.decompress(bytes(row.body)))
    return SlotRecord(row.group_id, row.slot, row.duration_ms, row.missed_slots, tuple(_rule(one) for one in rules))


def _rule(stored: list[Any]) -> RuleRecord:
    rule_id, revision, expr, seconds, count, problem, near = stored
    series = tuple(NearSeries(dict(labels), *rest) for labels, *rest in near)
    return RuleRecord(rule_id, revision, expr, seconds, count, problem, series)
