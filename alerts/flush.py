"""One tick of a group: who of its alerts may be told, whether each way out is told, and the rows that say so.

A tick is one transaction (DL-1): it locks due groups, decides by alerts.engine, queues messages and moves the clocks.
Killed before the commit it happens again; killed after it, the message is in the outbox. The log of what was told is
not written here but when a message arrived (AD-12): until then the queued message itself stands for it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from alerts import bulk, compose, escalate, flaps, notify_log, policy, registry_hints, restate, suppressed
from alerts import calm as calm_groups
from alerts.engine import timing
from alerts.engine.muting import Muter, MuteReason
from alerts.engine.routing import Route, Tree
from alerts.engine.timing import Decision, GroupView, LogEntry, TimingSettings
from alerts.models import Alert, Event, Group, GroupAlert, Integration, Mark, Notification, NotifyLog

logger = structlog.get_logger(__name__)
_STATE, _KIND = Notification.State, Notification.Kind
_UNSENT = (_STATE.QUEUED, _STATE.SENDING)
_TOLD_KINDS = (_KIND.POST, _KIND.UPDATE)
# Changes that edit the living message; everything else is a new one (DL-10).
_EDITS = frozenset(("new_alerts", "some_resolved", "all_resolved", "flapping"))
# What a row that nobody foresaw can raise on its way into a message; anything else is not about one group.
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
_PUT_OFF = timedelta(minutes=1)
_LINK = """
INSERT INTO alerts_notification_alerts (notification_id, alert_id) SELECT * FROM unnest(%s::bigint[], %s::bigint[])
"""
_SIZE = "(SELECT count(*) FROM alerts_groupalert WHERE group_id = alerts_group.id)"
# One transaction takes no more groups once it has this many members; so many are locked at first.
_MOST_MEMBERS, _LOCKED_AT_ONCE = 2000, 25
_NO_WAY_OUT = "no way out is configured"


@dataclass
class _Tick:
    """One group at one tick, with everything that was read about it."""

    group: Group
    route: Route
    planned: datetime
    members: list[GroupAlert]
    integrations: list[Integration]
    logs: dict[int, NotifyLog]
    unsent: dict[int | None, list[Notification]]
    view: GroupView = field(default_factory=lambda: GroupView(timing.NONE))
    reasons: dict[int, MuteReason] = field(default_factory=dict)  # by alert id
    stale: list[int] = field(default_factory=list)  # memberships of an earlier life of the same label set
    flapping: dict[str, str] = field(default_factory=dict)  # words by fingerprint
    turned: str = ""  # which alerts began or ceased to flap
    suppressed: str | None = None  # how much hangs on what it tells of; None where nothing ever can
    marks: list[Mark] = field(default_factory=list)
    hints: registry_hints.Hints = field(default_factory=registry_hints.Hints)
    words: list[str] = field(default_factory=list)


@dataclass
class _Writes:
    """Rows to be written together at the end of a transaction."""

    notifications: list[tuple[Notification, list[Alert]]] = field(default_factory=list)
    superseded: list[int] = field(default_factory=list)
    logs: list[NotifyLog] = field(default_factory=list)
    leaving: list[int] = field(default_factory=list)  # memberships
    changed_members: list[GroupAlert] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def due_groups(at: datetime, limit: int = 200) -> list[int]:
    """Ids of the groups whose tick has come, the longest due first."""
    rows = Group.objects.filter(next_flush_at__lte=at).order_by("next_flush_at", "id")
    return list(rows.values_list("id", flat=True)[:limit])


def next_due_at(after: datetime = datetime.min) -> datetime | None:
    """When the next tick of any group is planned, of those planned after a time; None while there is none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(next_flush_at) FROM alerts_group WHERE next_flush_at > %s", [after])
        return cast("datetime | None", cursor.fetchone()[0])


def flush(group_id: int, at: datetime) -> list[int]:
    """Ids of the messages that one due group got; empty when it is not due or another worker has it."""
    return _flush_rows(Group.objects.filter(pk=group_id), at, 1)


def flush_due(at: datetime, limit: int = 200) -> list[int]:
    """Ids of the messages that the up to `limit` longest due groups got, in one transaction.

    Much cheaper than one flush a group in a storm: routes, silences and sources are read once. Should one group be
    broken, the others are flushed one by one and it is put off for a minute with the error as its reason.
    """
    try:
        return _flush_rows(Group.objects.all(), at, limit)
    except _BROKEN as error:
        logger.warning("flush_together_failed", error=repr(error))
    made: list[int] = []
    for group_id in due_groups(at, limit):
        try:
            made += flush(group_id, at)
        except _BROKEN as error:
            logger.exception("group_not_flushed", group_id=group_id)
            words = f"this group could not be flushed: {error!r}"
            Group.objects.filter(pk=group_id).update(next_flush_at=at + _PUT_OFF, last_reason=words)
    return made


@transaction.atomic
def _flush_rows(rows: QuerySet[Group], at: datetime, limit: int) -> list[int]:
    groups = _lock_due(rows, at, limit)
    if not groups:
        return []
    tree = policy.routing()
    calm = calm_groups.words(groups, tree, at)
    for group in groups:
        if group.pk in calm:
            _advance(group, tree.route_of(group.route_id), calm[group.pk], at)
    made = _tick([group for group in groups if group.pk not in calm], tree, at)
    bulk.update(groups, ["first_flush_at", "next_flush_at", "last_flush_at", "last_reason", "missed_flushes"])
    return made


def _tick(groups: Sequence[Group], tree: policy.Routing, at: datetime) -> list[int]:
    """Decide about groups that may have something to tell, and write it; returns the ids of their messages."""
    if not groups:
        return []
    ticks = _read(groups, tree)
    rule_ids = {member.alert.rule_id for tick in ticks for member in tick.members}
    muter = policy.muter(at, rule_ids, tree.intervals)
    watched = flaps.watch([member.alert for tick in ticks for member in tick.members], at)
    writes = _Writes()
    for tick in ticks:
        _mute(tick, muter, watched, at)
        _suppress(tick, muter, at)
        _tell(tick, tree.tree, at, writes)
        _advance(tick.group, tick.route, "\n".join(tick.words) or "nothing to tell", at)
    return _save(writes) + escalate.follow([_followed(tick) for tick in ticks], at)


def _lock_due(rows: QuerySet[Group], at: datetime, limit: int) -> list[Group]:
    """Up to `limit` groups that are due, the longest due first; fewer where they have many members.

    What is locked here holds up other processes that flush, and whoever posts alerts into these groups.
    """
    # "no key": inserting a membership only needs the key to stay, so ticks and foreign keys do not wait on each other.
    due = rows.filter(next_flush_at__lte=at).select_for_update(skip_locked=True, no_key=True)
    due = due.order_by("next_flush_at", "id").annotate(size=RawSQL(_SIZE, []))  # noqa: S611  (our own text)
    groups: list[Group] = []
    wanted, members = min(_LOCKED_AT_ONCE, limit), 0
    while wanted and members < _MOST_MEMBERS:
        some = list(due.exclude(pk__in=[group.pk for group in groups])[:wanted])
        groups += some
        members += sum(group.size for group in some)
        # As many as there is room for if they are like those so far, and in case they are not, twice as many at most.
        room = -(-(_MOST_MEMBERS - members) * len(groups) // max(members, 1))
        wanted = max(min(2 * wanted, room, limit - len(groups)), 0) if len(some) == wanted else 0
    return groups


def _followed(tick: _Tick) -> escalate.Followed:
    """What the tick means for escalation."""
    active = tick.view.firing | tick.view.muted_firing
    return escalate.Followed(
        group=tick.group,
        route_id=tick.group.route_id,
        told=[member.alert for member in tick.members if member.alert.fingerprint in tick.view.firing],
        active=frozenset(member.alert_id for member in tick.members if member.alert.fingerprint in active),
        told_before=frozenset(print_ for log in tick.logs.values() for print_ in log.firing),
    )


def _read(groups: Sequence[Group], tree: policy.Routing) -> list[_Tick]:
    """Everything about the groups in a fixed number of queries; alerts before anything that can mute them (AI-9)."""
    keys = [group.key for group in groups]
    members: dict[int, list[GroupAlert]] = defaultdict(list)
    rows = GroupAlert.objects.filter(group__in=groups)
    for member in rows.select_related("alert").order_by("alert_id"):
        members[member.group_id].append(member)
    bulk.share([member.alert for own in members.values() for member in own], "threshold", "rule", "acknowledged_by")
    integrations = notify_log.ways_out(tree.receiver_of(group.route_id) for group in groups)
    # The outbox before the log: a message that arrives between the two is then found in both, which does no harm. The
    # other way round it would be in neither, and be told again.
    unsent: dict[str, dict[int | None, list[Notification]]] = defaultdict(lambda: defaultdict(list))
    for row in _open_messages(keys):
        unsent[row.group_key][row.integration_id].append(row)
    logs: dict[str, dict[int, NotifyLog]] = defaultdict(dict)
    for log in NotifyLog.objects.filter(group_key__in=keys):
        logs[log.group_key][log.integration_id] = log
    marks: dict[int, list[Mark]] = defaultdict(list)
    for mark in Mark.objects.filter(alert__memberships__group__in=groups).select_related("user").distinct():
        marks[mark.alert_id].append(mark)
    hints = registry_hints.of(member.alert for own in members.values() for member in own)
    ticks = []
    for group in groups:
        group.receiver_id = tree.receiver_of(group.route_id)
        ways = integrations.get(group.receiver_id or 0, [])
        ticks.append(
            _Tick(group, tree.route_of(group.route_id), group.next_flush_at, members[group.pk], ways, logs[group.key],
                  unsent[group.key], hints=hints,
                  marks=[mark for member in members[group.pk] for mark in marks.get(member.alert_id, ())])
        )  # fmt: skip
    return ticks


def _open_messages(keys: Sequence[str]) -> Iterable[Notification]:
    """Messages about these groups that are still to be sent, oldest first, and the last kept one of each group."""
    # What an escalation says stands for itself: a tick must not take it for what the group said.
    told = Notification.objects.filter(group_key__in=keys, kind__in=_TOLD_KINDS, step_run__isnull=True)
    told = told.select_related("digest").defer("message", "digest__message")
    kept = told.filter(state=_STATE.KEPT).order_by("group_key", "-id").distinct("group_key")
    # Locked, or a worker could claim a message that this tick is just withdrawing: it would be told and never ended.
    unsent = told.filter(state__in=_UNSENT).select_for_update(of=("self",), no_key=True)
    return [*unsent.order_by("id"), *kept]


def _mute(tick: _Tick, muter: Muter, watched: flaps.Watched, at: datetime) -> None:
    """Sort the members into what may be told and what is muted, and remember why."""
    _choose_members(tick, at)
    told = {print_ for log in tick.logs.values() for print_ in log.firing}
    sorted_: dict[tuple[bool, bool], set[str]] = defaultdict(set)
    for member in tick.members:
        alert = member.alert
        subject = policy.subject(alert, at, is_told=alert.fingerprint in told)
        if alert.fingerprint in watched.flapping:
            subject = replace(subject, is_resolved=False)  # one problem until it is calm
            tick.flapping[alert.fingerprint] = watched.flapping[alert.fingerprint]
        reason = muter.reason(subject, tick.route.active_intervals, tick.route.mute_intervals)
        if reason is not None:
            tick.reasons[alert.pk] = reason
        sorted_[reason is not None, subject.is_resolved].add(alert.fingerprint)
    tick.view = GroupView(
        firing=frozenset(sorted_[False, False]),
        resolved=frozenset(sorted_[False, True]),
        muted_firing=frozenset(sorted_[True, False]),
        muted_resolved=frozenset(sorted_[True, True]),
        muted_words="; ".join(sorted({reason.words for reason in tick.reasons.values()})[:3]),
    )
    words = [tick.flapping[print_] for print_ in sorted(watched.begun & tick.view.firing)]
    words += ["no longer flapping, still firing"] * bool(watched.calmed & tick.view.firing)
    tick.turned = "; ".join(words[:3])


def _choose_members(tick: _Tick, at: datetime) -> None:
    """Let one alert speak for each label set: the newest that fires, else the newest.

    Others are earlier lives of it, which leave, or alerts that other rules or relabelling gave the same labels: those
    that fire stay, since the label set is over only when none of them fires any more.
    """
    firing = {member.id for member in tick.members if not policy.is_resolved(member.alert, at)}
    ranked = sorted(tick.members, key=lambda member: (member.id in firing, member.alert_id))
    speaking = {member.alert.fingerprint: member for member in ranked}
    kept = {member.id for member in speaking.values()}
    staying = kept | firing
    tick.stale = [member.id for member in tick.members if member.id not in staying]
    tick.members = [member for member in tick.members if member.id in kept]


def _suppress(tick: _Tick, muter: Muter, at: datetime) -> None:
    """Remember how much is not told because of what the group tells, where that is a parent in the registry."""
    rules = muter.inhibitor.dependencies
    if not rules:
        return
    labels = [member.alert.label_set for member in tick.members if member.alert.fingerprint in tick.view.firing]
    parents = [own for own in labels if muter.inhibitor.is_parent(own)]
    if parents:
        tick.suppressed = suppressed.words(parents, rules, at)


def _tell(tick: _Tick, tree: Tree, at: datetime, writes: _Writes) -> None:
    """Decide for each way out, queue what is to be said, and let go of alerts that have ended."""
    is_waiting = False
    for integration in tick.integrations:
        is_waiting |= _tell_one(tick, integration, tree, at, writes)
    if not tick.integrations:
        _keep(tick, tree, at, writes)
    writes.leaving += tick.stale
    # With a message on its way they stay until it has arrived: if it is overtaken, the next one must name them. What a
    # mute swallows is named by none, and would be told after the mute if it stayed (AS-5, AH-5, AT-4).
    ended = tick.view.muted_resolved if is_waiting else tick.view.dropped_after
    writes.leaving += [member.pk for member in tick.members if member.alert.fingerprint in ended]
    for member in tick.members:
        words = tick.reasons[member.alert_id].words if member.alert_id in tick.reasons else ""
        if words != member.muted_reason:
            member.muted_reason = words
            writes.changed_members.append(member)
            if words:
                writes.events.append(
                    Event(alert=member.alert, rule_id=member.alert.rule_id, at=at, kind=Event.Kind.NOT_NOTIFIED,
                          reason=words)
                )  # fmt: skip


def _tell_one(tick: _Tick, integration: Integration, tree: Tree, at: datetime, writes: _Writes) -> bool:
    """Decide for one way out; returns whether it has something still to be sent afterwards."""
    open_ = tick.unsent.get(integration.pk, [])
    row = tick.logs.get(integration.pk)
    fixed = [message for message in open_ if not _can_withdraw(message)]
    queued = [message for message in open_ if _can_withdraw(message)]
    log = _log_of(fixed[-1], row) if fixed else notify_log.entry(row)
    settings = _settings(tick, integration.send_resolved)
    decision = timing.decide(
        tick.view, log, tick.planned, settings,
        unsent=_log_of(queued[-1], row) if queued else None, hold=_hold(tick, at),
    )  # fmt: skip
    if tick.turned:
        decision = timing.turned(tick.view, decision, tick.planned, settings, tick.turned)
    tick.words.append(f"{integration}: {decision.reason}")
    if decision.withdraw_unsent:
        writes.superseded += [message.pk for message in queued]
        queued = []
    if decision.send:
        is_there = bool(fixed or (row and row.slack_ts))
        kind = _KIND.UPDATE if is_there and _is_edit(integration, decision, log) else _KIND.POST
        told = log.firing if log else timing.NONE
        writes.notifications.append(_notification(tick, decision, kind, integration, told, tree, at))
        return True
    _note_log(tick, integration, decision, log, writes)
    if not open_ and row is not None:
        _show_suppressed(tick, integration, row, at, writes)
    return bool(queued or fixed)


def _show_suppressed(
    tick: _Tick, integration: Integration, row: NotifyLog, at: datetime, writes: _Writes
) -> None:  # fmt: skip
    """Edit a parent's living message quietly when the number of alerts that it suppresses has changed."""
    if tick.suppressed is None or integration.kind != Integration.Kind.SLACK or not row.slack_ts:
        return
    firing = tick.view.firing & set(row.firing)
    alerts = [member.alert for member in tick.members if member.alert.fingerprint in firing]
    if alerts:
        row.integration = integration
        edit = restate.with_suppressed(row, tick.group, tick.route, alerts, at, tick.suppressed, _notes(tick))
        writes.notifications += [(edit, [])] if edit is not None else []


def _keep(tick: _Tick, tree: Tree, at: datetime, writes: _Writes) -> None:
    """Without a way out the message is kept, exactly as it would look; what was kept last stands for the log."""
    last = tick.unsent.get(None, [])
    # What was kept never runs out: nobody was told, so there is nobody to remind.
    log = replace(_log_of(last[-1], None), expires_at=datetime.max.replace(tzinfo=UTC)) if last else None
    decision = timing.decide(tick.view, log, tick.planned, _settings(tick, send_resolved=True), hold=_NO_WAY_OUT)
    tick.words.append(f"{_NO_WAY_OUT}: {decision.reason}")
    if decision.send:
        told = log.firing if log else timing.NONE
        writes.notifications.append(_notification(tick, decision, _KIND.POST, None, told, tree, at))


def _settings(tick: _Tick, send_resolved: bool) -> TimingSettings:
    # A firing that a silence swallowed whole must not keep the next one quiet (AS-6); time and inhibition as upstream.
    by_silence = all(
        tick.reasons[member.alert_id].kind == "silenced"
        for member in tick.members
        if member.alert.fingerprint in tick.view.muted_resolved
    )
    return notify_log.settings(tick.route, send_resolved=send_resolved, was_silenced=by_silence)


def _hold(tick: _Tick, at: datetime) -> str:
    """Why the group is not repeated: somebody has each of its firing alerts in hand, or asked for quiet."""
    firing = [member.alert for member in tick.members if member.alert.fingerprint in tick.view.firing]
    if firing and all(alert.acknowledged_at for alert in firing):
        return "acknowledged"
    if firing and all(alert.acknowledged_at or (alert.snoozed_until and alert.snoozed_until > at) for alert in firing):
        return "snoozed"
    return ""


def _can_withdraw(message: Notification) -> bool:
    """Whether a queued message has surely not been seen by anybody, nor the summary it may be part of."""
    return all(
        row.state == _STATE.QUEUED and not row.is_ambiguous for row in (message, message.digest) if row is not None
    )


def _log_of(message: Notification, row: NotifyLog | None) -> LogEntry:
    """What the log will say once `message` has arrived."""
    planned = row.told_at if row and message.kind == _KIND.UPDATE else message.flushed_at
    expires_at = message.log_expires_at or message.flushed_at
    return LogEntry(frozenset(message.firing), frozenset(message.resolved), planned, expires_at)


def _is_edit(integration: Integration, decision: Decision, log: LogEntry | None) -> bool:
    """Whether the message edits the one before: on a bot token, as long as the problem it told of is not over."""
    is_living = integration.kind == Integration.Kind.SLACK
    return is_living and decision.why in _EDITS and log is not None and bool(log.firing)


def _notification(
    tick: _Tick, decision: Decision, kind: str, integration: Integration | None, told: timing.Fingerprints,
    tree: Tree, at: datetime,
) -> tuple[Notification, list[Alert]]:  # fmt: skip
    wanted = decision.firing | decision.resolved
    alerts = [member.alert for member in tick.members if member.alert.fingerprint in wanted]
    dedup_key = _dedup_key(tick, integration)
    log = decision.log_after
    content = compose.message(
        alerts, group=tick.group, receiver=tick.route.receiver, at=at, upstream_key=_upstream_key(tick, tree),
        route=tick.route.title, outbox_id=dedup_key, told=told, notes=_notes(tick), flapping=tick.flapping,
        hints=tick.hints,
    )  # fmt: skip
    if integration is not None:
        content = compose.dressed(content, integration)
    row = Notification(
        dedup_key=dedup_key,
        integration=integration,
        receiver_name=tick.route.receiver if tick.group.receiver_id else "",
        group=tick.group,
        group_key=tick.group.key,
        kind=kind,
        status=content.status,
        severity=content.severity,
        why=decision.why,
        reason=decision.reason,
        firing=sorted(log.firing) if log else [],
        resolved=sorted(log.resolved) if log else [],
        log_expires_at=log.expires_at if log else None,
        message=compose.dump(content),
        state=_STATE.QUEUED if integration else _STATE.KEPT,
        channel_key=integration.channel_key if integration else "",
        not_before=at,
        flushed_at=tick.planned,
        created_at=at,
    )
    return row, alerts


def _dedup_key(tick: _Tick, integration: Integration | None) -> str:
    way = integration.pk if integration else "kept"
    return hashlib.sha256(f"{tick.group.key}|{way}|{tick.planned.isoformat()}".encode()).hexdigest()


def _upstream_key(tick: _Tick, tree: Tree) -> str:
    for destination in tree.match(tick.members[0].alert.label_set):
        if destination.route_id == tick.route.id:
            return destination.upstream_key
    return ""


def _notes(tick: _Tick) -> list[str]:
    muted = len(tick.view.muted_firing)
    notes = [f"{muted} more not told: {tick.view.muted_words}"] if muted else []
    return [*notes, *([tick.suppressed] if tick.suppressed else []), *restate.marks(tick.marks)]


def _note_log(tick: _Tick, integration: Integration, decision: Decision, log: LogEntry | None, writes: _Writes) -> None:
    """Write the log although nothing is sent: where the engine changed it (AD-8, AS-6), and to keep it alive."""
    after = decision.log_after
    row = tick.logs.get(integration.pk)
    if decision.why == "held" and row is not None:
        # The log must not run out under an acknowledgement, or the group would be announced anew (AD-11).
        fresh = timing.log_entry(timing.NONE, timing.NONE, tick.planned, _settings(tick, send_resolved=True))
        row.expires_at = max(row.expires_at, fresh.expires_at)
        writes.logs.append(row)
        return
    if after is None or (log is not None and after.firing == log.firing and after.resolved == log.resolved):
        return
    row = row or NotifyLog(group_key=tick.group.key, integration=integration)
    row.firing, row.resolved = sorted(after.firing), sorted(after.resolved)
    row.flushed_at, row.told_at, row.expires_at = tick.planned, after.planned_tick, after.expires_at
    writes.logs.append(row)


def _advance(group: Group, route: Route, words: str, at: datetime) -> None:
    following = timing.next_tick(group.next_flush_at, at, route.group_interval_seconds)
    group.first_flush_at = group.first_flush_at or group.next_flush_at
    group.next_flush_at = following.at
    group.missed_flushes += following.missed
    group.last_flush_at, group.last_reason = at, words


def _save(writes: _Writes) -> list[int]:
    """Write all rows of a transaction; returns the ids of the new messages."""
    Notification.objects.filter(pk__in=writes.superseded).update(state=_STATE.SUPERSEDED, digest=None)
    rows = [row for row, _ in writes.notifications]
    bulk.insert(rows)
    links = [(row.pk, alert.pk) for row, alerts in writes.notifications for alert in alerts]
    if links:
        bulk.run(_LINK, list(map(list, zip(*links, strict=True))))
    for log in writes.logs:
        log.save()
    bulk.update(writes.changed_members, ["muted_reason"])
    GroupAlert.objects.filter(pk__in=writes.leaving).delete()
    bulk.insert(writes.events)
    return [row.pk for row in rows]
