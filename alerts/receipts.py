"""What becomes of a message after a try: sent, to be tried again, given up; and what follows from it.

Everything about one message is written in one transaction: its state, the log of what was told, the timeline of its
alerts, the channel's breaker, and the line in the thread that comes next.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Count

from alerts import bulk, channel_states, compose
from alerts.channel_states import States
from alerts.channels.base import DeliveryError, Permanent, Receipt, Repost, Shrink, Transient
from alerts.channels.slack_errors import METADATA_CODES
from alerts.engine import delivery
from alerts.engine.message import Message
from alerts.engine.muting import SEVERITY_ORDER
from alerts.models import Attempt, Event, Integration, Notification, NotifyLog, Receiver
from alerts.transmit import Outcome, Parcel

_STATE, _KIND = Notification.State, Notification.Kind
_LOGGED_KINDS = (_KIND.POST, _KIND.UPDATE)
# The receiver of this name gets what could not be delivered elsewhere (DL-4).
FALLBACK_RECEIVER = "fallback"
# A failed message about a thousand alerts must not write a thousand lines into the timeline.
_FAILED_EVENTS = 50
_RANK = {severity: rank for rank, severity in enumerate(SEVERITY_ORDER)}
_TIMELINE = """
INSERT INTO alerts_event (alert_id, rule_id, at, kind, reason)
SELECT a.id, a.rule_id, %s, %s, v.reason
FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS v (notification_id, fingerprint, reason)
JOIN alerts_notification_alerts AS t USING (notification_id)
JOIN alerts_alert AS a ON a.id = t.alert_id AND a.fingerprint = v.fingerprint
"""
_RELEASE = """
DELETE FROM alerts_groupalert AS g
USING unnest(%s::bigint[], %s::text[]) AS v (notification_id, fingerprint)
JOIN alerts_notification AS n ON n.id = v.notification_id
JOIN alerts_notification_alerts AS t ON t.notification_id = n.id
JOIN alerts_alert AS a ON a.id = t.alert_id AND a.fingerprint = v.fingerprint
WHERE g.group_id = n.group_id AND g.alert_id = a.id
  AND (a.state = 'resolved' OR a.source = 'api' AND a.ends_at <= %s)
  AND NOT EXISTS (
    SELECT FROM alerts_notification w
    WHERE w.group_id = n.group_id AND w.kind IN ('post', 'update') AND w.state IN ('queued', 'sending')
  )
"""
Result = tuple[Parcel, Outcome, float]  # seconds that the sending took


@transaction.atomic
def settle(results: Sequence[Result], at: datetime, owner: str) -> list[str]:
    """Write what became of each claimed message; returns its new state, or "taken over" where the lease had run out."""
    ids = [parcel.notification_id for parcel, _, _ in results]
    mine = Notification.objects.filter(pk__in=ids, state=_STATE.SENDING, lease_owner=owner)
    locked = mine.select_for_update(of=("self",), no_key=True).prefetch_related("integration__slack_app").order_by("id")
    rows = {row.pk: row for row in locked.defer("message")}
    states = channel_states.lock(list(rows.values()), at)
    sent: list[tuple[Notification, Outcome]] = []
    dead: list[Notification] = []
    for parcel, outcome, _ in results:
        row = rows.get(parcel.notification_id)
        if row is None:
            continue
        _apply(row, outcome, states, at)
        if row.state == _STATE.SENT:
            sent.append((row, outcome))
        elif row.state == _STATE.DEAD:
            dead.append(row)
    _write(list(rows.values()))
    _record_sent(sent, at)
    _record_dead(dead, at)
    _note_errors(list(rows.values()), at)
    _tell_of_stops(states, list(rows.values()), at)
    states.save()
    _note_tries(results, rows, at)
    return [str(rows[pk].state) if pk in rows else "taken over" for pk in ids]


def _apply(row: Notification, outcome: Outcome, states: States, at: datetime) -> None:
    """Move a message to its next state and tell its channel."""
    row.lease_owner, row.lease_until = "", None
    row.kind = outcome.kind
    if outcome.is_unsent:
        row.state, row.not_before = _STATE.QUEUED, at
        return
    if outcome.receipt is not None:
        _arrived(row, outcome.receipt, at)
        states.succeeded(row)
        return
    error = outcome.error
    assert error is not None  # noqa: S101  (an outcome has one of the two)
    was_unlisted = row.error_class in METADATA_CODES
    row.last_error, row.error_class = error.text, error.code or error.kind
    if isinstance(error, Transient):
        _postpone(row, error, states, at)
    elif isinstance(error, Shrink) and not row.is_shrunk:
        row.is_shrunk = was_unlisted or error.code not in METADATA_CODES
        row.state, row.not_before = _STATE.QUEUED, at
        states.succeeded(row)
    elif isinstance(error, Repost):
        row.state = _STATE.SUPERSEDED  # a line in a thread that is gone; what it said stands in the message
        states.succeeded(row)
    else:
        row.state = _STATE.DEAD
        _close(row, error, states, at)


def _arrived(row: Notification, receipt: Receipt, at: datetime) -> None:
    row.state, row.sent_at, row.is_ambiguous = _STATE.SENT, at, False
    row.attempts += 1
    row.error_class = row.last_error = ""
    row.slack_channel, row.slack_ts, row.permalink = receipt.channel, receipt.ts, receipt.permalink


def _postpone(row: Notification, error: Transient, states: States, at: datetime) -> None:
    """Try again later; asking us to wait is no failure and counts as no try (DL-3, DL-5)."""
    row.is_ambiguous = row.is_ambiguous or error.ambiguous
    row.state = _STATE.QUEUED
    if not error.counts_as_attempt:
        row.not_before = states.waited(row, at, error.retry_after_seconds or 1.0)
        return
    row.attempts += 1
    stopped_until = states.failed(row, at, "transient", error.text)
    if delivery.is_given_up(row.created_at, at, row.attempts, error.max_attempts):
        row.state = _STATE.DEAD
        return
    chance = random.random()  # noqa: S311  (spreads tries, guards nothing)
    next_try = delivery.retry_at(at, row.attempts, chance, retry_after_seconds=error.retry_after_seconds)
    # Once the channel is stopped its own pause counts: the first message after it finds out whether it works again.
    row.not_before = stopped_until or next_try


def _close(row: Notification, error: DeliveryError, states: States, at: datetime) -> None:
    """Stop what is broken: this message alone, its channel, or everything with the same credentials."""
    row.attempts += 1
    scope = error.scope if isinstance(error, Permanent) else "message"
    if scope == "message":
        states.succeeded(row)
    else:
        states.failed(row, at, scope, error.text)


def _write(rows: Sequence[Notification]) -> None:
    fields = [
        "state", "kind", "not_before", "attempts", "lease_until", "lease_owner", "is_ambiguous", "is_shrunk",
        "error_class", "last_error", "sent_at", "slack_channel", "slack_ts", "permalink",
    ]  # fmt: skip
    bulk.update(rows, fields)


def _record_sent(sent: Sequence[tuple[Notification, Outcome]], at: datetime) -> None:
    """Advance the log, let go of alerts that ended, write the timeline, queue lines for threads."""
    if not sent:
        return
    rows = [row for row, _ in sent]
    Integration.objects.filter(pk__in={row.integration_id for row in rows}).update(last_ok_at=at)
    digested = Notification.objects.filter(digest__in=[row.pk for row in rows if row.kind == _KIND.DIGEST])
    told_by_digest = list(digested.defer("message"))
    digested.update(state=_STATE.SENT, sent_at=at)
    logged = [row for row in rows if row.kind in _LOGGED_KINDS] + told_by_digest
    before = _logs_of(logged)
    _advance_logs(logged, before, at)
    _release(logged, at)
    _tell_timeline(logged, before, at)
    _queue_threads(sent, before, at)


def _logs_of(rows: Sequence[Notification]) -> dict[tuple[str, int | None], NotifyLog]:
    logs = NotifyLog.objects.filter(group_key__in=[row.group_key for row in rows])
    return {(log.group_key, log.integration_id): log for log in logs}


def _advance_logs(rows: Sequence[Notification], before: dict[tuple[str, int | None], NotifyLog], at: datetime) -> None:
    """What these messages said is now what was told (AD-12); an edit keeps the clock of repeats (DL-10)."""
    fresh = []
    for row in rows:
        if row.integration_id is None:
            continue
        old = before.get((row.group_key, row.integration_id))
        log = NotifyLog(
            group_key=row.group_key, integration_id=row.integration_id, flushed_at=row.flushed_at,
            told_at=row.flushed_at, firing=row.firing, resolved=row.resolved, severity=row.severity,
            slack_channel=row.slack_channel, slack_ts=row.slack_ts, permalink=row.permalink,
            expires_at=row.log_expires_at or row.flushed_at,
        )  # fmt: skip
        if old is not None and row.kind == _KIND.UPDATE:
            log.told_at = old.told_at
        if old is not None and old.flushed_at > row.flushed_at:
            # A later tick has noted what it did not send; only where the message lies is news.
            log.flushed_at, log.told_at, log.expires_at = old.flushed_at, old.told_at, old.expires_at
            log.firing, log.resolved = old.firing, old.resolved
        fresh.append(log)
    NotifyLog.objects.bulk_create(
        fresh, update_conflicts=True, unique_fields=["group_key", "integration"],
        update_fields=["flushed_at", "told_at", "firing", "resolved", "severity", "slack_channel", "slack_ts",
                       "permalink", "expires_at"],
    )  # fmt: skip


def _release(rows: Sequence[Notification], at: datetime) -> None:
    """Take alerts out of their groups once their end was told and nothing about the group waits any more (AG-6).

    Only those that the message told as resolved: one that ended while it was on its way has still to be told.
    """
    ended = [(row.pk, fingerprint) for row in rows for fingerprint in row.resolved]
    if ended:
        bulk.run(_RELEASE, [*map(list, zip(*ended, strict=True)), at])


def _tell_timeline(rows: Sequence[Notification], before: dict[tuple[str, int | None], NotifyLog], at: datetime) -> None:
    """A line on each alert that a message told something new about; every one of them when it is a repeat."""
    news = [
        (row.pk, fingerprint, f"{row.receiver_name}: {row.reason}")
        for row in rows
        for fingerprint in _news(row, before.get((row.group_key, row.integration_id)))
    ]
    if news:
        bulk.run(_TIMELINE, [at, Event.Kind.NOTIFIED.value, *map(list, zip(*news, strict=True))])


def _news(row: Notification, old: NotifyLog | None) -> set[str]:
    firing, resolved = set(row.firing), set(row.resolved)
    if old is None or row.why == "repeat":
        return firing | resolved
    return (firing - set(old.firing)) | (resolved - set(old.resolved))


def _queue_threads(
    sent: Sequence[tuple[Notification, Outcome]], before: dict[tuple[str, int | None], NotifyLog], at: datetime
) -> None:
    """The line under an edited message: an edit alone notifies nobody (DL-10). In a storm the edits must do."""
    edited = [(row, outcome.thread) for row, outcome in sent if row.kind == _KIND.UPDATE and outcome.thread]
    crowded = _crowded({row.integration_id for row, _ in edited})
    lines = []
    for row, thread in edited:
        if row.integration_id in crowded:
            continue
        old = before.get((row.group_key, row.integration_id))
        is_rise = row.status == "firing" and _RANK.get(row.severity, -1) > _RANK.get(old.severity if old else "", -1)
        lines.append(
            Notification(
                dedup_key=hashlib.sha256(f"{row.dedup_key}|thread".encode()).hexdigest(),
                integration_id=row.integration_id,
                receiver_name=row.receiver_name,
                group_id=row.group_id,
                group_key=row.group_key,
                kind=_KIND.THREAD,
                status=row.status,
                severity=row.severity,
                why=row.why,
                reason=row.reason,
                message={"payload": dict(thread), "broadcast": is_rise},
                channel_key=row.channel_key,
                not_before=at,
                flushed_at=row.flushed_at,
                created_at=at,
                slack_channel=row.slack_channel,
                slack_ts=row.slack_ts,
            )
        )
    Notification.objects.bulk_create(lines, ignore_conflicts=True)


def _crowded(integration_ids: set[int | None]) -> set[int | None]:
    """Ways out before which more messages wait than are told one by one."""
    waiting = Notification.objects.filter(integration__in=integration_ids - {None}, state=_STATE.QUEUED)
    counted = waiting.values("integration").annotate(waiting=Count("id")).filter(waiting__gt=delivery.DIGEST_ABOVE)
    return set(counted.values_list("integration", flat=True)) if integration_ids else set()


def _note_errors(rows: Sequence[Notification], at: datetime) -> None:
    """Show on the way out what went wrong last."""
    errors = {row.integration_id: row.last_error for row in rows if row.last_error}
    for integration_id, error in errors.items():
        Integration.objects.filter(pk__in=[integration_id]).update(last_error=error, last_error_at=at)


def _record_dead(dead: Sequence[Notification], at: datetime) -> None:
    """Say on the alerts that telling failed, and tell the fallback receiver instead (DL-4)."""
    for row in dead:
        row.digested.update(digest=None)  # each speaks for itself again
        alerts = row.alerts.values_list("id", "rule_id")[:_FAILED_EVENTS]
        words = f"{row.receiver_name}: {row.last_error}"
        Event.objects.bulk_create(
            [Event(alert_id=pk, rule_id=rule, at=at, kind=Event.Kind.FAILED, reason=words) for pk, rule in alerts]
        )
        if row.kind in _LOGGED_KINDS:
            _tell_fallback(row, at)


def _tell_fallback(row: Notification, at: datetime) -> None:
    receiver = _fallback_of(row)
    if receiver is None:
        return
    copies = [
        Notification(
            dedup_key=hashlib.sha256(f"{row.dedup_key}|fallback|{way.pk}".encode()).hexdigest(),
            integration=way,
            receiver_name=receiver.name,
            group_id=row.group_id,
            group_key=row.group_key,
            kind=_KIND.POST,
            status=row.status,
            severity=row.severity,
            why="fallback",
            reason=f"{row.receiver_name} could not be told: {row.last_error}",
            firing=row.firing,
            resolved=row.resolved,
            log_expires_at=row.log_expires_at,
            message=row.message,
            channel_key=way.channel_key,
            not_before=at,
            flushed_at=row.flushed_at,
            created_at=at,
        )
        for way in receiver.integrations.filter(is_enabled=True)
    ]
    Notification.objects.bulk_create(copies, ignore_conflicts=True)


def _fallback_of(row: Notification) -> Receiver | None:
    """Who is told instead: the fallback of the way's own receiver, else the receiver of that name."""
    own = row.integration.receiver.fallback if row.integration else None
    if own is not None:
        return own
    return Receiver.objects.filter(name=FALLBACK_RECEIVER).exclude(integrations=row.integration_id).first()


def queue_notice(
    way: Integration, name: str, words: str, at: datetime, *, key: str, kind: str = _KIND.POST, severity: str = "info"
) -> Notification:
    """A queued message of the portal about itself; one for each `key` and way out, however often it is asked for."""
    dedup_key = _key(key, way)
    content = compose.notice(name, words, receiver=way.receiver.name, at=at, outbox_id=dedup_key, severity=severity)
    return _queued(way, content, words, at, dedup_key, kind, severity)


def queue_test(way: Integration, content: Message, words: str, at: datetime, *, key: str) -> Notification:
    """A queued message that says of itself that it is a test; it counts for nothing that people were told."""
    return _queued(way, content, words, at, _key(key, way), _KIND.TEST, "")


def _key(key: str, way: Integration) -> str:
    return hashlib.sha256(f"{key}|{way.pk}".encode()).hexdigest()


def _queued(
    way: Integration, content: Message, words: str, at: datetime, dedup_key: str, kind: str, severity: str
) -> Notification:
    given = {
        "integration": way, "receiver_name": way.receiver.name, "group_key": f"notice:{dedup_key[:50]}", "kind": kind,
        "status": content.status, "severity": severity, "why": "notice", "reason": words,
        "message": compose.dump(content), "channel_key": way.channel_key, "not_before": at, "flushed_at": at,
        "created_at": at,
    }  # fmt: skip
    return Notification.objects.get_or_create(dedup_key=dedup_key, defaults=given)[0]


def _tell_of_stops(states: States, rows: Sequence[Notification], at: datetime) -> None:
    """Tell the fallback receiver, once a stop, that a channel takes nothing any more (DL-8)."""
    opened = states.opened()
    if not opened:
        return
    for way in Integration.objects.filter(receiver__name=FALLBACK_RECEIVER, is_enabled=True).select_related("receiver"):
        for key, opened_at in opened.items():
            row = next(
                (row for row in rows if key in channel_states.keys(row) and row.channel_key != way.channel_key), None
            )
            if row is not None:
                words = f"Messages to {row.receiver_name} ({row.integration}) wait: {row.last_error}"
                queue_notice(way, "ChannelStopped", words, at, key=f"{key}|{opened_at}", severity="warning")


def _note_tries(results: Sequence[Result], rows: dict[int, Notification], at: datetime) -> None:
    tries = []
    for parcel, outcome, seconds in results:
        if outcome.is_unsent:
            continue
        error, receipt = outcome.error, outcome.receipt
        state = rows[parcel.notification_id].state if parcel.notification_id in rows else "taken over"
        tries.append(
            Attempt(
                notification_id=parcel.notification_id,
                at=at,
                duration_seconds=seconds,
                outcome=(error.code or error.kind)[:30] if error else state[:30],
                detail=error.text if error else (receipt.detail if receipt else ""),
            )
        )
    bulk.insert(tries)
