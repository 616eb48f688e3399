"""Evaluate a rule group in its slot: ask, compare, advance, save, write ALERTS back, and hand on what people hear of.

One transaction holds all of it: a kill at any moment means that the slot never happened and is evaluated again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction

from alerts import alert_rows, dispatch, metrics, phases, records
from alerts.alert_series import SlotSeries
from alerts.condition import Finding, find
from alerts.engine.resend import restore
from alerts.engine.state import Advance, LimitExceededError, StateError, advance
from alerts.models import Alert, Event, GroupClock, RuleGroup, RuleStatus, Threshold
from alerts.prepared import RULES_SOURCE, PreparedGroup, PreparedRule, latest_slot, prepare
from alerts.running_out import let_run_out
from monitoring import promql, query, store
from monitoring.promql import QueryError

log = structlog.get_logger(__name__)


@dataclass
class Outcome:
    """What one evaluation of a group did, as a small fact for the task's log line."""

    group: str
    slot: datetime
    rules: int = 0
    errors: int = 0
    transitions: int = 0
    missed_slots: int = 0


@dataclass
class _Slot:
    """One evaluation at work."""

    group: PreparedGroup
    at: datetime
    memory: alert_rows.GroupMemory
    series: SlotSeries
    outcome: Outcome
    statuses: dict[int, RuleStatus]
    asked_at: datetime  # earlier than `at` by the group's query offset (PR-11)
    limits: promql.Limits
    deadline: float  # of time.perf_counter
    record: records.Recorder = field(default_factory=records.Recorder)
    changes: list[alert_rows.Changes] = field(default_factory=list)
    noted: list[RuleStatus] = field(default_factory=list)
    has_changed: bool = False


STATUS_FIELDS = [field.name for field in RuleStatus._meta.concrete_fields if not field.primary_key]
# Groups whose last row in this process was empty: nothing of theirs is left to end with a stale marker.
_quiet: set[int] = set()


@dataclass(frozen=True)
class Due:
    """Ids of groups whose slot has come, longest waiting first; slow ones took longer than SLOW_SECONDS last time.

    `waiting_since`: the first slot of groups that are left out because samples they need are about to come.
    """

    quick: list[int]
    slow: list[int]
    waiting_since: datetime | None = None


# A group that takes longer is evaluated after the others and never by all processes at once.
SLOW_SECONDS = 1.0


def due(at: datetime, limit: int = 1000) -> Due:
    """Return the enabled groups whose slot has come; gives new groups their clock."""
    without = RuleGroup.objects.filter(is_enabled=True, clock__isnull=True)
    clocks = [GroupClock(group=group, next_slot_at=latest_slot(group, at)) for group in without]
    GroupClock.objects.bulk_create(clocks, ignore_conflicts=True)
    ready = GroupClock.objects.filter(group__is_enabled=True, next_slot_at__lte=at).select_related("group")
    found = list(ready.order_by("next_slot_at")[:limit])
    held = phases.waiting(found, at)
    slow = {clock.group_id for clock in found if (clock.last_duration_seconds or 0.0) > SLOW_SECONDS}
    ids = [clock.group_id for clock in found if clock.group_id not in held]
    return Due(
        [group_id for group_id in ids if group_id not in slow],
        [group_id for group_id in ids if group_id in slow],
        min((clock.next_slot_at for clock in found if clock.group_id in held), default=None),
    )


def next_slots(at: datetime, until: datetime) -> list[datetime]:
    """Return the planned times of enabled groups after `at` and not after `until`, in order."""
    clocks = GroupClock.objects.filter(group__is_enabled=True, next_slot_at__gt=at, next_slot_at__lte=until)
    return list(clocks.order_by("next_slot_at").values_list("next_slot_at", flat=True))


def evaluate(group_id: int, at: datetime) -> Outcome | None:
    """Evaluate the newest slot of a group that is due at `at`; None when another worker has it or it is not due."""
    started = time.perf_counter()
    try:
        with transaction.atomic():
            clock = (
                GroupClock.objects.select_for_update(skip_locked=True)
                .filter(group_id=group_id, group__is_enabled=True, next_slot_at__lte=at)
                .first()
            )
            if clock is None:
                return None
            outcome = _evaluate_claimed(clock, at, started)
    except BaseException:
        # What this process remembers may be ahead of the rows that were rolled back.
        alert_rows.forget(group_id)
        _quiet.discard(group_id)
        raise
    metrics.EVALUATION_SECONDS.observe(time.perf_counter() - started)
    metrics.EVALUATION_LAG_SECONDS.set(max((at - outcome.slot).total_seconds(), 0))
    metrics.MISSED_SLOTS.inc(outcome.missed_slots)
    return outcome


def _evaluate_claimed(clock: GroupClock, at: datetime, started: float) -> Outcome:
    group = prepare(RuleGroup.objects.get(pk=clock.group_id))
    slot_at = latest_slot(group.group, at, clock)
    interval = timedelta(seconds=group.group.interval_seconds)
    missed = max(round((slot_at - clock.next_slot_at) / interval), 0) if clock.last_slot_at else 0
    slot = _begin(group, clock, slot_at, started)
    slot.outcome.missed_slots = missed
    _after_outage(slot, clock)
    _note_expired(group, clock.last_slot_at, slot_at)
    for rule in group.rules:
        _evaluate_rule(slot, rule)
    _finish(slot)
    clock.state_version = slot.memory.version
    clock.last_slot_at, clock.next_slot_at = slot_at, slot_at + interval
    clock.missed_slots += missed
    clock.last_duration_seconds = time.perf_counter() - started
    slot.record.write(group.group.pk, slot_at, clock.last_duration_seconds * 1000, missed)
    clock.save()
    return slot.outcome


def _begin(group: PreparedGroup, clock: GroupClock, at: datetime, started: float) -> _Slot:
    asked_at = at - timedelta(seconds=group.group.query_offset_seconds)
    memory = alert_rows.recall(clock.group_id, clock.state_version)
    env = settings.ENV
    limits = replace(query.default_limits(), timeout_seconds=env.rule_timeout_seconds, max_series=env.rule_max_series)
    series = SlotSeries(to_ms(asked_at), query.for_slot(asked_at, limits))
    ids = [prepared.rule.pk for prepared in group.rules]
    statuses = {status.rule_id: status for status in RuleStatus.objects.filter(rule_id__in=ids)}
    outcome, deadline = Outcome(group.group.name, at), started + env.group_timeout_seconds
    return _Slot(group, at, memory, series, outcome, statuses, asked_at, limits, deadline)


def _after_outage(slot: _Slot, clock: GroupClock) -> None:
    """Mend the clocks of pending alerts when nothing was evaluated for two intervals (PF-2, PF-5).

    A group that was merely late, because it or its neighbours are slow, goes on by its old clock: its alerts would
    never fire otherwise.
    """
    if clock.last_slot_at is None:
        return
    interval = slot.group.group.interval_seconds
    ended = clock.last_slot_at + timedelta(seconds=clock.last_duration_seconds or 0)
    if slot.at - ended < timedelta(seconds=2 * interval) or records.any_between(ended, slot.at, interval):
        return
    grace = timedelta(seconds=settings.ENV.for_grace_seconds)
    tolerance = timedelta(seconds=settings.ENV.outage_tolerance_seconds)
    for rule_id, states in slot.memory.states.items():
        mended = restore(states, clock.last_slot_at, slot.at, interval, grace, tolerance)
        slot.has_changed |= alert_rows.mend(slot.memory, rule_id, mended, slot.at) > 0


def source_of(group: PreparedGroup) -> str:
    """The store's name for what this group writes."""
    return f"{RULES_SOURCE}{group.group.pk}"


def to_ms(at: datetime) -> int:
    """Epoch milliseconds."""
    return round(at.timestamp() * 1000)


def _evaluate_rule(slot: _Slot, prepared: PreparedRule) -> None:
    """Evaluate one rule; an error is the rule's own: its state stays as it was and the others go on (PA-13, PR-4)."""
    started = time.perf_counter()
    slot.outcome.rules += 1
    previous = slot.memory.states.get(prepared.rule.pk, {})
    problem, finding, step = prepared.problem, None, None
    try:
        if not problem:
            finding = find(prepared, slot.asked_at, slot.series.select, previous, _limits_now(slot, started))
            step = _apply(slot, prepared, finding, previous)
    except LimitExceededError as error:
        problem = str(error)
        _drop_all(slot, prepared)
    except (QueryError, StateError) as error:
        problem = str(error)
        slot.series.add_alerts([state for state in previous.values() if state.is_active])
    slot.outcome.errors += bool(problem)
    metrics.EVALUATIONS.labels(outcome="error" if problem else "ok").inc()
    seconds = time.perf_counter() - started
    slot.record.add(prepared, seconds, problem, finding, previous, step)
    _note_status(slot, prepared, problem, finding, seconds)


def _limits_now(slot: _Slot, now: float) -> promql.Limits:
    """What one rule may ask for: no longer than what is left of the group's time; raises LimitError when none is."""
    left = slot.deadline - now
    if left <= 0:
        allowed = settings.ENV.group_timeout_seconds
        remedy = "split the group, make its slow rules cheaper, or raise ALPHAQ_GROUP_TIMEOUT"
        raise promql.LimitError("group_timeout", allowed, None, "the rules before it used up the group's time", remedy)
    if left >= slot.limits.timeout_seconds:
        return slot.limits
    return replace(slot.limits, timeout_seconds=left)


def _apply(slot: _Slot, prepared: PreparedRule, finding: Finding, previous: alert_rows.States) -> Advance | None:
    if prepared.is_recording:
        slot.series.add_record(finding.record_labels, finding.record_values)
        return None
    step = advance(previous, finding.active, prepared.spec, slot.at, finding.data, finding.expected)
    if step.transitions or step.changed or step.removed:
        step = finding.with_annotations(prepared, step)
        slot.has_changed = True
        slot.changes.append(alert_rows.Changes(prepared.rule, step, prepared.outgoing))
    else:
        slot.memory.states[prepared.rule.pk] = step.states
    slot.outcome.transitions += len(step.transitions)
    for transition in step.transitions:
        metrics.TRANSITIONS.labels(kind=transition.kind.value).inc()
    slot.series.add_alerts([state for state in step.states.values() if state.is_active])
    return step


def _drop_all(slot: _Slot, prepared: PreparedRule) -> None:
    """PA-12: a rule over its limit loses its state and says nothing; below the limit it starts anew."""
    ids = slot.memory.ids.pop(prepared.rule.pk, {})
    slot.memory.states.pop(prepared.rule.pk, None)
    if ids and let_run_out(prepared.rule, None, slot.at, "The rule has more alerts than the limit of its group."):
        slot.has_changed = True


def _note_status(slot: _Slot, prepared: PreparedRule, problem: str, finding: Finding | None, seconds: float) -> None:
    """Note the rule's health when it changed; how long it took is refreshed at most once a minute."""
    count = finding.series_count if finding else 0
    old = slot.statuses.get(prepared.rule.pk)
    health = RuleStatus.Health.ERROR if problem else RuleStatus.Health.OK
    nothing = finding is not None and count == 0
    is_same = old is not None and (old.health, old.last_error, old.matches_nothing_since is not None) == (
        health,
        problem,
        nothing,
    )
    is_recent = old is not None and old.evaluated_at is not None and slot.at - old.evaluated_at < timedelta(minutes=1)
    if is_same and is_recent and (old is not None and old.series_count == count):
        return
    since = (old.matches_nothing_since if old else None) or slot.at
    noted = RuleStatus(
        rule=prepared.rule,
        health=health,
        last_error=problem,
        evaluated_at=slot.at,
        duration_seconds=seconds,
        series_count=count,
        matches_nothing_since=since if nothing else None,
    )
    slot.noted.append(noted)
    if problem and not (old and old.last_error == problem):
        log.warning("rule_not_evaluated", rule=prepared.rule.name, group=slot.outcome.group, problem=problem)


def _note_expired(group: PreparedGroup, last_slot_at: datetime | None, slot_at: datetime) -> None:
    """Leave an event for each threshold row that expired since the last slot."""
    if last_slot_at is None or not any(limit.expires_at for rule in group.rules for limit in rule.limits):
        return
    expired = Threshold.objects.filter(
        rule__group=group.group, is_enabled=True, expires_at__gt=last_slot_at, expires_at__lte=slot_at
    ).select_related("rule")
    Event.objects.bulk_create(
        Event(rule=row.rule, at=slot_at, kind=Event.Kind.EXPIRED, reason=f"Threshold {row.pk} expired: {row}")
        for row in expired
    )


def _finish(slot: _Slot) -> None:
    group_id = slot.group.group.pk
    if len(slot.series) or group_id not in _quiet:
        store.append([slot.series.scrape(source_of(slot.group))], now_ms=to_ms(slot.at))
    (_quiet.discard if len(slot.series) else _quiet.add)(group_id)
    told = alert_rows.save(slot.memory, slot.changes, slot.at)
    RuleStatus.objects.bulk_create(
        slot.noted, update_conflicts=True, unique_fields=["rule"], update_fields=STATUS_FIELDS, batch_size=1000
    )
    if slot.has_changed:
        slot.memory.version += 1
    spoken: Sequence[Alert] = [alert for alert in told if not alert.is_shadow]
    if spoken:
        dispatch.route(spoken, slot.at)
