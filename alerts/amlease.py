"""When posted alerts end: the ends their senders named, kept so that a resend costs one row a request.

A sender such as Prometheus repeats every firing alert each minute with a later end. The first time that happens the
alert's row gives up its own end (`ends_at` becomes null) and the postings decide from then on; later repeats write
nothing but the posting. `settle` finds out who has ended: it looks into the postings only when the earliest of their
ends has come, and replaces them by a few rows meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from alerts import bulk
from alerts.models import Alert, Event, Ingest

# Any constants do that no other advisory lock of the portal has.
_POSTINGS_LOCK = 0x616C7070
# Postings are rewritten at least this often, however far away the ends are that they name.
_CHECK_EVERY = timedelta(minutes=5)
_MOST_ENDED = 5000  # alerts a call ends; the next tick goes on
_IN_ONE_POSTING = 1000


@dataclass(frozen=True, slots=True)
class Renewal:
    """One alert that was posted as it is: its row, the `updated_at` the row must still have, and the new end."""

    alert_id: int
    version: datetime
    ends_at: datetime


# Only rows that are as the caller saw them and still fire; the earliest new end moves the next look on. LATERAL has
# each row looked up by its key: with old statistics the planner would read every alert that fires.
_RENEW = """
WITH wanted AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(versions)s::timestamptz[], %(ends)s::timestamptz[])
        AS w (id, version, ends_at)
), alive AS (
    SELECT w.id, w.ends_at, a.ends_at IS NOT NULL AS is_first FROM wanted w, LATERAL (
        SELECT state, updated_at, ends_at FROM alerts_alert WHERE id = w.id LIMIT 1
    ) AS a
    WHERE a.updated_at = w.version AND a.state = 'firing' AND (a.ends_at IS NULL OR a.ends_at > %(at)s)
), posting AS (
    INSERT INTO alerts_posting (posted_at, alert_ids, ends_at)
    SELECT %(at)s, array_agg(id), array_agg(ends_at) FROM alive HAVING count(*) > 0
), first AS (
    UPDATE alerts_alert a SET ends_at = NULL FROM alive WHERE a.id = alive.id AND alive.is_first
), clock AS (
    UPDATE alerts_ingest SET next_check_at = earliest.ends_at
    FROM (SELECT min(ends_at) AS ends_at FROM alive) AS earliest
    WHERE alerts_ingest.next_check_at > earliest.ends_at
)
SELECT id FROM alive
"""
# The commit of a resend need not reach the disk at once: what a crash of Postgres can lose is that an alert, which has
# not changed, ends a minute later, and its sender says so again. `write_through` takes it back.
_RENEWING = "SELECT pg_advisory_xact_lock_shared(%s), set_config('synchronous_commit', 'off', true)"
# The last end that was named for each alert that has none of its own. What was posted before the row was changed does
# not count; an alert without any posting left is believed in for the resolve timeout, as one that has just come in.
_ENDS = """
SELECT a.id, coalesce(max(p.ends_at), a.updated_at + make_interval(secs => %(timeout)s)) AS ends_at
FROM alerts_alert a
LEFT JOIN (
    SELECT posting.posted_at, one.id, one.ends_at
    FROM alerts_posting posting, unnest(posting.alert_ids, posting.ends_at) AS one (id, ends_at)
) p ON p.id = a.id AND p.posted_at >= a.updated_at
WHERE a.state = 'firing' AND a.source = 'api' AND a.ends_at IS NULL {more}
GROUP BY a.id
"""
_END = """
WITH ended AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(ends)s::timestamptz[]) AS e (id, ends_at)
)
UPDATE alerts_alert a SET ends_at = ended.ends_at FROM ended WHERE a.id = ended.id AND a.ends_at IS NULL
"""
# Whether there are posted alerts whose own end has come and was not written down yet.
HAS_OVERDUE = """
SELECT EXISTS (SELECT FROM alerts_alert WHERE state = 'firing' AND source = 'api' AND ends_at <= %(at)s)
"""
_OVERDUE = f"SELECT next_check_at <= %(at)s, ({HAS_OVERDUE}) FROM alerts_ingest"  # noqa: S608  (our own text)


def resolve_timeout_seconds(at: datetime) -> float:
    """How long an alert is believed in whose sender names no end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT resolve_timeout_seconds FROM alerts_ingest")
        found = cursor.fetchone()
    return float(found[0] if found else settings(at).resolve_timeout_seconds)


def settings(at: datetime) -> Ingest:
    """The row about posted alerts, made when it is missing."""
    return Ingest.objects.get_or_create(pk=1, defaults={"next_check_at": at})[0]


def renew(renewals: Sequence[Renewal], at: datetime) -> set[int]:
    """Note the new ends of alerts that nothing else has changed about; returns the ids it holds for.

    The others have ended, or their rows are no longer as the caller saw them. Call it inside a transaction; one that
    writes anything else must `write_through`.
    """
    if not renewals:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_RENEWING, [_POSTINGS_LOCK])
        cursor.execute(
            _RENEW,
            {
                "ids": [one.alert_id for one in renewals], "versions": [one.version for one in renewals],
                "ends": [one.ends_at for one in renewals], "at": at,
            },
        )  # fmt: skip
        return {pk for (pk,) in cursor.fetchall()}


def write_through() -> None:
    """Have what else this transaction writes on disk when it is committed, though it began as a mere resend."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit TO DEFAULT")


def settle(at: datetime) -> int:
    """End the posted alerts whose end has come by `at`, with a line in their history; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE, {"at": at})
        found = cursor.fetchone()
    if found is None:
        settings(at)  # the first look of a new portal makes the row
        found = (True, True)
    must_check, has_ended = found
    if must_check:
        has_ended |= bool(_check_postings(at))
    return end_overdue(at) if has_ended else 0


def ends_of(alert_ids: Collection[int], at: datetime) -> dict[int, datetime]:
    """The ends of those posted alerts whose rows have none of their own, by id."""
    if not alert_ids:
        return {}
    timeout = resolve_timeout_seconds(at)
    with connection.cursor() as cursor:
        cursor.execute(_ENDS.format(more="AND a.id = ANY(%(ids)s)"), {"ids": list(alert_ids), "timeout": timeout})
        return dict(cursor.fetchall())


@transaction.atomic
def end_overdue(at: datetime) -> int:
    """Write down that posted alerts have ended whose own end has come; returns how many."""
    firing = Alert.objects.filter(state=Alert.State.FIRING, source=Alert.Source.API, ends_at__lte=at)
    rows = list(firing.select_for_update(skip_locked=True, no_key=True).order_by("id")[:_MOST_ENDED])
    for row in rows:
        row.state, row.resolved_at, row.updated_at = Alert.State.RESOLVED, row.ends_at, at
        row.resolve_reason = "timeout" if row.is_timeout else "ended"
    bulk.update(rows, ["state", "resolved_at", "resolve_reason", "updated_at"])
    bulk.insert([ended_event(row) for row in rows])
    return len(rows)


def ended_event(row: Alert) -> Event:
    """The line in the history of a posted alert that has ended."""
    words = {
        "timeout": "Its sender named no end and did not post it again in time.",
        "ended": "The end that its sender named has come.",
    }.get(row.resolve_reason, "Its sender says that it is over.")
    return Event(
        alert=row, rule_id=row.rule_id, at=row.resolved_at or row.updated_at, kind=Event.Kind.RESOLVED, reason=words
    )


@transaction.atomic
def _check_postings(at: datetime) -> int:
    """Give alerts that nobody resent in time their end back, and put the postings of the others together.

    Returns how many have ended. Waits for renewals under way, so that none is overlooked.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_POSTINGS_LOCK])
    clock = Ingest.objects.select_for_update().get(pk=1)
    if clock.next_check_at > at:
        return 0  # another worker was faster
    with connection.cursor() as cursor:
        cursor.execute(_ENDS.format(more=""), {"timeout": clock.resolve_timeout_seconds})
        ends: list[tuple[int, datetime]] = cursor.fetchall()
        over = [(pk, end) for pk, end in ends if end <= at]
        if over:
            cursor.execute(_END, {"ids": [pk for pk, _ in over], "ends": [end for _, end in over]})
        left = [(pk, end) for pk, end in ends if end > at]
        cursor.execute("DELETE FROM alerts_posting")
        for first in range(0, len(left), _IN_ONE_POSTING):
            some = left[first : first + _IN_ONE_POSTING]
            cursor.execute(
                "INSERT INTO alerts_posting (posted_at, alert_ids, ends_at) VALUES (%s, %s, %s::timestamptz[])",
                [at, [pk for pk, _ in some], [end for _, end in some]],
            )
    clock.next_check_at = min([at + _CHECK_EVERY, *(end for _, end in left)])
    clock.save(update_fields=["next_check_at"])
    return len(over)
