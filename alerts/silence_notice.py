"""A word to whoever made a silence, shortly before it ends: nobody likes to be surprised by what comes back."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F

from alerts import receipts, rotas
from alerts.models import Silence

ENDING_SOON = timedelta(minutes=30)
# A silence of an hour or less is still in its maker's mind.
_SHORT = timedelta(hours=1)


def tell_ending(at: datetime) -> list[int]:
    """Ids of the notices about silences that end soon; each silence is told of once for each end it is given.

    Silences of programs have no owner to tell, nor do people without an address.
    """
    rows = Silence.objects.filter(ends_at__gt=at, ends_at__lte=at + ENDING_SOON, author__is_active=True)
    made = []
    for row in rows.filter(starts_at__lt=F("ends_at") - _SHORT).select_related("author").order_by("ends_at"):
        words = f"Your silence of {row} ends at {row.ends_at:%Y-%m-%d %H:%M} UTC: {row.comment}"
        for way in rotas.ways([rotas.own_receiver(row.author)]):
            key = f"silence|{row.uuid}|{row.ends_at.isoformat()}"
            made.append(receipts.queue_notice(way, "SilenceEnding", words, at, key=key).pk)
    return made
