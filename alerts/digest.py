"""One summary instead of a queue: when more messages wait for a Slack channel than it takes in seconds (DL-7).

The messages it covers stay queued, out of reach of the outbox, until the summary has arrived; then they count as sent
and their logs move. Were the summary given up, each of them would be sent for itself again. Edits are not summed up:
they have a limit of their own, and the message they edit would stay as it is.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import transaction
from django.db.models import Count, Min

from alerts.engine import delivery
from alerts.engine.muting import SEVERITY_ORDER
from alerts.models import Integration, Notification

_STATE, _KIND = Notification.State, Notification.Kind
_SLACK = (Integration.Kind.SLACK, Integration.Kind.SLACK_WEBHOOK)
# One summary lists as many as its metadata can name; what is left waits for the next.
_MOST = 500
_RANK = {severity: rank for rank, severity in enumerate(SEVERITY_ORDER, 1)}


def gather(at: datetime) -> list[int]:
    """Ids of the summaries made: one for each channel with more than twenty problems waiting for five seconds."""
    waiting = Notification.objects.filter(
        state=_STATE.QUEUED, digest__isnull=True, kind=_KIND.POST, is_ambiguous=False, integration__kind__in=_SLACK,
    )  # fmt: skip
    crowded = waiting.values("integration").annotate(waiting=Count("id"), oldest=Min("created_at"))
    storms = [
        row["integration"]
        for row in crowded.filter(waiting__gt=delivery.DIGEST_ABOVE, oldest__lte=at - delivery.DIGEST_AFTER)
    ]
    made = [_summarise(integration_id, at) for integration_id in sorted(storms)]
    return [pk for pk in made if pk is not None]


@transaction.atomic
def _summarise(integration_id: int, at: datetime) -> int | None:
    """The id of the summary of what waits for one way out, None where it is no storm any more."""
    rows = list(
        Notification.objects.select_for_update(skip_locked=True, of=("self",), no_key=True)
        .filter(integration=integration_id, state=_STATE.QUEUED, digest__isnull=True, is_ambiguous=False)
        .filter(kind=_KIND.POST)
        .select_related("integration__receiver")
        .defer("message")
        .order_by("id")[:_MOST]
    )
    if not delivery.is_storm([row.created_at for row in rows], at):
        return None
    first = rows[0]
    firing = sum(row.status == "firing" for row in rows)
    summary = Notification.objects.create(
        dedup_key=hashlib.sha256(f"digest|{first.dedup_key}|{rows[-1].dedup_key}".encode()).hexdigest(),
        integration_id=integration_id, receiver_name=first.receiver_name,
        # A key of its own for each way out: summaries of one channel keep their order.
        group_key=f"digest:{integration_id}", kind=_KIND.DIGEST, status="firing" if firing else "resolved",
        severity=max((row.severity for row in rows), key=lambda severity: _RANK.get(severity, 0)), why="digest",
        reason=f"{len(rows)} problems wait for this channel: {firing} firing, {len(rows) - firing} resolved",
        message={}, channel_key=first.channel_key, not_before=at, flushed_at=at, created_at=at,
    )  # fmt: skip
    Notification.objects.filter(pk__in=[row.pk for row in rows]).update(digest=summary)
    return summary.pk
