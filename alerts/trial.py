"""One series of a rule taken for a trial: the alert it would be, and the message that people would get of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from alerts import compose, nearest
from alerts.condition import Finding
from alerts.engine import message as engine
from alerts.engine.fingerprint import fingerprint
from alerts.engine.identity import SEVERITY
from alerts.engine.message import AlertLine, Message
from alerts.engine.routing import Destination
from alerts.engine.template import Context, expand
from alerts.engine.thresholds import NO_ROW
from alerts.engine.thresholds import Threshold as Limit
from alerts.models import Rule
from alerts.prepared import PreparedRule
from monitoring.promql import Labels


@dataclass(frozen=True)
class Trial:
    """One series taken for a trial: what it is, what it measures, and beside which limit."""

    rule: Rule
    prepared: PreparedRule
    element: Labels
    value: float
    severity: str
    limit: float | None = None
    row: Limit | None = None
    is_past: bool = False

    @property
    def identity(self) -> Labels:
        """The labels of the alert that would fire, before external labels and relabelling."""
        return self.prepared.identities.one(self.element, self.value, self.severity, self.limit)

    @property
    def told_as(self) -> Labels | None:
        """The labels under which routes, silences and people meet it; None when relabelling drops it (PN-6)."""
        return self.prepared.outgoing.labels(self.identity)


def choose(prepared: PreparedRule, found: Finding, wanted: Labels | None = None, severity: str = "") -> Trial:
    """The series `wanted`, else the one farthest past its limit or nearest to it; `found` has one series at least."""
    rule = prepared.rule
    place = next((index for index, labels in enumerate(found.labels) if labels == wanted), None)
    if not prepared.has_thresholds:
        place = place or 0
        severity = rule.labels.get(SEVERITY, "")
        return Trial(rule, prepared, found.labels[place], float(found.values[place]), severity, is_past=True)
    candidates = [one for one in _candidates(found, place) if severity in ("", one[1])]
    if not candidates:
        return Trial(rule, prepared, found.labels[place or 0], float(found.values[place or 0]), severity)
    _, name, row, place = max(candidates, key=lambda one: one[0])
    past, value = bool(found.past[name][place]), float(found.values[place])
    return Trial(rule, prepared, found.labels[place], value, name, row.value, row, is_past=past)


def _candidates(found: Finding, only: int | None) -> Iterator[tuple[float, str, Limit, int]]:
    """How far past it, severity, row and place: of every row's series the one farthest past its limit."""
    resolution = found.resolution
    assert resolution is not None  # noqa: S101  (a rule with thresholds has one)
    for severity, winners in resolution.winners.items():
        for index in np.unique(winners).tolist():
            where = np.flatnonzero(winners == index)
            where = where if only is None else where[where == only]
            if index == NO_ROW or not len(where):
                continue
            excess = nearest.excess_of(found.values[where], resolution.rows[index])
            best = int(np.argmax(excess))
            yield float(excess[best]), severity, resolution.rows[index], int(where[best])


def message(
    one: Trial,
    labels: Labels,
    destination: Destination,
    route: str,
    at: datetime,
    *,
    notes: Sequence[str] = (),
    marks: dict[str, str] | None = None,
    **more: Any,
) -> Message:
    """What people would get of the alert `labels`; `marks` are annotations that only programs read."""
    context = Context(one.element, one.value, one.limit, one.severity)
    texts = {name: expand(found, context) for name, found in one.prepared.annotations.items()}
    line = AlertLine(
        labels=labels,
        fingerprint=fingerprint(labels),
        starts_at=at,
        annotations=texts | (marks or {}),
        value=one.value,
        operator=str(one.row.operator) if one.row else ">",
        limit=one.limit,
        unit=compose.unit_of(one.rule.annotations, one.rule.expr),
        limit_reason=one.row.reason if one.row else "",
        is_new=True,
    )
    return engine.build(
        [line],
        group_labels=destination.group_labels,
        receiver=destination.receiver,
        at=at,
        external_url=compose.external_url(),
        route=route,
        notes=notes,
        **more,
    )
