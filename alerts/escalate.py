"""Escalation: a problem that nobody acknowledges is told to the next people, step by step, until somebody has it.

A tick of a group begins an escalation for what it tells and ends it when all is over (`follow`, inside the tick's
transaction). `run_due` looks at those whose time has come: each in one transaction that locks the escalation and its
alerts, asks whether anybody answered, and only then queues the messages of a step. What a step said is withdrawn from
the outbox where it still waits when the answer comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from django.db import connection, transaction
from django.db.models import F, Q

from alerts import bulk, escalation_messages, escalation_policies, policy
from alerts.engine import escalation as engine
from alerts.engine.message_words import moment, span
from alerts.engine.muting import SEVERITY_ORDER
from alerts.escalation_policies import Book
from alerts.models import Alert, Escalation, Event, Flap, Group, Integration, Notification, StepRun

_STATE = Notification.State
# Held escalations are looked at this often; an acknowledgement, given or taken back, wakes its escalation at once.
LOOK_AGAIN = timedelta(seconds=30)
# A step that comes later than this, as after an outage, moves those after it, or they would all come at once.
_LATE = timedelta(seconds=30)
_RANK = {severity: rank for rank, severity in enumerate(SEVERITY_ORDER)}

# Waits count from the first message that arrived (DL-9); the first step is due its wait after that.
_NOTE_FIRST_DELIVERY = """
UPDATE alerts_escalation AS e SET first_delivered_at = told.at, next_look_at = told.at
FROM (
    SELECT o.id, min(n.sent_at) AS at FROM alerts_escalation o
    JOIN alerts_notification n ON n.group_key = o.group_key AND n.sent_at >= o.created_at AND n.step_run_id IS NULL
    WHERE o.ended_at IS NULL AND o.first_delivered_at IS NULL GROUP BY o.id
) AS told
WHERE e.id = told.id
"""
# A step whose messages were all given up has reached nobody.
_NOTE_UNREACHED = """
UPDATE alerts_steprun AS r SET is_reached = false, problem = 'every message of this step was given up'
FROM alerts_escalation e
WHERE e.id = r.escalation_id AND e.ended_at IS NULL AND r.is_reached
  AND EXISTS (SELECT FROM alerts_notification n WHERE n.step_run_id = r.id AND n.state = 'dead')
  AND NOT EXISTS (SELECT FROM alerts_notification n WHERE n.step_run_id = r.id AND n.state <> 'dead')
RETURNING r.escalation_id, r.restart, r.number
"""


_LINK = """
INSERT INTO alerts_escalation_alerts (escalation_id, alert_id) SELECT * FROM unnest(%s::bigint[], %s::bigint[])
"""
# Everything that fires was acknowledged, or nothing of what was acknowledged is any more.
_WAKE = """
UPDATE alerts_escalation AS e SET next_look_at = e.created_at
WHERE e.ended_at IS NULL AND (
    e.acknowledged_at IS NULL AND EXISTS (
        SELECT FROM alerts_escalation_alerts l JOIN alerts_alert a ON a.id = l.alert_id
        WHERE l.escalation_id = e.id AND a.state = 'firing' AND a.acknowledged_at IS NOT NULL
    ) AND NOT EXISTS (
        SELECT FROM alerts_escalation_alerts l JOIN alerts_alert a ON a.id = l.alert_id
        WHERE l.escalation_id = e.id AND a.state = 'firing' AND a.acknowledged_at IS NULL
    ) OR e.acknowledged_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM alerts_escalation_alerts l JOIN alerts_alert a ON a.id = l.alert_id
        WHERE l.escalation_id = e.id AND a.state = 'firing' AND a.acknowledged_at IS NOT NULL
    ) AND EXISTS (
        SELECT FROM alerts_escalation_alerts l JOIN alerts_alert a ON a.id = l.alert_id
        WHERE l.escalation_id = e.id AND a.state = 'firing'
    )
)
"""


@dataclass(frozen=True)
class Followed:
    """What a tick of a group means for escalation."""

    group: Group
    route_id: int | None
    told: Sequence[Alert]  # firing, and not muted
    active: frozenset[int]  # ids of all that fire, muted ones included
    told_before: frozenset[str]  # fingerprints that messages told as firing before this tick


@dataclass
class _Look:
    """One escalation while it is looked at, with what was read about it."""

    row: Escalation
    policy: engine.Policy
    at: datetime
    firing: list[Alert]
    muted_words: str = ""
    queued: list[int] = field(default_factory=list)

    @property
    def open(self) -> list[Alert]:
        """What fires and nobody has acknowledged."""
        return [alert for alert in self.firing if alert.acknowledged_at is None]

    @property
    def severity(self) -> str:
        """The highest severity that fires."""
        return max((alert.severity for alert in self.firing), key=lambda one: _RANK.get(one, -1), default="")


# -- at a group's tick -------------------------------------------------------------------------------------------------


def follow(ticks: Sequence[Followed], at: datetime) -> list[int]:
    """Begin, widen and end escalations of the groups that tick; returns the ids of messages that tell of an end.

    Call it inside the transaction of the tick, which has locked the groups.
    """
    book = escalation_policies.book()
    rows = Escalation.objects.filter(group__in=[tick.group for tick in ticks], ended_at__isnull=True)
    open_: dict[int, list[Escalation]] = defaultdict(list)
    for row in rows.select_for_update(no_key=True, of=("self",)).prefetch_related("alerts").order_by("id"):
        open_[row.group_id or 0].append(row)
    if not book.policies and not open_:
        return []
    queued: list[int] = []
    fresh: list[tuple[Escalation, list[Alert]]] = []
    for tick in ticks:
        chosen = _chosen(tick, book)
        running: dict[int | None, Escalation] = {}
        for row in open_[tick.group.pk]:
            is_over = tick.active.isdisjoint(alert.pk for alert in row.alerts.all())
            if is_over and row.policy_id not in chosen:
                queued += _end(row, at, "it is resolved")
            else:
                running[row.policy_id] = row
        for policy_id, alerts in chosen.items():
            if policy_id in running:
                _widen(running[policy_id], alerts, at)
            else:
                was_told = any(alert.fingerprint in tick.told_before for alert in alerts)
                fresh.append((_new(tick.group, book.policies[policy_id], was_told, at), alerts))
    _begin(fresh)
    return queued


def _begin(fresh: Sequence[tuple[Escalation, list[Alert]]]) -> None:
    """Write new escalations with their alerts, in two statements however many a storm brings."""
    bulk.insert([row for row, _ in fresh])
    links = [(row.pk, alert.pk) for row, alerts in fresh for alert in alerts]
    if links:
        bulk.run(_LINK, list(map(list, zip(*links, strict=True))))


def _chosen(tick: Followed, book: Book) -> dict[int, list[Alert]]:
    """What a tick tells, by the policy that takes it."""
    chosen: dict[int, list[Alert]] = defaultdict(list)
    for alert in tick.told:
        found = book.choose(alert.label_set, tick.route_id)
        if found is not None:
            chosen[found.id].append(alert)
    return chosen


def _widen(row: Escalation, alerts: Sequence[Alert], at: datetime) -> None:
    """Take new members in; a running escalation is looked at, for they may be worse than what was acknowledged."""
    known = {alert.pk for alert in row.alerts.all()}
    fresh = [alert for alert in alerts if alert.pk not in known]
    if fresh:
        row.alerts.add(*fresh)
        Escalation.objects.filter(pk=row.pk).update(next_look_at=at)


def _new(group: Group, frozen: engine.Policy, was_told: bool, at: datetime) -> Escalation:
    """A new escalation, not yet written; where the group was told of it long ago its waits count from now."""
    told_at = at if was_told else None
    grace = timedelta(seconds=engine.UNDELIVERED_GRACE_SECONDS)
    return Escalation(
        policy_id=frozen.id, policy_name=frozen.name, frozen=engine.freeze(frozen), group=group,
        group_key=group.key, created_at=at, first_delivered_at=told_at,
        next_look_at=at if was_told else at + grace, words="begins with the first message that arrives",
    )  # fmt: skip


# -- when a step is due ------------------------------------------------------------------------------------------------


def run_due(at: datetime, limit: int = 200) -> list[int]:
    """Ids of the messages that escalations due at `at` got; each escalation is one transaction."""
    _note_outbox()
    rows = Escalation.objects.filter(Q(next_look_at__lte=at) | Q(group__isnull=True), ended_at__isnull=True)
    made: list[int] = []
    for pk in list(rows.order_by("next_look_at").values_list("pk", flat=True)[:limit]):
        made += look(pk, at)
    return made


def standing() -> tuple[bool, datetime | None]:
    """Whether any escalation is open, and when the next of them is to be looked at."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0, min(next_look_at) FROM alerts_escalation WHERE ended_at IS NULL")
        return cast("tuple[bool, datetime | None]", cursor.fetchone())


@transaction.atomic
def look(escalation_id: int, at: datetime) -> list[int]:
    """Ids of the messages of the step that one escalation ran, empty when none was due, held, or being changed."""
    locked = Escalation.objects.select_for_update(skip_locked=True, no_key=True, of=("self",))
    row = locked.filter(pk=escalation_id, ended_at__isnull=True).select_related("group").first()
    if row is None:
        return []
    if row.group is None:
        return _end(row, at, "its group is gone: the route was removed or the alerts are told elsewhere")
    alerts = _locked_alerts(row)
    if alerts is None:
        return []  # somebody is acting on one of them at this moment; the next tick sees what came of it
    one = _Look(row, engine.thaw(row.frozen), at, _firing(alerts, at))
    one.muted_words = _muted(one)
    _note_answer(one)
    incident = _incident(one)
    held = engine.hold(incident, at)
    if held is not None:
        _hold(one, held)
    else:
        _go_on(one, incident)
    row.save()
    return one.queued


def _locked_alerts(row: Escalation) -> list[Alert] | None:
    """The alerts of an escalation, locked against answers; None when another transaction holds one.

    Nobody waits here: an evaluation locks alerts in an order of its own.
    """
    ids = list(row.alerts.values_list("pk", flat=True))
    locked = Alert.objects.select_for_update(skip_locked=True, no_key=True, of=("self",)).filter(pk__in=ids)
    alerts = list(locked.select_related("rule", "threshold", "acknowledged_by").order_by("pk"))
    return alerts if len(alerts) == len(ids) else None


def _firing(alerts: Sequence[Alert], at: datetime) -> list[Alert]:
    """Those that fire; one that flaps counts as firing in its quiet moments as well."""
    ended = [alert.fingerprint for alert in alerts if policy.is_resolved(alert, at)]
    flapping = set()
    if ended:
        flaps = Flap.objects.filter(fingerprint__in=ended, ended_at__isnull=True)
        flapping = set(flaps.values_list("fingerprint", flat=True))
    newest = {alert.fingerprint: alert for alert in alerts}
    return [alert for alert in newest.values() if not policy.is_resolved(alert, at) or alert.fingerprint in flapping]


def _muted(one: _Look) -> str:
    """Why nothing may be said about any of the alerts now, "" while something may."""
    group = one.row.group
    assert group is not None  # noqa: S101  (looked at before)
    if not one.firing:
        return ""
    tree = policy.routing()
    route = tree.route_of(group.route_id)
    muter = policy.muter(one.at, {alert.rule_id for alert in one.firing}, tree.intervals)
    reasons = [
        muter.reason(policy.subject(alert, one.at, is_told=True), route.active_intervals, route.mute_intervals)
        for alert in one.firing
    ]
    one.firing = [alert for alert, reason in zip(one.firing, reasons, strict=True) if reason is None] or one.firing
    return "; ".join(sorted({reason.words for reason in reasons if reason})[:3]) if all(reasons) else ""


def _note_answer(one: _Look) -> None:
    """Keep the first acknowledgement; begin anew when it was taken back, or when it became worse since."""
    row = one.row
    if not one.firing:
        return
    has_it = [alert for alert in one.firing if alert.acknowledged_at is not None]
    if row.acknowledged_at is None:
        if len(has_it) == len(one.firing):
            last = max(has_it, key=lambda alert: alert.acknowledged_at or one.at)
            row.acknowledged_at, row.acknowledged_by = last.acknowledged_at, str(last.acknowledged_by or "somebody")
            row.acknowledged_severity = one.severity
        return
    worse = engine.dropped_ack(one.policy, row.acknowledged_severity, one.severity) if one.open else ""
    if has_it and not worse:
        return
    row.acknowledged_at, row.acknowledged_by, row.acknowledged_severity = None, "", ""
    row.restarted_at, row.restarts, row.done = one.at, row.restarts + 1, 0
    row.last_due_at, row.is_hurried = None, False


def _incident(one: _Look) -> engine.Incident:
    row = one.row
    snoozes = [alert.snoozed_until for alert in one.open]
    is_quiet = bool(snoozes) and all(until is not None and until > one.at for until in snoozes)
    return engine.Incident(
        created_at=row.created_at, first_delivered_at=row.first_delivered_at, restarted_at=row.restarted_at,
        acknowledged_at=row.acknowledged_at, acknowledged_by=row.acknowledged_by,
        snoozed_until=min(until for until in snoozes if until) if is_quiet else None,
        is_resolved=not one.firing, is_silenced=bool(one.muted_words),
    )  # fmt: skip


def _hold(one: _Look, held: engine.Hold) -> None:
    row = one.row
    row.state, row.words = Escalation.State.HELD, held.words
    if held.kind == "silenced":
        row.words = f"{held.words}: {one.muted_words}"
    row.next_look_at = held.until or one.at + LOOK_AGAIN
    if held.kind in ("resolved", "acknowledged"):
        _withdraw(row)


def _go_on(one: _Look, incident: engine.Incident) -> None:
    row = one.row
    coming = engine.next_step(one.policy, incident, engine.Progress(row.done, row.last_due_at))
    if coming is None:
        row.state, row.words = Escalation.State.EXHAUSTED, "all steps are done and nobody has acknowledged it"
        row.next_look_at = one.at + LOOK_AGAIN
        return
    row.state = Escalation.State.RUNNING
    due_at = min(coming.due_at, one.at) if row.is_hurried else coming.due_at
    if due_at > one.at:
        row.words, row.next_look_at = f"{moment(due_at)}: {coming.words}", due_at
        return
    is_reached = _run(one, coming, incident)
    row.done = coming.number + 1
    row.last_due_at = due_at if one.at - due_at <= _LATE and not row.is_hurried else one.at
    row.is_hurried = not is_reached
    after = engine.next_step(one.policy, incident, engine.Progress(row.done, row.last_due_at))
    row.words = "the last step is done" if after is None else f"{moment(after.due_at)}: {after.words}"
    row.next_look_at = one.at if after is None or row.is_hurried else after.due_at


def _run(one: _Look, coming: engine.DueStep, incident: engine.Incident) -> bool:
    """Queue the messages of one step; returns whether it has anybody to tell."""
    ways, names, problems = escalation_messages.resolve(coming.step.targets, one.at)
    position = coming.number % len(one.policy.steps) + 1
    words = f"{one.policy.name}, step {position} of {len(one.policy.steps)}"
    words += f", round {coming.round + 1}" if coming.round else ""
    run = StepRun.objects.create(
        escalation=one.row, restart=one.row.restarts, number=coming.number, at=one.at, is_reached=bool(ways),
        words=f"{words}: {', '.join(names) or 'nobody'}", problem="; ".join(problems),
    )  # fmt: skip
    if problems:
        said = f"{words}: {run.problem}" + ("" if ways else "; the next step comes at once")
        Event.objects.bulk_create(
            Event(alert=alert, rule_id=alert.rule_id, at=one.at, kind=Event.Kind.FAILED, reason=said)
            for alert in one.firing
        )
    since = span((one.at - engine.started_at(incident)).total_seconds())
    note = f"Escalated: nobody has acknowledged this for {since} ({words})."
    alerts = one.open or one.firing
    one.queued += [escalation_messages.queue(one.row, run, way, alerts, one.at, note, run.words).pk for way in ways]
    return bool(ways)


def _end(row: Escalation, at: datetime, words: str) -> list[int]:
    """End an escalation; whoever a step told, and the group itself does not tell, hears that it is over."""
    _withdraw(row)
    row.state, row.words, row.ended_at, row.next_look_at = Escalation.State.ENDED, words, at, None
    row.save(update_fields=["state", "words", "ended_at", "next_look_at"])
    last = row.runs.last()
    if last is None or row.group is None:
        return []
    told = Notification.objects.filter(step_run__escalation=row, state__in=(_STATE.SENT, _STATE.SENDING)).values(
        "integration"
    )
    ways = Integration.objects.filter(pk__in=told, is_enabled=True, send_resolved=True)
    ways = ways.exclude(receiver=row.group.receiver_id) if row.group.receiver_id else ways
    alerts = list(row.alerts.select_related("rule", "threshold", "acknowledged_by").order_by("pk"))
    note = "The problem that was escalated is over."
    return [
        escalation_messages.queue(row, last, way, alerts, at, note, f"{row.policy_name}: over", is_end=True).pk
        for way in ways.select_related("receiver", "slack_app").order_by("id")
    ]


def _withdraw(row: Escalation) -> None:
    """Take back what a step has queued and nobody can have seen: there is an answer now."""
    Notification.objects.filter(
        step_run__escalation=row, state=_STATE.QUEUED, is_ambiguous=False, digest__isnull=True
    ).update(state=_STATE.SUPERSEDED)


def _note_outbox() -> None:
    """Carry over what the outbox has learned: first deliveries, and steps whose messages were all given up."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_FIRST_DELIVERY)
        cursor.execute(_WAKE)
        cursor.execute(_NOTE_UNREACHED)
        for escalation_id, restart, number in cursor.fetchall():
            rows = Escalation.objects.filter(pk=escalation_id, restarts=restart, done=number + 1, ended_at__isnull=True)
            rows.update(is_hurried=True, next_look_at=F("created_at"))
