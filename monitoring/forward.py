"""Sends what has been stored to the Prometheus-compatible server that holds the samples.

Nothing is lost while that server is away: rows wait in Postgres. Beyond STORE_FORWARD_MAX_BYTES the oldest go, counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import structlog
from django.conf import settings
from django.db import transaction

from monitoring import metrics
from monitoring.promql import Labels
from monitoring.remote import BackendAway, Refused, Remote
from monitoring.remote_wire import label_bytes, sample_bytes, write_request
from monitoring.store import queue, refusals
from monitoring.store.queue import Sent, Unpacker
from monitoring.store.records import Receipt

log = structlog.get_logger(__name__)
#: Rows in one request, and bytes that may wait for a server that is away (two hours of 30,000 series at 15 s).
BATCH_ROWS = 200
MAX_WAITING_BYTES = 2 << 30
SOURCE = "remote write"


@dataclass
class Forwarded:
    """What one round has done: rows and samples sent, samples dropped by reason, and why it ended early ("")."""

    rows: int = 0
    samples: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    problem: str = ""


class Forwarder:
    """Sends rows from one process; what it remembers of earlier rows only saves stale markers."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._unpacker = Unpacker()
        self._labels: dict[Labels, bytes] = {}

    def run(self, now_ms: int, max_batches: int = 50) -> Forwarded:
        """Send what waits, the oldest first, until nothing is left or the server does not take it."""
        done = Forwarded()
        receipt = Receipt()
        try:
            for _ in range(max_batches):
                if not self._send_batch(done, receipt):
                    break
        except BackendAway as error:
            done.problem = str(error)
            self._unpacker = Unpacker()  # what was not sent is not what the server knows
            self._shorten(receipt)
        done.dropped = dict(receipt.dropped)
        metrics.FORWARDED.inc(done.samples)
        for reason, samples in receipt.dropped.items():
            metrics.FORWARD_DROPPED.labels(reason).inc(samples)
        refusals.note(receipt, now_ms)
        return done

    def _send_batch(self, done: Forwarded, receipt: Receipt) -> bool:
        """Send some rows and remove them in one transaction; return whether there may be more."""
        with transaction.atomic():
            if not queue.try_send_lock():
                return False
            taken = queue.take(BATCH_ROWS)
            if not taken:
                return False
            rows = list(self._unpacker.rows(taken))
            done.samples += self._send(rows, receipt)
            done.rows += len(taken)
        return len(taken) == BATCH_ROWS

    def _send(self, rows: Sequence[Sent], receipt: Receipt) -> int:
        """Return how many samples have arrived; a request that is refused is sent again in halves."""
        if not any(len(row.labels) for row in rows):
            return 0
        try:
            self.remote.write(self._request(rows))
        except Refused as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                return self._send(rows[:middle], receipt) + self._send(rows[middle:], receipt)
            receipt.drop("refused_by_backend", len(rows[0].labels), SOURCE, str(error))
            log.warning("samples_refused_by_backend", samples=len(rows[0].labels), error=str(error))
            return 0
        return sum(len(row.labels) for row in rows)

    def _request(self, rows: Sequence[Sent]) -> bytes:
        """Return one request; the samples of a series stand together and in order of time, as receivers want it."""
        series: dict[Labels, list[bytes]] = {}
        for row in rows:
            raw = row.values.tobytes()
            for place, labels in enumerate(row.labels):
                series.setdefault(labels, []).append(sample_bytes(row.at_ms, raw[8 * place : 8 * place + 8]))
        return write_request((self._label_bytes(labels), b"".join(samples)) for labels, samples in series.items())

    def _label_bytes(self, labels: Labels) -> bytes:
        found = self._labels.get(labels)
        if found is None:
            if len(self._labels) > 1_000_000:
                self._labels = {}
            found = self._labels[labels] = label_bytes(labels.pairs)
        return found

    def _shorten(self, receipt: Receipt) -> None:
        """Drop the oldest rows while more waits than there is room for."""
        limit = getattr(settings, "STORE_FORWARD_MAX_BYTES", MAX_WAITING_BYTES)
        with transaction.atomic():
            if not queue.try_send_lock():
                return
            excess = queue.waiting().bytes - limit
            while excess > 0 and (taken := queue.take(BATCH_ROWS)):
                for _, same in groupby(taken, key=lambda row: row[0]):
                    size = sum(len(row[3]) for row in same)
                    receipt.drop("no_room", size // 8, SOURCE, f"the backend was away; {limit:,} bytes may wait")
                    excess -= size
