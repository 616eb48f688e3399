"""Fire a rule as a test: what would happen at every stage if this series were past its limit now.

A dry run tells and sends nothing; otherwise one message, marked as a test, goes out through every way the alert would
take, past silences and waits, so that people see what they would get.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from django.core.exceptions import PermissionDenied

from alerts import compose, deliver, nearest, receipts, route_test
from alerts.condition import Finding, find
from alerts.engine import message as engine
from alerts.engine import template
from alerts.engine.durations import format_duration
from alerts.engine.fingerprint import fingerprint
from alerts.engine.identity import SEVERITY
from alerts.engine.message import AlertLine, Message
from alerts.engine.stages import Stage, note, ok, stop, wait
from alerts.engine.state import StateError
from alerts.engine.template import Context, expand
from alerts.engine.threshold_explain import describe_limit, explain
from alerts.engine.thresholds import NO_ROW
from alerts.engine.thresholds import Threshold as Limit
from alerts.engine.units import format_value
from alerts.models import Integration, Notification, Rule
from alerts.prepared import PreparedRule, limit_of, ready
from monitoring import query
from monitoring.promql import Labels, QueryError

User = Any  # settings.AUTH_USER_MODEL; has_perm and get_username are used
SENDING = "alerts.change_rule"
_TEST_NOTE = "This is a test: nothing is wrong. {who} fired the rule to see what you would get."


@dataclass(frozen=True)
class Shot:
    """One way the alert would take: its stages, and the message people would get."""

    receiver: str
    route: str
    stages: tuple[Stage, ...]
    message: Message


@dataclass(frozen=True)
class Report:
    """What a test-fire found, stage by stage; `series` are the label sets one may choose from."""

    rule: Rule
    labels: Labels | None
    stages: tuple[Stage, ...]
    shots: tuple[Shot, ...] = ()
    series: tuple[Labels, ...] = ()
    is_dry: bool = True


@dataclass(frozen=True)
class _Trial:
    """One series taken for a trial: what it is, what it measures, and beside which limit."""

    rule: Rule
    prepared: PreparedRule
    element: Labels
    value: float
    severity: str
    limit: float | None = None
    row: int | None = None
    is_past: bool = False

    @property
    def identity(self) -> Labels:
        """The labels of the alert that would fire."""
        return self.prepared.identities.one(self.element, self.value, self.severity, self.limit)


def fire(rule: Rule, at: datetime, *, wanted: Labels | None = None, severity: str = "", who: str = "") -> Report:
    """What would happen if the series `wanted` (None: the one nearest to its limit) were past its limit at `at`.

    Nothing is sent and nothing saved; `send` takes the report and tells. Raises RouteError when the tree is broken.
    """
    prepared = ready(rule, rule.group, [limit_of(row) for row in rule.thresholds.all()], _annotations(rule))
    if prepared.problem:
        return Report(rule, None, (stop("Query", prepared.problem, ("Query", rule.expr)),))
    try:
        found = find(prepared, at, query.for_slot(at), {})
    except (QueryError, StateError) as error:
        return Report(rule, None, (stop("Query", str(error), ("Query", rule.expr)),))
    if not found.series_count:
        words = "The expression matches nothing now: there is no series that could fire."
        return Report(rule, None, (stop("Query", words, ("Query", rule.expr)),))
    trial = _chosen(rule, prepared, found, wanted, severity)
    series = tuple(found.labels[:200])
    stages = tuple(_stages(trial, found))
    if any(stage.verdict == "stop" for stage in stages):
        return Report(rule, trial.identity, stages, (), series)
    shots = tuple(_shots(trial, at, who))
    return Report(rule, trial.identity, stages, shots, series)


def may_send(user: User) -> bool:
    """Whether somebody may send test messages: whoever may change rules."""
    return bool(user.has_perm(SENDING))


def send(report: Report, at: datetime, user: User) -> Report:
    """Send the report's messages, marked as tests, and add to each way what came of it; raises PermissionDenied."""
    if not may_send(user):
        raise PermissionDenied(SENDING)
    who, shots = user.get_username(), []
    for shot in report.shots:
        ways = route_test.ways_out(shot.receiver)
        stages = [*shot.stages, *(_sent(way, shot.message, at, who) for way in ways)]
        if not ways:
            stages.append(stop("Delivery", "The receiver has no way out that is on: a message would be kept."))
        shots.append(replace(shot, stages=tuple(stages)))
    return replace(report, shots=tuple(shots), is_dry=False)


def _sent(way: Integration, message: Message, at: datetime, who: str) -> Stage:
    queued = receipts.queue_test(way, message, f"Test-fired by {who}", at, key=f"testfire|{uuid.uuid4()}")
    deliver.send(queued.pk, at, f"test:{who}"[:100])
    queued.refresh_from_db()
    if queued.state == Notification.State.SENT:
        return ok("Delivery", f"Sent by {way}.", url=queued.permalink)
    if queued.state == Notification.State.DEAD:
        return stop("Delivery", f"{way}: {queued.last_error}")
    why = f": {queued.last_error}" if queued.last_error else ""
    return wait("Delivery", f"{way}: {queued.get_state_display()}{why}")


def _chosen(rule: Rule, prepared: PreparedRule, found: Finding, wanted: Labels | None, severity: str) -> _Trial:
    """The series that was wanted, else the one farthest past its limit or nearest to it."""
    place = next((index for index, labels in enumerate(found.labels) if labels == wanted), None)
    if not prepared.has_thresholds:
        place = place or 0
        severity = rule.labels.get(SEVERITY, "")
        return _Trial(rule, prepared, found.labels[place], float(found.values[place]), severity, is_past=True)
    candidates = [one for one in _candidates(found, place) if severity in ("", one[1])]
    if not candidates:
        return _Trial(rule, prepared, found.labels[place or 0], float(found.values[place or 0]), severity)
    _, name, row, place = max(candidates, key=lambda one: one[0])
    past, value = bool(found.past[name][place]), float(found.values[place])
    return _Trial(rule, prepared, found.labels[place], value, name, row.value, row.id or None, is_past=past)


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


def _stages(trial: _Trial, found: Finding) -> Iterator[Stage]:
    rule, unit = trial.rule, trial.prepared.spec.unit
    value = format_value(trial.value, unit)
    yield ok("Query", f"{found.series_count} series; this one measures {value} now.", ("Query", rule.expr))
    if not trial.prepared.has_thresholds:
        yield ok("Limit", "The expression is the condition itself, and it holds.")
    else:
        words = explain(trial.prepared.limits, trial.element, found.at, trial.severity)
        if words.winner is None:
            yield stop("Limit", words.sentence)
            return
        limit = describe_limit(words.winner, unit)
        fact = ("Row", f"{words.winner.id} {words.winner.reason}".strip())
        if trial.is_past:
            yield ok("Limit", f"{value} is {limit}: past it now. {words.sentence}", fact)
        else:
            yield note("Limit", f"{value} is not {limit}; the test takes it as if it were. {words.sentence}", fact)
    hold = format_duration(rule.hold_seconds)
    yield ok("State", f"It would be pending for {hold}, then fire." if rule.hold_seconds else "It would fire at once.")
    if rule.life != Rule.Life.LIVE:
        yield note("Rule's life", f"The rule is {rule.get_life_display()}: nobody would hear of it until it is live.")
    else:
        yield ok("Rule's life", "The rule is live.")


def _shots(trial: _Trial, at: datetime, who: str) -> Iterator[Shot]:
    labels = trial.identity
    found = route_test.report(labels, at, trial.rule.pk)
    for way in found.ways:
        stages = [ok("Route", f"Taken by {way.route_title}, told to {way.destination.receiver}.")]
        if way.muted is not None:
            stages.append(note("Muting", f"It would be muted now: {way.muted.words}."))
        else:
            stages.append(ok("Muting", "No silence, inhibition or time interval is in its way."))
        first = way.tellings[0]
        stages.append(ok("Time", f"The first message would go out {first.words}, at {first.at:%H:%M:%S} UTC."))
        if not way.ways_out:
            stages.append(note("Ways out", "The receiver has no way out that is on: the message would be kept."))
        else:
            stages.append(ok("Ways out", ", ".join(str(one) for one in way.ways_out)))
        message = _message(trial, labels, way, at, who)
        yield Shot(way.destination.receiver, way.route_title, tuple(stages), message)


def _message(trial: _Trial, labels: Labels, way: route_test.Way, at: datetime, who: str) -> Message:
    """What people would get, with a note that it is a test."""
    words = _TEST_NOTE.format(who=who or "Somebody")
    line = AlertLine(
        labels=labels,
        fingerprint=fingerprint(labels),
        starts_at=at,
        # Programs that get a webhook read no notes; they can tell a test by this annotation.
        annotations=_expanded(trial) | {"alphaq_test": words},
        value=trial.value,
        operator=_operator(trial),
        limit=trial.limit,
        unit=compose.unit_of(trial.rule.annotations, trial.rule.expr),
        is_new=True,
    )
    return engine.build(
        [line],
        group_labels=way.destination.group_labels,
        receiver=way.destination.receiver,
        at=at,
        external_url=compose.external_url(),
        route=way.route_title,
        notes=(words,),
    )


def _expanded(trial: _Trial) -> dict[str, str]:
    context = Context(trial.element, trial.value, trial.limit, trial.severity)
    return {name: expand(found, context) for name, found in trial.prepared.annotations.items()}


def _operator(trial: _Trial) -> str:
    return next((str(row.operator) for row in trial.prepared.limits if row.id == trial.row and trial.row), ">")


def _annotations(rule: Rule) -> dict[str, template.Template]:
    return {name: template.compile(text) for name, text in rule.annotations.items()}
