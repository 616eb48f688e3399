"""Which of a tick's looks can find something: one question to the database in place of each look's own.

Most ticks find nothing. A look may be named that then finds nothing; one that would find something is always named.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from alerts.amlease import HAS_OVERDUE

#: The looks of a tick; what one brings about is the work of those after it.
LOOKS = ("evaluate", "flush", "escalate", "deliver")

_AGENDA = f"""
SELECT
    EXISTS (
        SELECT FROM alerts_rulegroup AS rules LEFT JOIN alerts_groupclock AS clock ON clock.group_id = rules.id
        WHERE rules.is_enabled AND (
            clock.group_id IS NULL OR clock.next_slot_at <= %(until)s
            OR clock.settle_at IS NULL OR clock.settle_at <= %(at)s
        )
    ),
    EXISTS (SELECT FROM alerts_group WHERE next_flush_at <= %(until)s)
        OR NOT EXISTS (SELECT FROM alerts_ingest WHERE next_check_at > %(at)s) OR ({HAS_OVERDUE}),
    EXISTS (SELECT FROM alerts_escalation WHERE ended_at IS NULL),
    EXISTS (SELECT FROM alerts_notification WHERE state = 'queued' AND not_before <= %(at)s)
        OR EXISTS (SELECT FROM alerts_notification WHERE state = 'sending' AND lease_until <= %(at)s)
"""  # noqa: S608  (our own text)


def looks(at: datetime, until: datetime) -> tuple[str, ...]:
    """Return the LOOKS to take at `at`, the next tick being at `until`: the first that is worth it and the rest."""
    with connection.cursor() as cursor:
        cursor.execute(_AGENDA, {"at": at, "until": until})
        is_worth_it = cursor.fetchone()
    return LOOKS[is_worth_it.index(True) :] if any(is_worth_it) else ()
