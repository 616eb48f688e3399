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

from django.core.exceptions import PermissionDenied

from alerts import deliver, outgoing, receipts, route_test, trial
from alerts.condition import Finding, find
from alerts.engine import template
from alerts.engine.durations import format_duration
from alerts.engine.message import Message
from alerts.engine.stages import Stage, note, ok, stop, wait
from alerts.engine.state import StateError
from alerts.engine.threshold_explain import describe_limit, explain
from alerts.engine.units import format_value
from alerts.models import Integration, Notification, Rule
from alerts.prepared import limit_of, ready
from alerts.trial import Trial
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


def fire(rule: Rule, at: datetime, *, wanted: Labels | None = None, severity: str = "", who: str = "") -> Report:
    """What would happen if the series `wanted` (None: the one nearest to its limit) were past its limit at `at`.

    Nothing is sent and nothing saved; `send` takes the report and tells. Raises RouteError when the tree is broken.
    """
    prepared = ready(rule, rule.group, [limit_of(row) for row in rule.thresholds.all()], _annotations(rule))
    prepared.outgoing = outgoing.current()
    if prepared.problem:
        return Report(rule, None, (stop("Query", prepared.problem, ("Query", rule.expr)),))
    try:
        found = find(prepared, at, query.for_slot(at), {})
    except (QueryError, StateError) as error:
        return Report(rule, None, (stop("Query", str(error), ("Query", rule.expr)),))
    if not found.series_count:
        words = "The expression matches nothing now: there is no series that could fire."
        return Report(rule, None, (stop("Query", words, ("Query", rule.expr)),))
    taken = trial.choose(prepared, found, wanted, severity)
    series = tuple(found.labels[:200])
    stages = tuple(_stages(taken, found))
    labels = taken.told_as
    if labels is None or any(stage.verdict == "stop" for stage in stages):
        return Report(rule, taken.identity, stages, (), series)
    return Report(rule, labels, stages, tuple(_shots(taken, labels, at, who)), series)


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


def _stages(taken: Trial, found: Finding) -> Iterator[Stage]:
    rule, unit = taken.rule, taken.prepared.spec.unit
    value = format_value(taken.value, unit)
    yield ok("Query", f"{found.series_count} series; this one measures {value} now.", ("Query", rule.expr))
    if not taken.prepared.has_thresholds:
        yield ok("Limit", "The expression is the condition itself, and it holds.")
    else:
        words = explain(taken.prepared.limits, taken.element, found.at, taken.severity)
        if words.winner is None:
            yield stop("Limit", words.sentence)
            return
        limit = describe_limit(words.winner, unit)
        fact = ("Row", f"{words.winner.id} {words.winner.reason}".strip())
        if taken.is_past:
            yield ok("Limit", f"{value} is {limit}: past it now. {words.sentence}", fact)
        else:
            yield note("Limit", f"{value} is not {limit}; the test takes it as if it were. {words.sentence}", fact)
    hold = format_duration(rule.hold_seconds)
    yield ok("State", f"It would be pending for {hold}, then fire." if rule.hold_seconds else "It would fire at once.")
    if rule.life != Rule.Life.LIVE:
        yield note("Rule's life", f"The rule is {rule.get_life_display()}: nobody would hear of it until it is live.")
    else:
        yield ok("Rule's life", "The rule is live.")
    if taken.told_as is None:
        yield stop("Relabelling", "A relabel rule of the global settings drops it: nobody would be told.")


def _shots(taken: Trial, labels: Labels, at: datetime, who: str) -> Iterator[Shot]:
    words = _TEST_NOTE.format(who=who or "Somebody")
    for way in route_test.report(labels, at, taken.rule.pk).ways:
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
        # Programs that get a webhook read no notes; they can tell a test by this annotation.
        message = trial.message(
            taken, labels, way.destination, way.route_title, at, notes=(words,), marks={"alphaq_test": words}
        )
        yield Shot(way.destination.receiver, way.route_title, tuple(stages), message)


def _annotations(rule: Rule) -> dict[str, template.Template]:
    return {name: template.compile(text) for name, text in rule.annotations.items()}
