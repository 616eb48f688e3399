"""What the store has refused lately, by source and reason, so that somebody can act on it.

Written after the append has been committed and outside of it: a count must neither hold a lock nor undo samples.
"""

from __future__ import annotations

from ..models import Refusal
from . import wire
from .records import Receipt

#: Refusals nobody repeated for this long are forgotten.
KEEP_MS = 7 * 86_400_000
MAX_TEXT = 500


def note(receipt: Receipt, now_ms: int) -> None:
    """Add what an append has refused to the rows of its sources."""
    rows = sorted((source, reason, count) for (source, reason), count in receipt.refused.items())
    if not rows:
        return
    sources, reasons, counts = zip(*rows, strict=True)
    wire.execute(
        "insert into store_refusal (source, reason, samples, first_ms, last_ms, text)"
        " select u.source, u.reason, u.samples, %s, %s, u.text"
        " from unnest(%s::text[], %s::text[], %s::bigint[], %s::text[]) u (source, reason, samples, text)"
        " on conflict (source, reason) do update set samples = store_refusal.samples + excluded.samples,"
        " last_ms = greatest(store_refusal.last_ms, excluded.last_ms), text = excluded.text",
        [
            now_ms,
            now_ms,
            [source[:MAX_TEXT] for source in sources],
            list(reasons),
            list(counts),
            [receipt.errors.get(source, "")[:MAX_TEXT] for source in sources],
        ],
    )


def forget(now_ms: int) -> int:
    """Forget the refusals nobody has repeated for a week; return how many."""
    return Refusal.objects.filter(last_ms__lt=now_ms - KEEP_MS).delete()[0]
