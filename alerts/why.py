"""Why was something told, or not told, at 03:12: from the value to the message in somebody's hand, stage by stage.

Each stage is answered from what was recorded then: the evaluation record, the samples, the history of rule and limits,
the alert's row, the messages and their tries. The walk stops at the first stage that said no.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from alerts import policy, records, rewind
from alerts.condition import Finding, find
from alerts.dispatch import group_key
from alerts.engine.durations import format_duration
from alerts.engine.fingerprint import fingerprint
from alerts.engine.muting import Muter, Subject
from alerts.engine.routing import Destination
from alerts.engine.stages import Stage, Verdict, note, ok, stop, until_stop, wait
from alerts.engine.state import StateError
from alerts.engine.threshold_explain import describe_limit, explain
from alerts.engine.thresholds import compare, resolve
from alerts.engine.units import format_value
from alerts.models import Alert, Attempt, ChannelState, Group, Notification, Rule
from alerts.prepared import PreparedRule
from monitoring import query
from monitoring.promql import Labels, QueryError

# Evaluations may be this many intervals late before the evaluator counts as standing still.
_LATE = 2
_JUST_NOW = timedelta(minutes=1)


@dataclass(frozen=True)
class Case:
    """What is asked: a rule (None: the alert was posted), an alert's labels, the moment, and the time now."""

    rule: Rule | None
    labels: Labels
    when: datetime
    at: datetime


@dataclass(frozen=True)
class WayOut:
    """The stages of one group that the alert goes to."""

    receiver: str
    route: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Walk:
    """The answer: the stages up to the tree, then one branch a group; `caveats` say what it cannot know."""

    case: Case
    alert: Alert | None
    stages: tuple[Stage, ...]
    ways: tuple[WayOut, ...] = ()
    caveats: tuple[str, ...] = ()


def walk(case: Case) -> Walk:
    """Walk from the rule's evaluation at `case.when` to the deliveries of that episode."""
    alert = _alert_of(case)
    if alert is not None and alert.identity:
        # It is told under other labels than its rule gave it; value and limit are known by those.
        case = replace(case, labels=Labels.of(alert.identity))
    stages = until_stop(_to_the_tree(case, alert))
    if stages[-1].name != "Route":
        return Walk(case, alert, stages)
    assert alert is not None  # noqa: S101  (the stage “State” stops otherwise)
    routing = policy.routing()
    if case.when >= case.at - _JUST_NOW:
        muter = policy.muter(case.at, [alert.rule_id], routing.intervals)
    else:
        muter = rewind.muter_at(case.when, alert.rule_id)
    ways = tuple(
        WayOut(
            destination.receiver,
            routing.routes[destination.route_id].title,
            until_stop(_way_stages(case, alert, destination, muter)),
        )
        for destination in routing.tree.match(alert.label_set)
    )
    changed = rewind.changed_since(case.when)
    caveats = (f"The {' and '.join(changed)} were edited since; this walk takes them as they are now.",)
    return Walk(case, alert, stages, ways, caveats if changed else ())


def series_of(rule: Rule, when: datetime) -> list[Labels]:
    """Alerts of a rule to choose from at `when`: those there were, then what the record names as near a limit."""
    alerts = Alert.objects.filter(rule=rule, active_since__lte=when).order_by("-id")[:50]
    found = [alert.label_set for alert in alerts if alert.resolved_at is None or alert.resolved_at > when]
    record = records.at(rule.group_id, when)
    mine = record.of(rule.pk) if record else None
    near = [Labels.of(one.labels) for one in mine.near] if mine else []
    return list(dict.fromkeys([*found, *near]))


def _alert_of(case: Case) -> Alert | None:
    """The episode of these labels at the moment that was asked about."""
    rows = Alert.objects.filter(fingerprint=fingerprint(case.labels), active_since__lte=case.when)
    if case.rule is not None:
        rows = rows.filter(rule=case.rule)
    row = rows.select_related("rule", "acknowledged_by").order_by("-active_since", "-id").first()
    return row if row is not None and (row.resolved_at is None or row.resolved_at > case.when) else None


# -- from the evaluation to the tree -----------------------------------------------------------------------------------


def _to_the_tree(case: Case, alert: Alert | None) -> Iterator[Stage]:
    if case.rule is None:
        if alert is None:
            yield stop("State", "Nobody had posted an alert with these labels, or it had ended.")
            return
        yield ok("State", "Posted to the portal; whoever posted it decides when it ends.")
    else:
        yield from _evaluated(case, case.rule, alert)
    if alert is None:
        yield stop("State", _never_pending(case))
        return
    if case.rule is not None:
        yield _state(case, alert)
    if alert.is_shadow:
        yield stop("Rule's life", "The rule was in the shadow: it is evaluated and nobody is told.")
        return
    yield ok("Rule's life", "The rule was live.")
    if alert.acknowledged_at is not None and alert.acknowledged_at <= case.when:
        yield note("Acknowledged", f"{alert.acknowledged_by or 'Somebody'} had it: nobody is reminded of it.")
    receivers = [one.receiver for one in policy.routing().tree.match(alert.label_set)]
    yield ok("Route", f"It goes to {', '.join(receivers)}.")


def _evaluated(case: Case, rule: Rule, alert: Alert | None) -> Iterator[Stage]:
    then = rewind.rule_at(rule, case.when)
    if then is None:
        yield stop("Evaluation", "The rule did not exist yet.")
        return
    if then.rule.life not in (Rule.Life.LIVE, Rule.Life.SHADOW):
        yield stop("Evaluation", f"The rule was a {then.rule.life}: nothing evaluates it.")
        return
    record = records.at(rule.group_id, case.when)
    if record is None:
        yield _unrecorded(case, then)
        return
    yield _slot(case, then, record, alert)
    mine = record.of(rule.pk)
    if mine is None:
        yield stop("Evaluation", "The group was evaluated without this rule: it was made or moved later.")
        return
    if mine.problem:
        tell = stop if alert is None else note
        yield tell("Query", f"The rule could not be evaluated: {mine.problem}", ("Query", mine.expr))
        return
    yield from _measured(case, then, record, mine, alert)


def _unrecorded(case: Case, then: PreparedRule) -> Stage:
    if not then.rule.group.is_enabled:
        return stop("Evaluation", f"The group {then.rule.group.name} was switched off.")
    if case.at - case.when > records.KEPT:
        return stop("Evaluation", "Records are kept for two days; of an earlier time only the alerts' events are left.")
    return stop("Evaluation", "Nothing was evaluated: neither the worker nor another one had taken the group.")


def _slot(case: Case, then: PreparedRule, record: records.SlotRecord, alert: Alert | None) -> Stage:
    age = case.when - record.slot
    facts = (("Slot", f"{record.slot:%Y-%m-%d %H:%M:%S} UTC"), ("Took", f"{record.duration_ms:.0f} ms"))
    interval = timedelta(seconds=then.rule.group.interval_seconds)
    if age > _LATE * interval:
        # An alert that was there already goes on being told, whatever the evaluator does.
        tell = stop if alert is None else note
        return tell("Evaluation", f"The evaluator stood still: the last slot was {_span(age)} earlier.", *facts)
    missed = f" {record.missed_slots} slots before it were missed." if record.missed_slots else ""
    return ok("Evaluation", f"The group was evaluated.{missed}", *facts)


def _measured(
    case: Case, then: PreparedRule, record: records.SlotRecord, mine: records.RuleRecord, alert: Alert | None
) -> Iterator[Stage]:
    """The value that was found and the limit it was laid beside."""
    facts = (("Query", mine.expr), ("Series", str(mine.series_count)), ("Took", f"{mine.seconds * 1000:.1f} ms"))
    if not mine.series_count and alert is None:
        yield stop("Query", "The expression matched nothing: no series had a value.", *facts)
        return
    if alert is not None and alert.no_data_since is not None and alert.no_data_since <= record.slot:
        yield note("Query", "Its series had stopped reporting; the alert stays as it was.", *facts)
        return
    near = next((one for one in mine.near if dict(one.labels) == case.labels.as_dict()), None)
    if near is not None and near.value is not None:
        yield ok("Query", f"Its value was {format_value(near.value, then.spec.unit)}.", *facts)
        yield from _beside_limit(case, then, record.slot, near.value, case.labels, alert)
        return
    try:
        found = find(then, record.slot, query.for_slot(record.slot), {})
    except (QueryError, StateError) as error:
        yield note("Query", f"The samples of that time cannot be asked again: {error}", *facts)
        return
    yield from _asked_again(case, then, found, facts, alert)


def _asked_again(
    case: Case, then: PreparedRule, found: Finding, facts: tuple[tuple[str, str], ...], alert: Alert | None
) -> Iterator[Stage]:
    """The value by the samples as they are stored now, for a series that the record does not name."""
    severity = case.labels.get("severity")
    names = found.identities.get(severity) if then.has_thresholds else found.active.identities
    if names is None:
        yield stop("Limit", f"No row of the rule speaks of severity {severity or '(none)'}.", *facts)
        return
    place = next((index for index, labels in enumerate(names) if labels == case.labels), None)
    if place is None:
        other = f"; {found.series_count} others had" if found.series_count else ""
        what = "had no value" if then.has_thresholds else "did not meet the condition"
        yield stop("Query", f"This series {what} at that time{other}.", *facts)
        return
    value = float(found.values[place]) if then.has_thresholds else float(found.active.values[place])
    yield ok("Query", f"Its value was {format_value(value, then.spec.unit)}, by the samples stored now.", *facts)
    element = found.labels[place] if then.has_thresholds else found.elements[place]
    yield from _beside_limit(case, then, found.at, value, element, alert)


def _beside_limit(
    case: Case, then: PreparedRule, slot: datetime, value: float, element: Labels, alert: Alert | None
) -> Iterator[Stage]:
    if not then.has_thresholds:
        yield ok("Limit", "The expression is the condition itself, and it held.")
        return
    words = explain(then.limits, element, slot, case.labels.get("severity"))
    if words.winner is None:
        yield stop("Limit", words.sentence)
        return
    limit = describe_limit(words.winner, then.spec.unit)
    facts = (("Limit", limit), ("Row", str(words.winner.id)), ("Reason", words.winner.reason or "the rule's default"))
    shown = format_value(value, then.spec.unit)
    if _is_past(then, slot, value, element, case.labels.get("severity")):
        yield ok("Limit", f"{shown} is {limit}. {words.sentence}", *facts)
    elif alert is not None:
        yield note("Limit", f"{shown} is no longer {limit}; the alert keeps firing until it recovers.", *facts)
    else:
        yield stop("Limit", f"{shown} is not {limit}. {words.sentence}", *facts)


def _is_past(then: PreparedRule, slot: datetime, value: float, element: Labels, severity: str) -> bool:
    past = compare(np.array([value]), resolve(then.limits, [element], slot))
    return severity in past and bool(past[severity][0])


def _never_pending(case: Case) -> str:
    if case.when >= case.at - _JUST_NOW:
        return "The condition holds, and the next evaluation will see it."
    return (
        "By the samples stored now the condition held, yet that evaluation made no alert: the sample came later, or "
        "the series was still being held back by the time the rule asks for."
    )


def _state(case: Case, alert: Alert) -> Stage:
    since = f"{alert.active_since:%Y-%m-%d %H:%M:%S} UTC"
    facts = (("Active since", since), ("For", format_duration(alert.hold_seconds)))
    if alert.fired_at is None or alert.fired_at > case.when:
        lasted = _span(case.when - alert.active_since)
        asked = format_duration(alert.hold_seconds)
        return wait("State", f"It was pending for {lasted} of {asked}; nobody hears of it before it fires.", *facts)
    return ok("State", f"It had been firing since {alert.fired_at:%Y-%m-%d %H:%M:%S} UTC.", *facts)


# -- from the tree to the hand -----------------------------------------------------------------------------------------


def _way_stages(case: Case, alert: Alert, destination: Destination, muter: Muter) -> Iterator[Stage]:
    told = _messages(case, alert, destination)
    reason = muter.reason(
        Subject(alert.label_set, alert.rule_id), destination.active_intervals, destination.mute_intervals
    )
    if reason is not None and not told:
        until = f" Until {reason.until:%Y-%m-%d %H:%M} UTC." if reason.until else ""
        yield stop("Muting", f"{reason.words[:1].upper()}{reason.words[1:]}.{until}", ("Kind", reason.kind))
        return
    if reason is not None:
        yield note("Muting", f"Muted at that moment ({reason.words}); it had been told before.")
    else:
        yield ok("Muting", "No silence, inhibition or time interval was in its way.")
    yield from _told(case, alert, destination, told)


def _messages(case: Case, alert: Alert, destination: Destination) -> list[Notification]:
    """What this group said of the alert's episode, the oldest first."""
    rows = alert.notifications.filter(group_key=group_key(destination), created_at__gte=alert.active_since)
    return list(rows.select_related("integration__receiver").order_by("id"))


def _told(case: Case, alert: Alert, destination: Destination, told: list[Notification]) -> Iterator[Stage]:
    group = Group.objects.filter(key=group_key(destination)).first()
    if not told:
        yield _untold(case, alert, destination, group)
        return
    flushed = told[0].flushed_at
    waited = max(flushed - (alert.fired_at or flushed), timedelta(0))
    yield ok("Group", f"Its group was flushed {_span(waited)} after it fired.", ("Flushed", f"{flushed:%H:%M:%S} UTC"))
    said = [one for one in told if one.kind != Notification.Kind.THREAD] or told
    words = f"{len(said)} message{'s' if len(said) > 1 else ''} of this episode; the first because: {said[0].reason}"
    yield ok("Message", f"{words}.")
    *earlier, last = said
    for message in earlier:
        stage = _delivery(message, case.at)
        yield stage if stage.verdict is Verdict.OK else replace(stage, verdict=Verdict.NOTE)
    yield _delivery(last, case.at)


def _untold(case: Case, alert: Alert, destination: Destination, group: Group | None) -> Stage:
    if group is not None and group.next_flush_at > case.at and group.first_flush_at is None:
        wait_seconds = format_duration(destination.group_wait_seconds)
        return wait("Group", f"The group waits {wait_seconds} for others (group_wait), until {_clock(group)}.")
    if group is not None and (group.last_flush_at is None or group.last_flush_at < (alert.fired_at or case.at)):
        interval = format_duration(destination.group_interval_seconds)
        return wait("Group", f"The group is told every {interval} (group_interval); next at {_clock(group)}.")
    if group is not None and group.last_reason:
        return stop("Group", f"The last flush of its group said: {group.last_reason}")
    return stop("Group", "Its group is gone: it ended before the group was flushed, or the routes were changed.")


def _delivery(message: Notification, at: datetime) -> Stage:
    where = str(message.integration) if message.integration else message.receiver_name or "nobody"
    tries = Attempt.objects.filter(notification=message).order_by("-id")
    last = tries.first()
    facts = [("To", where), ("Kind", message.get_kind_display()), ("Tries", str(tries.count()))]
    if last is not None:
        facts.append(("Last answer", f"{last.outcome} {last.detail}".strip()[:300]))
    state, url = Notification.State(message.state), message.permalink
    match state:
        case Notification.State.SENT:
            return ok("Delivery", f"Sent to {where} at {message.sent_at:%H:%M:%S} UTC.", *facts, url=url)
        case Notification.State.KEPT:
            return stop("Delivery", "Kept: the receiver has no way out. Give it one, or another receiver.", *facts)
        case Notification.State.DEAD:
            return stop("Delivery", f"Given up: {message.last_error or 'no answer'}", *facts)
        case Notification.State.DISCARDED:
            return stop("Delivery", "Discarded by staff.", *facts)
        case Notification.State.SUPERSEDED:
            return note("Delivery", "Replaced by a newer message before it was sent.", *facts)
    return wait("Delivery", _waiting_words(message, at), *facts)


def _waiting_words(message: Notification, at: datetime) -> str:
    channel = ChannelState.objects.filter(channel_key=message.channel_key).first()
    if channel is not None and channel.breaker == ChannelState.Breaker.OPEN:
        return f"Waiting: the channel is stopped after errors ({channel.last_error})."
    if channel is not None and channel.blocked_until is not None and channel.blocked_until > at:
        return f"Waiting: the other side asked for patience until {channel.blocked_until:%H:%M:%S} UTC."
    if message.last_error:
        return f"Tried {message.attempts} times, again at {message.not_before:%H:%M:%S} UTC: {message.last_error}"
    return f"Waiting for its turn since {message.created_at:%H:%M:%S} UTC."


def _span(duration: timedelta) -> str:
    return format_duration(max(round(duration.total_seconds()), 0))


def _clock(group: Group) -> str:
    return f"{group.next_flush_at:%H:%M:%S} UTC"
