"""When posted alerts end: the ends their senders named, kept so that a resend costs one row a request.

A sender such as Prometheus repeats every firing alert each minute with a later end. The first time that happens the
alert's row gives up its own end (`ends_at` becomes null) and the postings decide from then on; later repeats write
nothing but the posting. `settle` finds out who has ended: it looks into the postings only when the earliest of their
ends has come, and replaces them by a few rows meanwhile.

Renewing is a function of the database, alerts_renew (migration 0020): to plan its statement anew for each request took
three times as long as to execute it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction

from alerts import bulk
from alerts.models import Alert, Event, Ingest

# Any constants do that no other advisory lock of the portal has.
_POSTINGS_LOCK = 0x616C7070
# Postings are rewritten at least this often, however far away the ends are that they name.
_CHECK_EVERY = timedelta(minutes=5)
_MOST_ENDED = 5000  # alerts a call ends; the next tick goes on
_IN_ONE_POSTING = 1000


class Resend(NamedTuple):
    """One alert as it was posted: its content's key (amingest), its start, and the end it has now."""

    content_key: int
    starts_at: datetime
    ends_at: datetime

    def may_renew(self, at: datetime) -> bool:
        """Whether it fires now; whose start is still to come is merged like something new (AI-7)."""
        return self.starts_at <= at < self.ends_at


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
# Gives alerts whose last end has come their end back, and puts the postings of all others together.
_CHECK = f"""
WITH ends AS MATERIALIZED ({_ENDS.format(more="")}), ended AS (
    UPDATE alerts_alert a SET ends_at = ends.ends_at
    FROM ends WHERE a.id = ends.id AND ends.ends_at <= %(at)s AND a.ends_at IS NULL
), gone AS (
    DELETE FROM alerts_posting
), together AS (
    INSERT INTO alerts_posting (posted_at, alert_ids, ends_at)
    SELECT %(at)s, array_agg(id), array_agg(ends_at) FROM (
        SELECT id, ends_at, (row_number() OVER () - 1) / {_IN_ONE_POSTING} AS lot FROM ends WHERE ends_at > %(at)s
    ) AS numbered GROUP BY lot
)
SELECT count(*) FILTER (WHERE ends_at <= %(at)s), min(ends_at) FILTER (WHERE ends_at > %(at)s) FROM ends
"""  # noqa: S608  (our own text)
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


def renew(resends: Sequence[Resend], at: datetime) -> set[int]:
    """Note the new ends of alerts that fire just as they were posted; returns the content keys it does not hold for.

    Those are not known, have ended, or were posted differently since. One statement and a transaction of its own, whose
    commit need not have reached the disk; within a transaction of the caller's that counts for all of it.
    """
    if not resends:
        return set()
    keys, starts, ends = zip(*resends, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT alerts_renew(%s, %s, %s, %s)", [bulk.array(keys, "bigint"), _times(starts), _times(ends), at]
        )
        return set(cursor.fetchone()[0])


def _times(times: Sequence[datetime]) -> Any:
    """An array of them; where all are the same, as in most requests, of one."""
    return bulk.array(times[:1] if len(set(times)) == 1 else times, "timestamp with time zone")


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
        row.resolve_reason, row.content_key = "timeout" if row.is_timeout else "ended", None
    bulk.update(rows, ["state", "resolved_at", "resolve_reason", "updated_at", "content_key"])
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
        cursor.execute(_CHECK, {"timeout": clock.resolve_timeout_seconds, "at": at})
        ended, earliest = cursor.fetchone()
    clock.next_check_at = min(at + _CHECK_EVERY, earliest or at + _CHECK_EVERY)
    clock.save(update_fields=["next_check_at"])
    return int(ended)
